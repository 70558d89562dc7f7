"""200 pulled streams of one owner cut at once, on a loop whose time costs none. Source: facts/reliability.md 3.2."""

import asyncio
import random
import selectors
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import pytest

from app.core.video import VideoSpec
from app.media.pull.messages import Broken, Opened, Reason
from app.media.pull.parameters import PullParameters
from app.media.pull.source_url import source_of
from app.pipeline.pulled_stream import Pulled, PulledStream
from app.policy.connect_pace import BURST, ConnectPace
from app.policy.reconnect import FAST_S, FIRST_S, POLICIES, Backoff
from app.policy.session import SessionState
from tests.builders import make_spec

SESSIONS = 200
PEAK = 0.2
ALL_BACK_S = 30.0
PARAMETERS = PullParameters(allowed_hosts=("camera",), stall_s=1e6)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that goes to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        self.now_s = 0.0
        loop = self

        class Selector(selectors.SelectSelector):
            def select(self, timeout: float | None = None) -> list[Any]:
                loop.now_s += timeout or 0.0
                return super().select(0)

        super().__init__(Selector())

    def time(self) -> float:
        return self.now_s


class Camera(PulledStream):
    """A pulled stream whose camera answers at once; `connected_s` are the times."""

    def __init__(self, loop: VirtualLoop, pace: ConnectPace | None, *, backoff: Backoff, jitter: random.Random) -> None:
        self.connected_s: list[float] = []
        self.told: list[Pulled] = []
        self._loop = loop
        super().__init__(
            source_of("rtsp://camera/", PARAMETERS),
            policy=POLICIES[backoff],
            model=make_spec(size_px=64),
            video=VideoSpec(),
            parameters=PARAMETERS,
            sink=self.told.append,
            pace=pace,
            clock=loop.time,
            jitter=jitter.random,
        )

    def _connect(self) -> None:
        self.connected_s.append(self._loop.now_s)
        self._hear(Opened(announced_s=None))

    def cut(self) -> None:
        self._hear(Broken(reason=Reason.UNREACHABLE))


def back_s(paces: Callable[[], ConnectPace], *, sessions: int, backoff: Backoff, seed: int = 0) -> list[float]:
    """Seconds from the common cut until each session is back, in order."""
    loop, jitter = VirtualLoop(), random.Random(seed)

    async def scenario() -> list[float]:
        cameras = [Camera(loop, paces(), backoff=backoff, jitter=jitter) for _ in range(sessions)]
        for camera in cameras:
            camera.start()
        await asyncio.sleep(60)
        cut_s = loop.time()
        for camera in cameras:
            camera.cut()
        await asyncio.sleep(60)
        assert {camera.state for camera in cameras} == {SessionState.STREAMING}
        assert {len(camera.connected_s) for camera in cameras} == {2}
        found = sorted(camera.connected_s[1] - cut_s for camera in cameras)
        for camera in cameras:
            await camera.stop()
        return found

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(scenario())


def peak(times_s: list[float]) -> float:
    """The largest share within one second, wherever it begins."""
    return max(bisect_left(times_s, time_s + 1.0) - place for place, time_s in enumerate(times_s)) / len(times_s)


@pytest.mark.parametrize("backoff", list(Backoff))
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_hundred_cut_at_once_come_back_spread_and_soon(backoff: Backoff, seed: int) -> None:
    shared = ConnectPace()
    found = back_s(lambda: shared, sessions=SESSIONS, backoff=backoff, seed=seed)
    assert peak(found) <= PEAK
    assert found[-1] <= ALL_BACK_S
    assert shared._members == 0


def test_without_a_shared_pace_they_all_come_within_the_first_second() -> None:
    """The positive control: full jitter alone."""
    assert peak(back_s(ConnectPace, sessions=SESSIONS, backoff=Backoff.EXPONENTIAL)) == 1.0


@pytest.mark.parametrize(("backoff", "bound_s"), [(Backoff.FAST, FAST_S), (Backoff.EXPONENTIAL, FIRST_S)])
@pytest.mark.parametrize("sessions", [1, BURST])
def test_a_lone_camera_and_a_small_site_are_as_fast_as_the_policy_alone(
    backoff: Backoff, bound_s: float, sessions: int
) -> None:
    shared = ConnectPace()
    found = back_s(lambda: shared, sessions=sessions, backoff=backoff)
    assert found == back_s(ConnectPace, sessions=sessions, backoff=backoff)
    assert found[-1] <= bound_s + 1e-9


def test_a_stream_that_is_stopped_while_it_waits_for_its_turn_does_not_connect() -> None:
    loop, shared = VirtualLoop(), ConnectPace()

    async def scenario() -> list[int]:
        jitter = random.Random(0)
        cameras = [Camera(loop, shared, backoff=Backoff.FAST, jitter=jitter) for _ in range(BURST + 5)]
        for camera in cameras:
            camera.start()
        await asyncio.sleep(0.01)
        for camera in cameras:
            await camera.stop()
        await asyncio.sleep(60)
        return [len(camera.connected_s) for camera in cameras]

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert sorted(runner.run(scenario())) == [0] * 5 + [1] * BURST
    assert shared._members == 0
