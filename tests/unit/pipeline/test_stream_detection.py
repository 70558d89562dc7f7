import asyncio

import pytest

from app.core.errors import UnavailableError
from app.core.frame import EncodedFrame
from app.core.outcome import Failed
from app.core.result import FrameResult, ModelVersion, Status
from app.core.video import FrameMode, VideoSpec
from app.pipeline.memory_store import MemoryStore
from app.pipeline.models import FixedModels
from app.pipeline.stream_detection import StreamDetection
from app.pipeline.stream_spec import StreamSpec
from app.pipeline.surroundings import StreamLimits, Surroundings
from app.tracking.parameters import TrackerParameters
from tests.builders import make_encoded, make_spec
from tests.fakes import FakeChain


class LosesTheFirst(FakeChain):
    """The process of the model dies with the first batch in it."""

    async def detect(self, frames: list[EncodedFrame]) -> list:
        found = await super().detect(frames)
        is_first = len(self.batches) == 1
        return [Failed(ref=frame.ref, error=UnavailableError()) for frame in frames] if is_first else found


def detection(chain: FakeChain, *, answering: tuple[str, str] | None = None) -> StreamDetection:
    around = Surroundings(
        chain=chain,
        store=MemoryStore(),
        models=FixedModels(make_spec()),
        tracker=TrackerParameters(),
        limits=StreamLimits(),
    )
    return StreamDetection("cam", around, answering=answering)


def answer(version: str | None) -> FrameResult:
    model = None if version is None else ModelVersion(name="m", version=version)
    return FrameResult(stream_id="cam", epoch=0, seq=0, event_id="cam:0:0", status=Status.RESULT, model=model)


def test_frames_carry_the_route_the_priority_and_the_share_of_their_stream() -> None:
    chain = FakeChain()
    asyncio.run(detection(chain).detected([make_encoded(b"x", seq=0)], StreamSpec(priority=9)))
    ((frame,),) = chain.batches
    assert frame.route is not None
    assert (frame.route.model, frame.route.version) == (make_spec().name, make_spec().version)
    assert (frame.urgency.priority, frame.urgency.share) == (9, "cam")


def test_a_batch_that_died_with_its_model_is_sent_again() -> None:
    chain = LosesTheFirst()
    (found,) = asyncio.run(detection(chain).detected([make_encoded(b"x", seq=0)], StreamSpec()))
    assert not isinstance(found, Failed)
    assert len(chain.batches) == 2


def test_where_only_the_latest_counts_nothing_is_sent_again() -> None:
    chain = LosesTheFirst()
    spec = StreamSpec(video=VideoSpec(mode=FrameMode.LATEST_FRAME))
    (found,) = asyncio.run(detection(chain).detected([make_encoded(b"x", seq=0)], spec))
    assert isinstance(found, Failed)
    assert len(chain.batches) == 1


@pytest.mark.parametrize(
    ("before", "versions", "changes"),
    [
        (None, ["1.0.0", "1.0.0", "1.1.0"], [False, False, True]),
        (("m", "1.0.0"), ["1.1.0", None, "1.1.0"], [True, False, False]),
    ],
    ids=["begun", "taken_over"],
)
def test_another_version_is_told_once_and_frames_without_an_answer_change_nothing(
    before: tuple[str, str] | None, versions: list[str | None], changes: list[bool]
) -> None:
    seen = detection(FakeChain(), answering=before)
    assert [seen.is_another(answer(version)) for version in versions] == changes
