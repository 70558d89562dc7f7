"""One process follows the registry: what it loads, gives back and reports."""

import asyncio
from collections.abc import Awaitable, Callable

from app.core.errors import InternalError, ModelError, UnavailableError
from app.core.model import ModelSpec
from app.pipeline.detector import Detector
from app.pipeline.engine_slot import Opening
from app.pipeline.guarded_engine import GuardedEngine
from app.pipeline.model_card import spec_of
from app.pipeline.model_records import Directive, Held, Load
from app.pipeline.serving import ServingParameters
from app.pipeline.version_keeper import VersionKeeper
from app.policy.ladder import Rung
from app.policy.lifecycle import Phase
from tests.unit.pipeline.version_parts import VersionEngine, detector_of, sent_to

FIRST, NEXT = ("test", "1.0.0"), ("test", "2.0.0")


def load_of(version: str = "2.0.0", *, attempt: int = 1) -> Load:
    return Load(model="test", version=version, uri="", sha256="a" * 64, attempt=attempt)


def ordered(*loads: Load) -> Directive:
    return Directive(load=loads)


class Opener:
    """Opens versions when it may; `raises` instead, when set. The engines that it gave, in order."""

    def __init__(self) -> None:
        self.asked: list[Load] = []
        self.gave: list[VersionEngine] = []
        self.may = asyncio.Event()
        self.may.set()
        self.has_begun = asyncio.Event()
        self.raises: Exception | None = None
        self.cancelled = 0

    async def __call__(self, load: Load) -> VersionEngine:
        self.asked.append(load)
        self.has_begun.set()
        try:
            await self.may.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.raises is not None:
            raise self.raises
        self.gave.append(VersionEngine(load.version, edge_px=20))
        return self.gave[-1]


def keeping(scenario: Callable[[Detector, VersionKeeper, Opener], Awaitable[None]]) -> None:
    """Run it with a stage that holds 1.0.0."""

    async def run() -> None:
        opener = Opener()
        detector = detector_of(VersionEngine("1.0.0", edge_px=10))
        keeper = VersionKeeper(detector, opener)
        await scenario(detector, keeper, opener)
        await keeper.close()
        detector.close()

    asyncio.run(run())


async def idle(keeper: VersionKeeper) -> None:
    while keeper.is_busy:
        await asyncio.gather(*keeper._tasks.values())


def known(held: Held) -> tuple[ModelSpec, Phase, int]:
    assert held.card is not None
    return spec_of(held.card), held.phase, held.attempt


def test_the_version_of_the_settings_is_held_from_the_start() -> None:
    async def scenario(detector: Detector, keeper: VersionKeeper, _opener: Opener) -> None:
        assert set(keeper.held()) == {FIRST}
        assert known(keeper.held()[FIRST]) == (detector.first.spec, Phase.WARM, 1)
        assert not keeper.is_busy

    keeping(scenario)


def test_a_version_is_loading_then_warm_and_then_answers() -> None:
    async def scenario(detector: Detector, keeper: VersionKeeper, opener: Opener) -> None:
        opener.may.clear()
        keeper.follow(ordered(load_of(attempt=4)))
        await asyncio.sleep(0)
        assert keeper.is_busy
        assert keeper.held()[NEXT] == Held(phase=Phase.LOADING, attempt=4)
        assert NEXT not in detector.versions
        opener.may.set()
        await idle(keeper)
        assert known(keeper.held()[NEXT]) == (opener.gave[0].spec, Phase.WARM, 4)
        assert detector.versions[NEXT].spec is opener.gave[0].spec

    keeping(scenario)


def test_an_order_that_is_repeated_is_followed_once() -> None:
    async def scenario(_detector: Detector, keeper: VersionKeeper, opener: Opener) -> None:
        opener.may.clear()
        for _ in range(3):
            keeper.follow(ordered(load_of()))
            await asyncio.sleep(0)
        opener.may.set()
        await idle(keeper)
        keeper.follow(ordered(load_of()))
        await idle(keeper)
        assert len(opener.asked) == 1

    keeping(scenario)


def test_two_versions_are_loaded_side_by_side() -> None:
    async def scenario(detector: Detector, keeper: VersionKeeper, _opener: Opener) -> None:
        keeper.follow(ordered(load_of("2.0.0"), load_of("3.0.0")))
        await idle(keeper)
        assert set(detector.versions) == {FIRST, NEXT, ("test", "3.0.0")}

    keeping(scenario)


def test_a_version_that_cannot_be_loaded_says_why_and_the_others_answer() -> None:
    async def scenario(detector: Detector, keeper: VersionKeeper, opener: Opener) -> None:
        opener.raises = ModelError("its weights are no numbers")
        keeper.follow(ordered(load_of()))
        await idle(keeper)
        assert keeper.held()[NEXT] == Held(phase=Phase.FAILED, error="its weights are no numbers", attempt=1)
        assert list(detector.versions) == [FIRST]

    keeping(scenario)


def test_what_nobody_foresaw_is_a_failure_without_the_inside_s_words() -> None:
    async def scenario(_detector: Detector, keeper: VersionKeeper, opener: Opener) -> None:
        opener.raises = RuntimeError("/srv/models is on fire")
        keeper.follow(ordered(load_of()))
        await idle(keeper)
        assert keeper.held()[NEXT] == Held(phase=Phase.FAILED, error=InternalError().detail, attempt=1)

    keeping(scenario)


def test_what_failed_is_tried_again_under_another_attempt_only() -> None:
    async def scenario(_detector: Detector, keeper: VersionKeeper, opener: Opener) -> None:
        opener.raises = ModelError("no")
        keeper.follow(ordered(load_of(attempt=1)))
        await idle(keeper)
        opener.raises = None
        keeper.follow(ordered(load_of(attempt=1)))
        await idle(keeper)
        assert keeper.held()[NEXT].phase is Phase.FAILED
        keeper.follow(ordered(load_of(attempt=2)))
        await idle(keeper)
        assert known(keeper.held()[NEXT])[1:] == (Phase.WARM, 2)

    keeping(scenario)


def test_a_copy_of_an_earlier_attempt_goes_before_the_next_is_opened() -> None:
    async def scenario(detector: Detector, keeper: VersionKeeper, opener: Opener) -> None:
        keeper.follow(ordered(load_of(attempt=1)))
        await idle(keeper)
        opener.may.clear()
        opener.has_begun.clear()
        keeper.follow(ordered(load_of(attempt=2)))
        await opener.has_begun.wait()
        assert opener.gave[0].is_closed
        assert NEXT not in detector.versions
        opener.may.set()
        await idle(keeper)
        assert detector.versions[NEXT].spec is opener.gave[1].spec

    keeping(scenario)


def test_unloading_closes_the_engine_and_is_told_by_silence() -> None:
    async def scenario(detector: Detector, keeper: VersionKeeper, opener: Opener) -> None:
        keeper.follow(ordered(load_of()))
        await idle(keeper)
        keeper.follow(Directive(unload=(NEXT,)))
        await idle(keeper)
        assert set(keeper.held()) == {FIRST}
        assert opener.gave[0].is_closed
        assert list(detector.versions) == [FIRST]
        keeper.follow(ordered(load_of(attempt=2)))
        await idle(keeper)
        assert known(keeper.held()[NEXT])[1:] == (Phase.WARM, 2)

    keeping(scenario)


def test_the_version_of_the_settings_is_given_back_like_any_other() -> None:
    async def scenario(detector: Detector, keeper: VersionKeeper, _opener: Opener) -> None:
        keeper.follow(ordered(load_of()))
        await idle(keeper)
        keeper.follow(Directive(unload=(FIRST,)))
        await idle(keeper)
        assert set(keeper.held()) == {NEXT}
        assert detector.first.spec.version == "2.0.0"

    keeping(scenario)


def test_a_report_says_how_many_frames_are_in_each_version() -> None:
    async def scenario(detector: Detector, keeper: VersionKeeper, opener: Opener) -> None:
        keeper.follow(ordered(load_of()))
        await idle(keeper)
        (engine,) = opener.gave
        engine.gate.clear()
        answers = [asyncio.create_task(detector.detect([sent_to("2.0.0", seq=seq)])) for seq in range(3)]
        await asyncio.to_thread(engine.entered.acquire)
        assert {key: held.in_flight for key, held in keeper.held().items()} == {FIRST: 0, NEXT: 3}
        engine.gate.set()
        await asyncio.gather(*answers)
        assert keeper.held()[NEXT].in_flight == 0

    keeping(scenario)


def test_a_report_says_what_the_answers_of_a_version_lack() -> None:
    def lost() -> VersionEngine:
        raise UnavailableError("no such device")

    async def run() -> None:
        standing_in = [
            Opening(rung=Rung.TENSORRT, open=lost),
            Opening(rung=Rung.ONNX_CPU, open=lambda: VersionEngine("1.0.0")),
        ]
        detector = Detector(GuardedEngine(standing_in), parameters=ServingParameters())
        keeper = VersionKeeper(detector, Opener())
        keeper.follow(ordered(load_of()))
        await idle(keeper)
        told = {key: held.degraded for key, held in keeper.held().items()}
        assert told == {FIRST: "onnxruntime_cpu: no such device", NEXT: None}
        await keeper.close()
        detector.close()

    asyncio.run(run())


def test_closing_gives_up_what_is_being_loaded() -> None:
    async def scenario(detector: Detector, keeper: VersionKeeper, opener: Opener) -> None:
        opener.may.clear()
        keeper.follow(ordered(load_of()))
        await opener.has_begun.wait()
        await keeper.close()
        assert opener.cancelled == 1
        assert list(detector.versions) == [FIRST]

    keeping(scenario)
