"""Average precision of answers whose precision is known by hand."""

from collections.abc import Sequence

import numpy as np
import pytest

from app.core.errors import ModelError
from app.core.frame import Pixels
from app.core.model import Head, ModelSpec
from app.core.ports import RawOutput
from engines.accuracy import Accuracy, LabelledFrame, accuracy, check_accuracy, farm_frames

SIDE_PX = 100
ONE, TWO, THREE = (10.0, 10.0, 30.0, 30.0), (50.0, 50.0, 90.0, 90.0), (10.0, 60.0, 30.0, 90.0)
SPEC = ModelSpec(
    name="told",
    version="1.0.0",
    labels=("person", "car"),
    head=Head.END_TO_END,
    input_width_px=SIDE_PX,
    input_height_px=SIDE_PX,
)


class ToldEngine:
    """Says for each frame in turn what it was told: rows of box, score and label."""

    def __init__(self, *answers: list[tuple[tuple[float, ...], float, int]]) -> None:
        self.spec = SPEC
        self.streams = 1
        self._answers = iter(answers)

    def infer(self, pixels: Sequence[Pixels]) -> RawOutput:
        """Return the next answer."""
        rows = [(*box, score, label) for box, score, label in next(self._answers)]
        return np.array(rows, np.float32).reshape(len(pixels), len(rows), 6)

    def close(self) -> None:
        """Nothing is held."""


def frame(*truth: tuple[tuple[float, ...], int]) -> LabelledFrame:
    return LabelledFrame(
        rgb=np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8),
        xyxy=np.array([box for box, _ in truth], np.float32).reshape(-1, 4),
        label=np.array([label for _, label in truth], np.int32),
    )


def test_finding_everything_and_nothing_else_is_one() -> None:
    engine = ToldEngine([(ONE, 0.9, 0), (TWO, 0.8, 1)], [])
    found = accuracy(engine, [frame((ONE, 0), (TWO, 1)), frame()])
    assert (found.map50, found.map50_95) == (pytest.approx(1), pytest.approx(1))
    assert found.by_label == {"person": pytest.approx(1), "car": pytest.approx(1)}
    assert (found.frames, found.objects) == (2, 2)


def test_finding_nothing_or_the_wrong_label_is_zero() -> None:
    assert accuracy(ToldEngine([]), [frame((ONE, 0))]).map50 == 0
    assert accuracy(ToldEngine([(ONE, 0.9, 1)]), [frame((ONE, 0))]).map50 == 0


def test_half_of_the_objects_is_half_of_the_recalls() -> None:
    assert accuracy(ToldEngine([(ONE, 0.9, 0)]), [frame((ONE, 0), (TWO, 0))]).map50 == pytest.approx(51 / 101)


def test_a_false_alarm_costs_only_where_it_scores_higher() -> None:
    truth = frame((ONE, 0))
    assert accuracy(ToldEngine([(ONE, 0.9, 0), (TWO, 0.8, 0)]), [truth]).map50 == pytest.approx(1)
    assert accuracy(ToldEngine([(ONE, 0.8, 0), (TWO, 0.9, 0)]), [truth]).map50 == pytest.approx(0.5)


def test_a_second_box_on_one_object_is_a_false_alarm() -> None:
    beside = (12.0, 10.0, 36.0, 30.0)
    engine = ToldEngine([(ONE, 0.9, 0), (beside, 0.8, 0), (TWO, 0.7, 0)])
    found = accuracy(engine, [frame((ONE, 0), (TWO, 0))])
    assert found.map50 == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_the_envelope_takes_the_best_precision_from_there_on() -> None:
    engine = ToldEngine([(ONE, 0.6, 0), (TWO, 0.8, 0), (THREE, 0.9, 0)])
    assert accuracy(engine, [frame((ONE, 0), (TWO, 0))]).map50 == pytest.approx(2 / 3)


def test_a_box_that_overlaps_by_less_counts_at_the_lower_thresholds_alone() -> None:
    shifted = (10.0, 10.0, 30.0, 24.0)  # 0.7 of the object
    found = accuracy(ToldEngine([(shifted, 0.9, 0)]), [frame((ONE, 0))])
    assert found.map50 == pytest.approx(1)
    assert found.map50_95 == pytest.approx(0.5, abs=0.1)


def test_scores_are_ranked_over_all_frames() -> None:
    engine = ToldEngine([(TWO, 0.9, 0)], [(ONE, 0.8, 0)])
    assert accuracy(engine, [frame(), frame((ONE, 0))]).map50 == pytest.approx(0.5)


def test_frames_without_objects_measure_nothing() -> None:
    with pytest.raises(ModelError, match="measure nothing"):
        accuracy(ToldEngine([]), [frame()])
    with pytest.raises(ModelError, match="measure nothing"):
        accuracy(ToldEngine(), [])


def test_the_farm_measures_only_models_of_its_labels() -> None:
    with pytest.raises(ModelError, match="other labels"):
        farm_frames(SPEC, first_seed=1, streets=1)


@pytest.mark.parametrize(
    ("value", "is_refused"), [(0.75, 0), (0.731, 0), (0.769, 0), (0.729, 1), (0.771, 1), (np.nan, 1)]
)
def test_the_gate_is_two_hundredths_either_way(value: float, is_refused: int) -> None:
    def figure(map50_95: float) -> Accuracy:
        return Accuracy(map50=0.9, map50_95=map50_95, by_label={}, frames=1, objects=1)

    refusals = []
    try:
        check_accuracy(figure(value), figure(0.75))
    except ModelError as error:
        refusals.append(error)
    assert len(refusals) == is_refused
