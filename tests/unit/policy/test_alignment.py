import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.policy.alignment import Aligned, Aligner, Group, Late, Release
from app.policy.source_clock import SourceClock

INTERVAL_S = 1 / 30
LATENESS_S = 0.2
Out = Sequence[Group[Any] | Late[Any]]


def make_aligner(*, max_items: int = 1024) -> Aligner[int]:
    return Aligner(interval_s=INTERVAL_S, lateness_s=LATENESS_S, max_items=max_items)


def pushed(aligner: Aligner[Any], stream_id: str, captured_at_s: float, item: Any = 0, *, now_s: float | None = None):
    return aligner.push(stream_id, captured_at_s, item, now_s=captured_at_s if now_s is None else now_s)


def groups_of(out: Out) -> list[Group[Any]]:
    return [each for each in out if isinstance(each, Group)]


def shown(out: Out) -> list[tuple[str, list[tuple[str, float]]]]:
    """Each group with its reason, and `late`, as streams and capture times."""
    return [
        (each.reason.value, [(frame.stream_id, frame.captured_at_s) for frame in each.frames])
        if isinstance(each, Group)
        else ("late", [(each.frame.stream_id, each.frame.captured_at_s)])
        for each in out
    ]


def faults(items: Sequence[Any], out: Out) -> list[str]:
    """The checker: what is wrong with what came out of an aligner into which these items went."""
    groups = groups_of(out)
    came = [frame.item for group in groups for frame in group.frames]
    came += [each.frame.item for each in out if isinstance(each, Late)]
    times_s = [[frame.captured_at_s for frame in group.frames] for group in groups]
    names = [[frame.stream_id for frame in group.frames] for group in groups]
    by_stream: dict[str, list[float]] = {}
    for frame in (frame for group in groups for frame in group.frames):
        by_stream.setdefault(frame.stream_id, []).append(frame.captured_at_s)
    checks = {
        "a stream out of order": any(one != sorted(one) for one in by_stream.values()),
        "not each item once": Counter(came) != Counter(items),
        "groups out of order": any(one[0] > two[0] for one, two in pairwise(times_s)),
        "a group out of order": any(one != sorted(one) for one in times_s),
        "a group too wide": any(one[-1] - one[0] > INTERVAL_S / 2 + 1e-9 for one in times_s),
        "a stream twice in a group": any(len(set(one)) != len(one) for one in names),
    }
    return [name for name, is_wrong in checks.items() if is_wrong]


def test_frames_leave_together_as_soon_as_every_stream_has_shown_one() -> None:
    aligner = make_aligner()
    assert shown(pushed(aligner, "a", 1.0)) == [("complete", [("a", 1.0)])]
    assert pushed(aligner, "b", 1.03) == []
    assert shown(pushed(aligner, "a", 1.034)) == [("complete", [("b", 1.03), ("a", 1.034)])]


def test_a_stream_that_shows_a_later_frame_is_not_waited_for() -> None:
    aligner = make_aligner()
    pushed(aligner, "a", 1.0)
    assert pushed(aligner, "b", 1.01) == []
    assert shown(pushed(aligner, "a", 1.1)) == [("complete", [("b", 1.01)])]
    assert shown(pushed(aligner, "b", 1.15)) == [("complete", [("a", 1.1)])]
    assert len(aligner) == 1


def test_a_silent_stream_holds_the_others_for_the_lateness_and_at_last_not_at_all() -> None:
    aligner = make_aligner()
    pushed(aligner, "b", 1.0)
    assert pushed(aligner, "a", 1.03) == []
    assert aligner.advance(now_s=1.229) == []
    assert shown(aligner.advance(now_s=1.231)) == [("lateness", [("a", 1.03)])]
    assert pushed(aligner, "a", 2.99) == []
    assert shown(pushed(aligner, "a", 3.01)) == [("complete", [("a", 2.99)]), ("complete", [("a", 3.01)])]


def test_a_frame_behind_those_that_left_comes_back_as_late() -> None:
    aligner = make_aligner()
    pushed(aligner, "a", 1.0)
    assert aligner.push("b", 0.9, 7, now_s=1.01) == [Late(Aligned("b", 0.9, 7))]
    assert len(aligner) == 0


def test_two_frames_of_one_stream_never_share_a_group() -> None:
    aligner = make_aligner()
    pushed(aligner, "b", 0.99)
    for time_s in (1.0, 1.001, 1.002):
        pushed(aligner, "a", time_s)
    assert shown(pushed(aligner, "b", 1.003)) == [("complete", [("a", 1.0), ("b", 1.003)])]
    assert shown(aligner.flush()) == [("ended", [("a", 1.001)]), ("ended", [("a", 1.002)])]


def test_more_frames_than_may_wait_push_the_oldest_out() -> None:
    aligner = make_aligner(max_items=3)
    pushed(aligner, "b", 0.99)
    out = [each for number in range(5) for each in pushed(aligner, "a", 1.0 + number * INTERVAL_S)]
    assert shown(out) == [("full", [("a", 1.0)]), ("full", [("a", 1.0 + INTERVAL_S)])]
    assert len(aligner) == 3


def test_an_ended_stream_is_waited_for_no_longer() -> None:
    aligner = make_aligner()
    pushed(aligner, "b", 1.0)
    assert pushed(aligner, "a", 1.01) == []
    assert shown(aligner.end("b", now_s=1.02)) == [("complete", [("a", 1.01)])]
    assert aligner.flush() == []


@pytest.mark.parametrize("time_s", [float("nan"), float("inf"), float("-inf"), 1.1])
def test_capture_times_in_the_future_or_none_are_refused_and_change_nothing(time_s: float) -> None:
    aligner = make_aligner()
    with pytest.raises(ValueError, match="captured_at_s"):
        aligner.push("a", time_s, 0, now_s=1.0)
    assert len(aligner) == 0
    assert shown(pushed(aligner, "b", 1.0)) == [("complete", [("b", 1.0)])]


events = st.lists(
    st.tuples(st.sampled_from("abcd"), st.floats(0, 0.05), st.floats(0, 0.5), st.sampled_from(["push", "wait", "end"])),
    max_size=80,
)


@given(events=events, max_items=st.integers(1, 12))
def test_every_frame_comes_out_once_in_order_and_none_waits_too_long(
    events: list[tuple[str, float, float, str]], max_items: int
) -> None:
    aligner, now_s, items, out = make_aligner(max_items=max_items), 10.0, [], []
    for number, (stream_id, step_s, delay_s, what) in enumerate(events):
        now_s += step_s
        if what == "push":
            items.append(number)
            out += aligner.push(stream_id, now_s - delay_s, number, now_s=now_s)
        elif what == "wait":
            out += aligner.advance(now_s=now_s)
        else:
            out += aligner.end(stream_id, now_s=now_s)
        assert len(aligner) <= max_items
        assert all(captured_at_s > now_s - LATENESS_S for captured_at_s, _, _ in aligner._waiting)
    out += aligner.flush()
    assert faults(items, out) == []


def test_the_checker_notices_planted_bugs() -> None:
    one, two = Aligned("a", 1.0, 1), Aligned("b", 1.01, 2)
    good, wide = Group((one, two), Release.COMPLETE), Group((one, Aligned("b", 1.1, 2)), Release.COMPLETE)
    assert faults([1, 2], [good]) == []
    assert faults([1, 2], [wide]) == ["a group too wide"]
    assert faults([1, 2, 3], [good]) == faults([1], [good]) == faults([1, 2], [good, Late(two)]) != []
    assert faults([1, 2], [Group((two,), Release.FULL), Group((one,), Release.FULL)]) == ["groups out of order"]
    back = [Group((one, Aligned("b", 1.015, 3)), Release.FULL), Group((two,), Release.FULL)]
    assert faults([1, 2, 3], back) == ["a stream out of order"]
    assert faults([1, 2], [Group((two, one), Release.FULL)]) == ["a group out of order"]
    assert faults([1, 1], [Group((one, one), Release.FULL)]) == ["a stream twice in a group"]


def arrivals(*, seed: int, duration_s: float = 300.0) -> list[tuple[float, float, str, float]]:
    """Arrival, capture, stream and stamp of three cameras of 30 Hz in step, every tenth frame, by arrival."""
    frames = []
    for number, (name, drift_ppm) in enumerate({"a": -50.0, "b": 0.0, "c": 50.0}.items()):
        rng, arrived_s = random.Random(seed + number), 0.0
        for tick in range(int(3 * duration_s)):
            captured_s = 1e9 + tick / 3 + rng.uniform(0, 0.002)
            arrived_s = max(arrived_s, captured_s + 0.002 + rng.expovariate(100))
            frames.append((arrived_s, captured_s, name, 1e4 * number + (captured_s - 1e9) * (1 + drift_ppm * 1e-6)))
    return sorted(frames)


def cross_stream_errors_s(out: Out, true_s: dict[int, float], *, after_s: float = 1e9 + 20) -> list[float]:
    """How far apart the frames of each group truly were."""
    times_s = [[true_s[frame.item] for frame in group.frames] for group in groups_of(out)]
    return [max(one) - min(one) for one in times_s if min(one) > after_s]


@pytest.mark.parametrize("seed", [1, 10])
def test_streams_with_drifting_clocks_are_aligned_to_half_a_frame(seed: int) -> None:
    frames, out = arrivals(seed=seed), []
    clocks, aligner = {name: SourceClock() for name in "abc"}, make_aligner()
    for number, (arrived_s, _, name, stamp_s) in enumerate(frames):
        captured_at_s = clocks[name].observe(stamp_s, arrived_s=arrived_s).captured_at_s
        out += aligner.push(name, captured_at_s, number, now_s=arrived_s)
    out += aligner.flush()
    assert faults(range(len(frames)), out) == []
    errors_s = cross_stream_errors_s(out, {number: frame[1] for number, frame in enumerate(frames)})
    assert max(errors_s) <= INTERVAL_S / 2
    whole = sum(len(group.frames) == 3 for group in groups_of(out))
    assert whole > 0.97 * len(frames) / 3


def test_without_the_clock_model_the_same_streams_do_not_align() -> None:
    frames, out, aligner = arrivals(seed=1), [], make_aligner()
    for number, (arrived_s, _, name, _) in enumerate(frames):
        out += aligner.push(name, arrived_s, number, now_s=arrived_s)
    assert sum(len(group.frames) == 3 for group in groups_of(out)) < 0.9 * len(frames) / 3


def test_a_stream_that_is_expected_is_waited_for_before_its_first_frame() -> None:
    aligner = make_aligner()
    aligner.expect("b", since_s=10.0)
    assert pushed(aligner, "a", 10.0) == []
    assert shown(pushed(aligner, "b", 10.001)) == [("complete", [("a", 10.0), ("b", 10.001)])]
    assert pushed(aligner, "a", 10.1) == []
    assert [reason for reason, _ in shown(aligner.advance(now_s=10.1 + LATENESS_S))] == ["lateness"]
