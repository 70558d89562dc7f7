import itertools
import threading

from hypothesis import given
from hypothesis import strategies as st

from app.media.pull.backlog import FRESH, MAX_WAITING, Backlog


def drained(backlog: Backlog[int]) -> tuple[list[int], int]:
    """The packets that come out, and how many were given up."""
    backlog.end()
    waiting = list(backlog)
    return [one.item for one in waiting], sum(one.skipped for one in waiting) + backlog.skipped


def filled(backlog: Backlog[int], count: int, *, group: int) -> Backlog[int]:
    for number in range(count):
        backlog.put(number, is_key=number % group == 0)
    return backlog


def test_what_is_not_much_waits_whole() -> None:
    assert drained(filled(Backlog(is_live=True), FRESH, group=10)) == (list(range(FRESH)), 0)


def test_a_key_frame_replaces_what_is_too_much_and_the_rest_is_counted() -> None:
    packets, skipped = drained(filled(Backlog(is_live=True), 200, group=50))
    assert packets == list(range(150, 200))
    assert skipped == 150


def test_without_key_frames_no_more_than_the_most_is_kept() -> None:
    packets, skipped = drained(filled(Backlog(is_live=True), MAX_WAITING + 500, group=10_000))
    assert packets == list(range(MAX_WAITING))
    assert skipped == 500


def test_after_skipping_decoding_begins_with_a_key_frame() -> None:
    packets, skipped = drained(filled(Backlog(is_live=True), MAX_WAITING + 500, group=MAX_WAITING + 100))
    assert packets[0] == MAX_WAITING + 100
    assert packets == list(range(MAX_WAITING + 100, MAX_WAITING + 500))
    assert skipped == MAX_WAITING + 100


@given(st.lists(st.sampled_from(["put", "key", "take"]), max_size=400))
def test_every_packet_comes_out_or_is_counted_in_its_place(steps: list[str]) -> None:
    backlog: Backlog[int] = Backlog(is_live=True)
    numbers, packets = itertools.count(), iter(backlog)
    n_put = expected = 0

    def take(waiting: object) -> int:
        item, skipped = waiting  # type: ignore[misc]
        assert item == expected + skipped
        return int(item) + 1

    for step in steps:
        match step:
            case "take":
                expected = take(next(packets)) if backlog._waiting else expected
            case _:
                backlog.put(next(numbers), is_key=step == "key")
                n_put += 1
    backlog.end()
    for waiting in packets:
        expected = take(waiting)
    assert expected + backlog.skipped == n_put


def test_a_source_that_can_wait_does_and_loses_nothing() -> None:
    backlog: Backlog[int] = Backlog(is_live=False)

    def read() -> None:
        filled(backlog, 500, group=50)
        backlog.end()

    reader = threading.Thread(target=read)
    reader.start()
    waiting = list(backlog)
    reader.join()
    assert [one.item for one in waiting] == list(range(500))
    assert sum(one.skipped for one in waiting) == 0
