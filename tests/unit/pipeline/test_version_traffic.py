"""What is counted of each version between two reports."""

import numpy as np
import pytest

from app.core.errors import (
    DeadlineError,
    InternalError,
    InvalidRequestError,
    ModelError,
    OverloadedError,
    SightlineError,
    UnavailableError,
    UndecodableError,
)
from app.core.frame import Detections, Timings
from app.core.outcome import Dropped, DropReason, Failed
from app.pipeline.version_traffic import VersionTraffic
from app.policy.canary import Traffic
from tests.builders import make_detections, make_ref
from tests.unit.pipeline.version_parts import route_to

ROUTE = route_to("2.0.0", epoch=3)


def answer(*, took_s: float = 0.0, left_px: float = 0.0) -> Detections:
    found = make_detections([[left_px, 0, left_px + 100, 100]])
    timings = Timings(queue_s=took_s / 2, inference_s=took_s / 4, postprocess_s=took_s / 4)
    return Detections(
        xyxy=found.xyxy.copy(),
        score=found.score.copy(),
        label=found.label.copy(),
        source_width_px=200,
        source_height_px=200,
        ref=found.ref,
        timings=timings,
    )


def failed(error: SightlineError) -> Failed:
    return Failed(ref=make_ref(), error=error)


def test_answers_slow_answers_and_errors_add_up_by_version_and_epoch() -> None:
    traffic = VersionTraffic(slow_s=0.18)
    traffic.note(ROUTE, [answer(took_s=0.1), answer(took_s=0.2)])
    traffic.note(ROUTE, [answer(took_s=0.3), failed(ModelError("no"))])
    traffic.note(route_to("1.0.0", epoch=3), [answer()])
    seen = {(one.model, one.version, one.epoch): one.traffic for one in traffic.take()}
    assert seen == {
        ("test", "2.0.0", 3): Traffic(answered=3, errors=1, slow=2),
        ("test", "1.0.0", 3): Traffic(answered=1),
    }


@pytest.mark.parametrize("seconds", [0.18, 0.0])
def test_an_answer_that_takes_no_longer_than_it_may_is_not_slow(seconds: float) -> None:
    traffic = VersionTraffic(slow_s=0.18)
    traffic.note(ROUTE, [answer(took_s=seconds)])
    assert [one.traffic.slow for one in traffic.take()] == [0]


@pytest.mark.parametrize(
    ("error", "count"),
    [
        (InternalError(), 1),
        (ModelError("no"), 1),
        (UnavailableError(), 1),
        (OverloadedError(), 0),
        (DeadlineError("late"), 0),
        (UndecodableError("broken"), 0),
        (InvalidRequestError("what"), 0),
    ],
)
def test_a_version_is_blamed_for_our_errors_only(error: SightlineError, count: int) -> None:
    traffic = VersionTraffic(slow_s=1.0)
    traffic.note(ROUTE, [failed(error), Dropped(ref=make_ref(), reason=DropReason.SAMPLED)])
    assert [one.traffic for one in traffic.take()] == [Traffic(errors=count)]


def test_what_was_taken_is_not_told_again() -> None:
    traffic = VersionTraffic(slow_s=1.0)
    traffic.note(ROUTE, [answer()])
    assert len(traffic.take()) == 1
    assert traffic.take() == ()


@pytest.mark.parametrize(("left_px", "agreement"), [(0.0, 1.0), (90.0, 0.0)])
def test_a_shadow_s_agreement_is_told_when_enough_frames_were_compared(left_px: float, agreement: float) -> None:
    traffic = VersionTraffic(slow_s=1.0)
    for _ in range(49):
        traffic.compare(route_to("1.0.0", epoch=3), "2.0.0", truth=answer(), answer=answer(left_px=left_px))
    assert [one.agreement for one in traffic.take()] == [None]
    traffic.compare(route_to("1.0.0", epoch=3), "2.0.0", truth=answer(), answer=answer(left_px=left_px))
    told = [one for one in traffic.take() if one.agreement is not None]
    assert [(one.version, one.epoch, one.compared, one.agreement) for one in told] == [
        ("2.0.0", 3, 50, pytest.approx(agreement, abs=0.01))
    ]
    assert traffic.take() == ()


def test_frames_under_two_tables_are_never_compared_together() -> None:
    traffic = VersionTraffic(slow_s=1.0)
    for epoch in (3, 4):
        for _ in range(30):
            traffic.compare(route_to("1.0.0", epoch=epoch), "2.0.0", truth=answer(), answer=answer())
    assert [one.agreement for one in traffic.take()] == [None, None]


def test_comparisons_of_older_tables_are_not_kept_for_ever() -> None:
    traffic = VersionTraffic(slow_s=1.0)
    for epoch in range(1, 20):
        traffic.compare(route_to("1.0.0", epoch=epoch), "2.0.0", truth=answer(), answer=answer())
        traffic.take()
    assert [epoch for _, _, epoch in traffic._agreements] == [19]


def test_a_frame_that_the_shadow_fails_at_is_its_error_and_is_not_compared() -> None:
    traffic = VersionTraffic(slow_s=1.0)
    for _ in range(60):
        traffic.compare(route_to("1.0.0"), "2.0.0", truth=answer(), answer=failed(ModelError("no")))
    (seen,) = traffic.take()
    assert (seen.version, seen.traffic.errors, seen.agreement) == ("2.0.0", 60, None)


def test_frames_in_which_nobody_sees_anything_say_nothing_of_agreement() -> None:
    traffic = VersionTraffic(slow_s=1.0)
    nothing = make_detections(np.empty((0, 4), np.float32))
    for _ in range(50):
        traffic.compare(route_to("1.0.0"), "2.0.0", truth=nothing, answer=nothing)
    assert [one.agreement for one in traffic.take()] == [None, None]
