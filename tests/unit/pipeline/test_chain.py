"""The stages of one process: joined on one thread per stream, or one after the other in front of a single stream."""

import asyncio

import pytest

from app import assembly
from app.core.frame import Detections, Frame
from app.core.outcome import Dropped, DropReason, End, Failed, Outcome
from app.pipeline.chain import detect_frames
from app.pipeline.detector import Detector
from app.pipeline.preprocessor import Preprocessor
from app.pipeline.serving import ServingParameters
from app.settings import Settings
from app.vision.example import example_jpeg
from engines.opening import open_engine
from tests.builders import make_encoded, make_frame, make_ref
from tests.fakes import FakeEngine

SETTINGS = Settings.model_validate({"model": {"engine": "reference"}, "decoder": {"workers": 1}})


@pytest.mark.parametrize("streams", [1, 3])
def test_a_broken_still_fails_alone_whether_the_stages_are_joined_or_not(streams: int) -> None:
    engine = open_engine(None, streams=streams)
    chain = assembly.local_chain(SETTINGS, engine)
    good = example_jpeg(width_px=320, height_px=240)
    frames = [make_encoded(good, seq=0), make_encoded(good[:200], seq=1), make_encoded(good, seq=2)]
    outcomes = asyncio.run(chain.detect(frames))
    assert [type(outcome) for outcome in outcomes] == [Detections, Failed, Detections]
    assert [outcome.ref.seq for outcome in outcomes if not isinstance(outcome, End)] == [0, 1, 2]


def test_joined_and_separate_stages_answer_the_same() -> None:
    frames = [make_encoded(example_jpeg(width_px=640, height_px=360), seq=seq) for seq in range(3)]
    answers = []
    for streams in (1, 2):
        outcomes = asyncio.run(assembly.local_chain(SETTINGS, open_engine(None, streams=streams)).detect(list(frames)))
        answers.append([outcome.xyxy.tolist() for outcome in outcomes if isinstance(outcome, Detections)])
    assert len(answers[0]) == 3
    assert answers[0] == answers[1]


@pytest.mark.parametrize("streams", [1, 3])
def test_what_is_no_frame_keeps_its_place(streams: int) -> None:
    drop = Dropped(ref=make_ref(seq=1), reason=DropReason.SAMPLED)
    engine = FakeEngine(streams=streams)
    detector = Detector(engine, parameters=ServingParameters())
    items: list[Outcome[Frame]] = [make_frame(ref=make_ref(seq=0)), drop, make_frame(ref=make_ref(seq=2)), End()]
    outcomes = asyncio.run(detect_frames(items, preprocessor=Preprocessor(engine.spec), detector=detector))
    assert [type(outcome) for outcome in outcomes] == [Detections, Dropped, Detections, End]
    assert outcomes[1] is drop
