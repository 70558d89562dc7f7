import pytest

from app.core.frame import FrameRef
from app.tracking.clock import NOMINAL_STEP_S, StreamClock

Stamps = list[tuple[float | None, float | None]]


def advanced(stamps: Stamps, *, restart_s: float = 1.0):
    clock = StreamClock(restart_s=restart_s)
    return [
        clock.advance(FrameRef(stream_id="s", seq=seq, pts_s=pts_s, captured_at=at_s))
        for seq, (pts_s, at_s) in enumerate(stamps)
    ]


@pytest.mark.parametrize(
    ("stamps", "steps_s"),
    [
        ([(5.0, None), (5.1, None), (5.4, None)], [0.0, 0.1, 0.3]),
        ([(None, 1e9), (None, 1e9 + 0.5)], [0.0, 0.5]),
        ([(0.0, 7.0), (0.1, 9.0)], [0.0, 0.1]),
        ([(None, None), (None, None)], [NOMINAL_STEP_S, NOMINAL_STEP_S]),
        ([(0.0, None), (float("nan"), None), (0.1, None)], [0.0, NOMINAL_STEP_S, 0.1]),
        ([(0.0, None), (None, 1e9), (None, 1e9 + 0.1)], [0.0, NOMINAL_STEP_S, 0.1]),
        ([(1.0, None), (1.0, None), (0.9, None), (1.2, None)], [0.0, 0.0, 0.0, 0.2]),
        ([(9.0, None), (0.0, None), (0.1, None)], [0.0, NOMINAL_STEP_S, 0.1]),
        ([(0.0, None), (1e6, None)], [0.0, 1e6]),
    ],
    ids=["pts", "captured", "pts-first", "none", "nan", "change", "late", "restart", "gap"],
)
def test_steps_follow_the_stamps(stamps: Stamps, steps_s: list[float]):
    assert advanced(stamps) == pytest.approx(steps_s)


def test_time_never_goes_back():
    clock = StreamClock(restart_s=1.0)
    times_s = []
    for seq, pts_s in enumerate([3.0, 2.5, 8.0, 1.0, 1.5, float("inf"), 0.9]):
        clock.advance(FrameRef(stream_id="s", seq=seq, pts_s=pts_s))
        times_s.append(clock.now_s)
    assert times_s == sorted(times_s)
