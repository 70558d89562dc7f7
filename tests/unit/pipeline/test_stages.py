import asyncio
from typing import Any

import numpy as np
import pytest

from app.core.errors import InternalError, ModelError, OverloadedError, UnavailableError
from app.core.frame import Detections, Frame, ModelInput, Tracks
from app.core.outcome import Dropped, DropReason, End, Failed
from app.pipeline.decoder import Decoder, DecoderParameters
from app.pipeline.detector import Detector
from app.pipeline.preprocessor import Preprocessor
from app.pipeline.serving import ServingParameters
from app.pipeline.tracker import Tracker
from app.tracking.parameters import TrackerParameters
from app.vision.example import example_jpeg
from tests.builders import make_detections, make_encoded, make_frame, make_input, make_ref, make_spec
from tests.fakes import FakeEngine, ManualClock

PASSING: list[Any] = [Dropped(ref=make_ref(seq=90), reason=DropReason.SAMPLED), End()]


def test_a_broken_image_fails_alone_in_its_batch() -> None:
    good = example_jpeg(width_px=320, height_px=240)
    decoder = Decoder(make_spec(), DecoderParameters())
    outcomes = asyncio.run(
        decoder.decode([make_encoded(good, seq=0), make_encoded(good[:200], seq=1), make_encoded(good, seq=2)])
    )
    assert [type(outcome) for outcome in outcomes] == [Frame, Failed, Frame]


def test_a_picture_is_decoded_no_larger_than_the_model_needs() -> None:
    decoder = Decoder(make_spec(size_px=64), DecoderParameters())
    (frame,) = asyncio.run(decoder.decode([make_encoded(example_jpeg(width_px=1280, height_px=720))]))
    assert isinstance(frame, Frame)
    assert frame.rgb.shape[1] <= 1280 // 4
    assert (frame.source_width_px, frame.source_height_px) == (1280, 720)


def test_more_videos_than_may_be_open_are_refused() -> None:
    async def scenario() -> None:
        from app.core.video import VideoSpec

        decoder = Decoder(make_spec(), DecoderParameters(max_videos=1))
        await decoder.open_video("a", VideoSpec())
        with pytest.raises(OverloadedError):
            await decoder.open_video("b", VideoSpec())
        await decoder.close_video("a")
        await decoder.open_video("b", VideoSpec())
        await decoder.close_video("b")

    asyncio.run(scenario())


def test_a_video_that_stands_still_makes_room_for_the_next() -> None:
    async def scenario() -> None:
        from app.core.video import VideoSpec

        clock = ManualClock()
        decoder = Decoder(make_spec(), DecoderParameters(max_videos=1, idle_s=60.0), clock=clock)
        await decoder.open_video("a", VideoSpec())
        clock.now_s = 61.0
        await decoder.open_video("b", VideoSpec())
        await decoder.close_video("b")

    asyncio.run(scenario())


def test_drops_failures_and_the_end_pass_through_every_stage_untouched() -> None:
    async def scenario() -> None:
        fitted = await Preprocessor(make_spec()).fit([make_frame(), *PASSING])
        found = await Detector(FakeEngine(), parameters=ServingParameters()).detect(fitted)
        tracked = await Tracker(TrackerParameters()).update("s", found, epoch=0, is_new=True)
        assert [type(stage[0]) for stage in (fitted, found, tracked)] == [ModelInput, Detections, Tracks]
        assert fitted[1:] == found[1:] == tracked[1:] == PASSING

    asyncio.run(scenario())


@pytest.mark.parametrize(("streams", "batches"), [(1, [4, 4, 2]), (2, [1] * 10)])
def test_a_batch_goes_whole_to_one_stream_and_frame_by_frame_to_several(streams: int, batches: list[int]) -> None:
    engine = FakeEngine(streams=streams)
    detector = Detector(engine, parameters=ServingParameters(max_batch=4))
    outcomes = asyncio.run(detector.detect([make_input(seq=seq) for seq in range(10)]))
    assert sorted(engine.batches) == sorted(batches)
    assert [outcome.ref.seq for outcome in outcomes if isinstance(outcome, Detections)] == list(range(10))


def test_each_frame_gets_its_own_row() -> None:
    inputs = [make_input(seq=seq) for seq in range(6)]
    outcomes = asyncio.run(Detector(FakeEngine(streams=2), parameters=ServingParameters()).detect(inputs))
    widths = [outcome.xyxy[0, 2] for outcome in outcomes if isinstance(outcome, Detections)]
    assert np.allclose(widths, [min(64, max(1, int(item.canvases[0][0, 0, 0]))) for item in inputs])


@pytest.mark.parametrize(
    ("raised", "kind"), [(ModelError("bad model"), ModelError), (RuntimeError("inside"), InternalError)]
)
def test_an_engine_that_fails_gives_typed_failures(raised: Exception, kind: type[Exception]) -> None:
    engine = FakeEngine()
    engine.fails = raised
    (outcome,) = asyncio.run(Detector(engine, parameters=ServingParameters()).detect([make_input()]))
    assert isinstance(outcome, Failed)
    assert type(outcome.error) is kind
    assert "inside" not in outcome.error.detail


def test_streams_share_no_identities_and_an_ended_stream_is_forgotten() -> None:
    async def scenario() -> None:
        tracker = Tracker(TrackerParameters(), max_streams=2)
        box = [[10.0, 10.0, 50.0, 90.0]]
        for stream in ("a", "b"):
            for seq in range(4):
                ref = make_ref(stream_id=stream, seq=seq, pts_s=seq / 30)
                (last,) = await tracker.update(stream, [make_detections(box, ref=ref)], epoch=0, is_new=seq == 0)
            assert isinstance(last, Tracks)
            assert last.track_id.tolist() == [1]
        with pytest.raises(OverloadedError):
            await tracker.update("c", [], epoch=0, is_new=True)
        await tracker.end("a")
        await tracker.update("c", [], epoch=0, is_new=True)

    asyncio.run(scenario())


def test_a_silent_stream_makes_room_for_another() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        tracker = Tracker(TrackerParameters(), max_streams=1, idle_s=10.0, clock=clock)
        await tracker.update("a", [], epoch=0, is_new=True)
        clock.now_s = 11.0
        await tracker.update("b", [], epoch=0, is_new=True)
        with pytest.raises(UnavailableError):
            await tracker.update("a", [], epoch=0, is_new=False)

    asyncio.run(scenario())


def test_tracks_of_another_epoch_or_an_unknown_stream_are_not_invented() -> None:
    async def scenario() -> None:
        tracker = Tracker(TrackerParameters())
        for is_new, epoch in ((False, 0), (True, 0), (False, 1)):
            if is_new:
                await tracker.update("a", [], epoch=epoch, is_new=True)
                continue
            with pytest.raises(UnavailableError):
                await tracker.update("a", [], epoch=epoch, is_new=False)

    asyncio.run(scenario())


def test_closing_gives_the_engine_back() -> None:
    engine = FakeEngine()
    Detector(engine, parameters=ServingParameters()).close()
    assert engine.is_closed
