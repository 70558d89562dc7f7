"""Frames at their sender: none lost, none out of order, all of them bounded, whatever connections do."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.client import outbox as module
from app.client.outbox import Outbox, OutgoingFrame
from app.core.outcome import DropReason


def box(*, keeps_latest: bool = False, first_seq: int = 0, max_frames: int = 4, max_bytes: int = 1000) -> Outbox:
    return Outbox(keeps_latest=keeps_latest, first_seq=first_seq, max_frames=max_frames, max_bytes=max_bytes)


def add(outbox: Outbox, count: int = 1, *, n_bytes: int = 1) -> list[int]:
    return [outbox.add(b"x" * n_bytes, captured_at=0.0, metadata={}) for _ in range(count)]


def taken(outbox: Outbox) -> list[OutgoingFrame]:
    frames = []
    while (frame := outbox.take()) is not None:
        frames.append(frame)
    return frames


def seqs(outbox: Outbox) -> list[int]:
    return [frame.seq for frame in taken(outbox)]


def test_numbers_go_on_from_the_first() -> None:
    assert add(box(first_seq=7), 3) == [7, 8, 9]


def test_a_frame_goes_out_for_a_credit_over_a_connection() -> None:
    outbox = box()
    add(outbox, 3)
    outbox.grant(9)
    assert seqs(outbox) == []
    outbox.connect()
    assert seqs(outbox) == []
    outbox.grant(2)
    assert seqs(outbox) == [0, 1]
    outbox.grant(1)
    assert seqs(outbox) == [2]


def test_after_a_cut_everything_without_an_end_goes_out_again_in_order_and_for_new_credits() -> None:
    outbox = box()
    outbox.connect()
    outbox.grant(9)
    add(outbox, 3)
    assert seqs(outbox) == [0, 1, 2]
    outbox.settle(0)
    outbox.disconnect()
    add(outbox)
    assert seqs(outbox) == []
    outbox.connect()
    assert seqs(outbox) == []
    outbox.grant(9)
    assert seqs(outbox) == [1, 2, 3]


def test_an_end_settles_every_frame_before_it_sent_or_not() -> None:
    outbox = box()
    outbox.connect()
    add(outbox, 4)
    outbox.settle(2)
    outbox.grant(9)
    assert seqs(outbox) == [3]
    assert len(outbox) == 1


def test_a_refused_frame_alone_is_forgotten() -> None:
    outbox = box()
    outbox.connect()
    outbox.grant(1)
    add(outbox, 3)
    assert seqs(outbox) == [0]
    outbox.refuse(0)
    outbox.refuse(1)
    outbox.refuse(99)
    outbox.grant(9)
    assert seqs(outbox) == [2]


@pytest.mark.parametrize(("count", "n_bytes"), [(4, 1), (2, 500)])
def test_it_is_full_by_frames_and_by_bytes_until_an_end_makes_room(count: int, n_bytes: int) -> None:
    outbox = box()
    add(outbox, count - 1, n_bytes=n_bytes)
    assert not outbox.is_full
    add(outbox, n_bytes=n_bytes)
    assert outbox.is_full
    outbox.settle(0)
    assert not outbox.is_full


def test_of_the_frames_that_wait_only_the_newest_keeps_its_picture_where_the_latest_counts() -> None:
    outbox = box(keeps_latest=True)
    add(outbox, 5, n_bytes=100)
    assert not outbox.is_full
    assert outbox._held_bytes == 100
    outbox.connect()
    outbox.grant(9)
    assert [(frame.seq, len(frame.data), frame.dropped) for frame in taken(outbox)] == [
        *((seq, 0, DropReason.SUPERSEDED) for seq in range(4)),
        (4, 100, None),
    ]


def test_what_was_sent_is_not_superseded() -> None:
    outbox = box(keeps_latest=True)
    outbox.connect()
    outbox.grant(1)
    add(outbox)
    assert [frame.dropped for frame in taken(outbox)] == [None]
    add(outbox, 2)
    outbox.grant(9)
    assert [(frame.seq, frame.dropped) for frame in taken(outbox)] == [(1, DropReason.SUPERSEDED), (2, None)]


def test_notes_are_bounded_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEPT", 5)
    outbox = box(keeps_latest=True)
    add(outbox, 100)
    outbox.connect()
    outbox.grant(99)
    assert seqs(outbox) == [95, 96, 97, 98, 99]


class Forgetful(Outbox):
    """The planted bug: a cut forgets the oldest frame that was sent."""

    def connect(self) -> None:
        super().connect()
        if self._unsent:
            self._unsent.popleft()


STEPS = st.lists(
    st.sampled_from(["add", "add", "grant", "send", "send", "arrive", "end", "cut", "connect"]), max_size=80
)


def play(steps: list[str], outbox: Outbox) -> None:  # noqa: C901  one arm a step
    """Frames on their way to a service that captures what grows; at the end each has come once, and in order."""
    on_the_way: list[int] = []
    captured: list[int] = []
    added: list[int] = []

    def arrive(count: int) -> None:
        for seq in on_the_way[:count]:
            if not captured or seq > captured[-1]:
                captured.append(seq)
        del on_the_way[:count]

    for step in [*steps, "cut", "connect", "grant"]:
        match step:
            case "add" if not outbox.is_full:
                added += add(outbox)
            case "grant":
                outbox.grant(3)
            case "send":
                on_the_way += [frame.seq for frame in [outbox.take()] if frame is not None]
            case "arrive":
                arrive(1)
            case "end" if captured:
                outbox.settle(captured[-1])
            case "cut":
                outbox.disconnect()
                on_the_way.clear()
            case "connect":
                outbox.connect()
                on_the_way.clear()
        assert len(outbox) <= 4
    outbox.grant(99)
    on_the_way += seqs(outbox)
    arrive(99)
    assert Counter(captured) == Counter(added), "a frame was lost"
    assert captured == sorted(captured)
    outbox.settle(max(captured, default=-1))
    assert (len(outbox), outbox._held_bytes) == (0, 0)


@settings(max_examples=400, deadline=None)
@given(STEPS)
def test_whatever_happens_each_frame_arrives_once_and_in_order(steps: list[str]) -> None:
    play(steps, box())


def test_the_check_sees_a_sender_that_forgets_a_frame() -> None:
    with pytest.raises(AssertionError, match="lost"):
        play(
            ["add", "connect", "grant", "send"], Forgetful(keeps_latest=False, first_seq=0, max_frames=4, max_bytes=99)
        )
