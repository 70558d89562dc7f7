import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tracking.motion import BoxMotion, centred
from app.tracking.parameters import TrackerParameters


def make_belief(motion: BoxMotion, *, speed: float = 50.0):
    belief = motion.begin(np.array([[100.0], [200.0], [40.0], [80.0]]))
    belief[4] = speed
    return belief


@given(parts=st.lists(st.floats(0.001, 0.5), min_size=1, max_size=6))
def test_many_small_steps_believe_what_one_large_step_believes(parts: list[float]):
    motion = BoxMotion(TrackerParameters())
    whole, pieces = make_belief(motion), make_belief(motion)
    motion.predict(whole, step_s=sum(parts))
    for part in parts:
        motion.predict(pieces, step_s=part)
    assert pieces == pytest.approx(whole, rel=1e-4)


@given(parts=st.lists(st.floats(0.001, 0.2), min_size=1, max_size=4), side=st.sampled_from([-1.0, 1.0]))
def test_many_small_steps_believe_what_one_large_step_believes_of_a_cut_box(parts: list[float], side: float):
    motion = BoxMotion(TrackerParameters())
    whole, pieces = make_belief(motion, speed=-30.0 * side), make_belief(motion, speed=-30.0 * side)
    whole[14], pieces[14] = side, side
    motion.predict(whole, step_s=sum(parts))
    for part in parts:
        motion.predict(pieces, step_s=part)
    assert pieces == pytest.approx(whole, rel=1e-4)


def test_no_time_changes_nothing():
    motion = BoxMotion(TrackerParameters())
    belief = make_belief(motion)
    motion.predict(belief, step_s=0.0)
    assert belief == pytest.approx(make_belief(motion))


def test_filters_equal_the_textbook_matrices():
    knobs = TrackerParameters()
    motion = BoxMotion(knobs)
    belief = make_belief(motion)
    motion.predict(belief, step_s=0.1)
    motion.correct(belief, rows=np.array([0]), boxes=np.array([[110.0], [200.0], [40.0], [80.0]]))
    step, q = np.array([[1.0, 0.1], [0.0, 1.0]]), knobs.position_drift**2
    spread = np.diag([knobs.position_noise**2, knobs.initial_speed**2])
    spread = step @ spread @ step.T + q * np.array([[0.1**3 / 3, 0.1**2 / 2], [0.1**2 / 2, 0.1]])
    gain = spread[:, :1] / (spread[0, 0] + knobs.position_noise**2)
    mean = step @ np.array([[100.0], [50.0]])
    mean = mean + gain * (110.0 - mean[0, 0])
    spread = spread - gain @ spread[:1]
    assert belief[[0, 4], 0] == pytest.approx(mean[:, 0])
    assert belief[[8, 10, 12], 0] == pytest.approx(spread[[0, 0, 1], [0, 1, 1]])


@pytest.mark.parametrize("fps", [5.0, 10.0, 30.0])
def test_speed_in_pixels_per_second_is_learned_at_any_frame_rate(fps: float):
    motion = BoxMotion(TrackerParameters())
    belief = make_belief(motion, speed=0.0)
    for number in range(1, int(4 * fps)):
        motion.predict(belief, step_s=1 / fps)
        x = 100.0 + 30.0 * number / fps
        motion.correct(belief, rows=np.array([0]), boxes=np.array([[x], [200.0], [40.0], [80.0]]))
    assert belief[4, 0] == pytest.approx(30.0, rel=0.02)


def test_only_the_rows_named_are_corrected():
    motion = BoxMotion(TrackerParameters())
    belief = motion.begin(np.array([[100.0, 300.0], [200.0, 200.0], [40.0, 40.0], [80.0, 80.0]]))
    before = belief.copy()
    motion.correct(belief, rows=np.array([1]), boxes=np.array([[310.0], [200.0], [40.0], [80.0]]))
    assert (belief[:, 0] == before[:, 0]).all()
    assert belief[0, 1] > before[0, 1]


def test_shrinking_box_never_turns_inside_out():
    motion = BoxMotion(TrackerParameters())
    belief = make_belief(motion)
    belief[6:8] = -1000.0
    motion.predict(belief, step_s=1.0)
    assert belief[2:4].tolist() == [[1.0], [1.0]]


def test_centred_boxes_have_middle_and_size():
    assert centred(np.array([[10.0], [20.0], [30.0], [60.0]])).tolist() == [[20.0], [40.0], [20.0], [40.0]]


def enter_from_the_right(motion: BoxMotion, *, fps: float, is_told: bool) -> np.ndarray:
    """What is believed of a box 120 px wide at 200 px/s, 0.7 s after it began to pass the rim at 800 px."""
    belief = np.empty((0, 0))
    for number in range(1, int(0.7 * fps) + 1):
        left = 800 - 200 * number / fps
        right = min(left + 120, 800.0)
        boxes = centred(np.array([[left], [200.0], [right], [280.0]]))
        sides = np.array([[float(right == 800.0)], [0.0]]) if is_told else None
        if number == 1:
            belief = motion.begin(boxes, sides=sides)
            continue
        motion.predict(belief, step_s=1 / fps)
        motion.correct(belief, rows=np.array([0]), boxes=boxes, sides=sides)
    return belief


@pytest.mark.parametrize("fps", [7.5, 10.0, 30.0])
def test_speed_of_a_box_that_enters_is_that_of_its_free_edge(fps: float):
    motion = BoxMotion(TrackerParameters())
    told = enter_from_the_right(motion, fps=fps, is_told=True)
    untold = enter_from_the_right(motion, fps=fps, is_told=False)
    assert told[4, 0] == pytest.approx(-200.0, rel=0.1)
    assert abs(told[6, 0]) < 10
    assert untold[4, 0] > -180


def test_edge_on_the_rim_stands_still_while_the_other_moves():
    motion = BoxMotion(TrackerParameters())
    belief = motion.begin(
        centred(np.array([[700.0, 0.0], [100.0, 300.0], [800.0, 60.0], [200.0, 400.0]])),
        sides=np.array([[1.0, -1.0], [0.0, 1.0]]),
    )
    belief[4:6] = [[-50.0, 40.0], [30.0, -20.0]]
    motion.predict(belief, step_s=0.5)
    low, high = belief[:2] - belief[2:4] / 2, belief[:2] + belief[2:4] / 2
    assert low.tolist() == [[675.0, 0.0], [115.0, 290.0]]
    assert high.tolist() == [[800.0, 80.0], [215.0, 400.0]]
