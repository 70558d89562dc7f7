"""Part `in process` of the scenario `swaps`: a thousand versions, one after the other, under frames that do not wait.

Here is everything of the service but processes and networks: the registry, what follows it, the stage with its queues.
Engines answer at once what their version's mark says.
"""

import asyncio
import os
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ConflictError
from app.core.frame import Detections, FrameRef, Letterbox, ModelInput
from app.core.model import Head, ModelSpec
from app.core.outcome import Failed, Outcome
from app.core.ports import RawOutput
from app.core.query import Query
from app.core.routing import Route
from app.pipeline.detector import Detector
from app.pipeline.model_records import Load, RegistryParameters
from app.pipeline.model_registry import ModelRegistry
from app.pipeline.serving import ServingParameters
from app.pipeline.version_keeper import VersionKeeper
from app.policy.lifecycle import GONE, Phase
from app.policy.route_document import parsed
from app.policy.route_table import Ask, choose
from load_tests.admission import percentile
from load_tests.efficiency import say
from load_tests.service import rss_bytes
from load_tests.swap_account import theil_sen
from load_tests.swap_models import LABELS, MODEL, SIZE_PX, is_of_picture, score_of

SWAPS, RATE_HZ = 1_000, 400.0
GRACE_S = 0.01
"""Longer than a frame takes here from its route to its queue."""
_TICK_S = 0.002
_WIDEST_PX: Final = 32
REPLICA: Final = "here"


def version_of(number: int) -> str:
    """The name of a version."""
    return f"1.{number}.0"


def box_of(number: int) -> tuple[float, float, float, float]:
    """Where that version sees its object: no other of the next thousand sees it there."""
    return (float(number % _WIDEST_PX), float(number // _WIDEST_PX), 62.0, 63.0)


class MarkEngine:
    """The version of that number; a canvas' first pixel is the brightness that its score tells."""

    streams = 2

    def __init__(self, number: int) -> None:
        self._row = [*box_of(number), 0.0, 0.0]
        self.spec = ModelSpec(
            name=MODEL,
            version=version_of(number),
            labels=LABELS,
            head=Head.END_TO_END,
            input_width_px=SIZE_PX,
            input_height_px=SIZE_PX,
        )
        self.is_closed = False

    def infer(self, pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        """One row a canvas; a closed engine may not be asked."""
        if self.is_closed:
            raise AssertionError("an engine was asked after it had been closed")
        rows = np.tile(np.asarray([[self._row]], np.float32), (len(pixels), 1, 1))
        rows[:, 0, 4] = [score_of(float(canvas[0, 0, 0]) / 255) for canvas in pixels]
        return rows

    def close(self) -> None:
        """Answer no more."""
        self.is_closed = True


@dataclass(slots=True)
class Account:
    """What became of the frames."""

    sent: int = 0
    answered: int = 0
    races_won_late: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    torn: list[str] = field(default_factory=list)
    late_s: "array[float]" = field(default_factory=lambda: array("d"))


class Swaps:
    """One process with its registry; `opened` is the engine of a version's number."""

    def __init__(self, opened: Callable[[int], MarkEngine] = MarkEngine) -> None:
        parameters = RegistryParameters(grace_s=GRACE_S, gone_after_s=60.0)
        self.registry = ModelRegistry(parameters)
        self._opened = opened
        self.detector = Detector(MarkEngine(0), parameters=ServingParameters())
        self.keeper = VersionKeeper(self.detector, self._open)
        self.account = Account()
        self.registered: dict[str, Phase] = {}
        """Every version that may answer now, by what the registry says of it."""
        self._frames: set[asyncio.Task[None]] = set()
        self._table = parsed({"weights": {version_of(0): 1.0}}, epoch=0)

    async def _open(self, load: Load) -> MarkEngine:
        await asyncio.sleep(_TICK_S)
        return self._opened(int(load.version.split(".")[1]))

    def beat(self) -> None:
        """A heartbeat, and the newest view of the registry."""
        for seen in self.detector.traffic.take():
            self.registry.observe(MODEL, seen.version, seen.traffic, epoch=seen.epoch)
        self.registry.report(REPLICA, self.keeper.held())
        self.keeper.follow(self.registry.directive(REPLICA))
        (status,) = self.registry.describe()
        self.registered = {one.version: one.phase for one in status.versions if one.phase not in GONE}
        if status.routes is not None:
            self._table = status.routes

    async def until(self, version: str, *phases: Phase) -> None:
        """Beat until the version is in one of these phases; RuntimeError after 10 s."""
        end_s = time.monotonic() + 10
        while self.registered.get(version, Phase.UNLOADED) not in phases:
            if time.monotonic() > end_s:
                raise RuntimeError(f"{version} is {self.registered.get(version)} and not {phases}")
            await asyncio.sleep(_TICK_S)
            self.beat()

    async def swap(self, number: int) -> float:
        """The next version takes the place of the one before; seconds until that is gone."""
        before, after = version_of(number - 1), version_of(number)
        start_s = time.perf_counter()
        self.registry.put_version(MODEL, after, sha256=f"{number:064x}")
        await self.until(after, Phase.WARM)
        (status,) = self.registry.describe()
        document = {"weights": {after: 1.0}}
        self.registry.put_routes(MODEL, document, if_match=status.route_epoch)
        try:
            self.registry.put_routes(MODEL, document, if_match=status.route_epoch)
        except ConflictError:
            pass
        else:
            self.account.races_won_late += 1
        self.beat()
        await self.until(before, Phase.UNLOADED)
        return time.perf_counter() - start_s

    def send(self, seq: int, *, due_s: float) -> None:
        """A frame that was due then."""
        self.account.sent += 1
        version = choose(self._table, Ask(), key=b"", usable=())
        route = Route(
            model=MODEL, version=version, epoch=self._table.epoch, width_px=SIZE_PX, height_px=SIZE_PX, shadow=None
        )
        task = asyncio.create_task(self._frame(seq, route, due_s=due_s))
        self._frames.add(task)
        task.add_done_callback(self._frames.discard)

    async def drain(self) -> None:
        """Wait for every frame."""
        await asyncio.gather(*self._frames)

    async def _frame(self, seq: int, route: Route, *, due_s: float) -> None:
        level = 40 + seq % 200
        (outcome,) = await self.detector.detect([_input(seq, level, route)])
        self.account.late_s.append(time.perf_counter() - due_s)
        self._settle(outcome, seq, level, route)

    def _settle(self, outcome: Outcome[Detections], seq: int, level: int, route: Route) -> None:
        account = self.account
        if not isinstance(outcome, Detections):
            account.failed[outcome.error.code if isinstance(outcome, Failed) else type(outcome).__name__] += 1
            return
        account.answered += 1
        said = outcome.route
        if said is None or (said.version, said.epoch) != (route.version, route.epoch):
            account.torn.append(f"frame {seq} was sent along {route} and says {said}")
        elif said.version not in self.registered:
            account.torn.append(f"frame {seq} says {said.version}, which nobody has any more")
        elif outcome.xyxy.tolist() != [list(box_of(int(said.version.split(".")[1])))]:
            account.torn.append(f"frame {seq} says {said.version} and sees {outcome.xyxy.tolist()}")
        elif outcome.ref.seq != seq or not is_of_picture(float(outcome.score[0]), level / 255):
            account.torn.append(f"frame {seq} has the answer to another picture")


def _input(seq: int, level: int, route: Route) -> ModelInput:
    canvas = np.full((SIZE_PX, SIZE_PX, 3), level, np.uint8)
    whole = Letterbox(scale_x=1.0, scale_y=1.0, pad_x_px=0.0, pad_y_px=0.0, width_px=SIZE_PX, height_px=SIZE_PX)
    return ModelInput(
        canvases=(canvas,),
        letterboxes=(whole,),
        source_width_px=SIZE_PX,
        source_height_px=SIZE_PX,
        ref=FrameRef(stream_id=f"s{seq % 8}", seq=seq),
        query=Query(),
        route=route,
    )


async def _offered(swaps: Swaps, stop: asyncio.Event) -> None:
    """Poisson arrivals until told to stop; what is late is sent at once, and counted from when it was due."""
    arrivals = np.random.default_rng(1)
    due_s, seq = time.perf_counter(), 0
    while not stop.is_set():
        due_s += float(arrivals.exponential(1 / RATE_HZ))
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        swaps.send(seq, due_s=due_s)
        seq += 1


async def run(
    count: int, opened: Callable[[int], MarkEngine] = MarkEngine
) -> tuple[Swaps, list[float], list[tuple[float, float]]]:
    """So many swaps, the seconds that each took, and resident bytes by number of swaps."""
    swaps = Swaps(opened)
    swaps.registry.seed(MODEL, version_of(0))
    swaps.beat()
    await swaps.until(version_of(0), Phase.PRIMARY)
    stop = asyncio.Event()
    offering = asyncio.create_task(_offered(swaps, stop))
    swap_s: list[float] = []
    rss: list[tuple[float, float]] = []
    for number in range(1, count + 1):
        swap_s.append(await swaps.swap(number))
        if number % max(1, count // 100) == 0:
            rss.append((number, rss_bytes(os.getpid())))
    stop.set()
    await offering
    await swaps.drain()
    await swaps.keeper.close()
    swaps.detector.close()
    return swaps, swap_s, rss


def in_process(count: int = SWAPS) -> tuple[dict[str, float], dict[str, object]]:
    """Figures and details. RSS is of this process, its slope over the last half of the swaps."""
    say(f"{count} swaps in one process")
    swaps, swap_s, rss = asyncio.run(run(count))
    account = swaps.account
    half = rss[len(rss) // 2 :]
    figures = {
        "swaps_in_process": float(count),
        "swap_in_process_frames": float(account.sent),
        "swap_in_process_failed": float(account.sent - account.answered),
        "swap_in_process_torn": float(len(account.torn)),
        "swap_in_process_races_won_late": float(account.races_won_late),
        "swap_in_process_p99_s": percentile(account.late_s, 0.99),
        "swap_in_process_rss_slope_bytes_per_swap": theil_sen(half),
    }
    return figures, {
        "failed": dict(account.failed),
        "torn": account.torn[:20],
        "swap_and_unload_s": {"median": percentile(swap_s, 0.5), "worst": max(swap_s)},
        "rss_mib": [round(held / 2**20, 1) for _, held in rss],
    }
