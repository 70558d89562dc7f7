"""Callers of a running service while a fault is in it: a stream, stills, and somebody who looks at `/readyz`."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import httpx

from app.policy.fault_plan import MAX_RECOVERY_S
from load_tests.fault_account import Answer, FaultRecord, Look, answer_of, content_of
from load_tests.service import Service
from load_tests.swap_models import Mark, Written, flat
from load_tests.swap_operator import Operator

JPEG: Final = {"content-type": "image/jpeg"}
FAULTS: Final = "/v1/admin/faults"
LEVEL: Final = 180
PAUSE_S: Final = 0.06
HURRY_MS: Final = "3000"
MAX_FLYING: Final = 16
CALM: Final = 12
"""So many answers in a row at full quality are a service that is as it was."""


@dataclass(frozen=True, slots=True)
class Served:
    """A service whose GPU is a fake one, and the versions in its store."""

    service: Service
    versions: dict[str, Written]

    @property
    def marks(self) -> dict[str, Mark]:
        return {version: written.mark for version, written in self.versions.items()}


@dataclass(slots=True)
class Callers:
    """Each of them asks again and again; what came of it is in `record`."""

    served: Served
    client: httpx.AsyncClient
    operator: Operator
    stream: str
    record: FaultRecord = field(default_factory=FaultRecord)
    flying: list[asyncio.Task[None]] = field(default_factory=list)

    async def plant(self, **fault: Any) -> str:
        """The id of the fault, which may strike from now on."""
        answer = await self.client.post(FAULTS, json={"fault": fault, "expires_s": 60})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["fault_id"])

    async def take_back(self, fault_id: str) -> float:
        """When it was gone."""
        answer = await self.client.delete(f"{FAULTS}/{fault_id}")
        assert answer.status_code == 200, answer.text
        return time.monotonic()

    async def until(self, is_so: Callable[[], bool], *, within_s: float) -> None:
        """Return when it is so, or the time is over: the account then says what that means."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not is_so():  # noqa: ASYNC110  what callers see sets no event
                    await asyncio.sleep(0.02)

    async def found(self, *, after_s: float, within_s: float, version: str = "") -> float:
        """Return when somebody who began after that is told by that version that not all is well: after how long."""

        def is_told() -> bool:
            begun = [one for one in self.record.answers if one.begun_s > after_s and one.version.startswith(version)]
            return any(one.why is not None for one in begun)

        await self.until(is_told, within_s=within_s)
        return time.monotonic() - after_s

    async def calm(self, *, after_s: float, within_s: float = MAX_RECOVERY_S + 2) -> None:
        """Return when all who began after that are answered at full quality, for a while."""
        await self.until(lambda: self._is_calm(after_s), within_s=within_s)

    def _is_calm(self, after_s: float) -> bool:
        last = [one for one in self.record.answers if one.begun_s > after_s][-CALM:]
        looks = [look.is_ready for look in self.record.looks if look.begun_s > after_s][-2:]
        is_full = len(last) == CALM and all(one.code == "result" and one.why is None for one in last)
        return is_full and looks == [True, True]

    async def _ask(self, path: str, **headers: str) -> Answer:
        begun_s = time.monotonic()
        answer = await self.client.post(path, content=flat(LEVEL), headers={**JPEG, **headers})
        times_s = (begun_s, time.monotonic())
        marks = self.served.marks
        return answer_of(answer.status_code, answer.content, times_s=times_s, brightness=LEVEL / 255, marks=marks)

    async def push(self) -> None:
        """The next frame of the stream, as a camera sends it: without waiting for what became of those before."""
        if len(self.flying) < MAX_FLYING:
            self.flying.append(asyncio.create_task(self._frame()))
        self.flying = [frame for frame in self.flying if not frame.done()]

    async def _frame(self) -> None:
        self.record.answers.append(await self._ask(f"/v1/streams/{self.stream}/frames"))

    async def still(self) -> None:
        """One picture that is no frame of anything, and has all the time that it needs."""
        self.record.answers.append(replace(await self._ask("/v1/detections"), seq=None))

    async def hurried(self) -> None:
        """One that is worth nothing when it comes too late, so that something may be given up for it."""
        answer = await self._ask("/v1/detections", **{"x-deadline-ms": HURRY_MS})
        self.record.answers.append(replace(answer, seq=None))

    async def look(self) -> None:
        """Whether the service says that it is ready."""
        begun_s = time.monotonic()
        answer = await self.client.get("/readyz")
        is_ready = answer.status_code == httpx.codes.OK
        self.record.looks.append(Look(begun_s=begun_s, ended_s=time.monotonic(), is_ready=is_ready))

    async def watch(self) -> None:
        """Whether the deployment that holds the engines has a process at all."""
        titles = await asyncio.to_thread(self.served.service.processes)
        is_there = any(title.startswith("ray::ServeReplica:sightline:Detector") for title in titles.values())
        self.record.able.append((time.monotonic(), is_there))

    async def read_back(self) -> None:
        """Close the stream and note what its history tells."""
        await self.client.delete(f"/v1/streams/{self.stream}")
        told = await self.client.get(f"/v1/streams/{self.stream}/events?since=-1")
        for event in map(json.loads, told.text.splitlines()):
            is_result = event["schema"] == "sightline.v1.FrameResult" and event["status"] == "result"
            if is_result:
                self.record.events.setdefault(event["seq"], []).append(content_of(event))


@contextlib.asynccontextmanager
async def calling(served: Served) -> AsyncIterator[Callers]:
    """Callers at work on a service that is well; at the end the stream is closed and read back."""
    async with (
        httpx.AsyncClient(base_url=served.service.url, timeout=60) as client,
        Operator(served.service.url, served.versions) as operator,
    ):
        stream = (await client.post("/v1/streams", json={})).json()["stream_id"]
        callers = Callers(served, client, operator, stream)
        acts = [callers.push, callers.still, callers.hurried, callers.look, callers.watch]
        tasks = [asyncio.create_task(_again(act)) for act in acts]
        try:
            await callers.calm(after_s=time.monotonic())
            yield callers
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            frames = await asyncio.gather(*callers.flying, return_exceptions=True)
        assert not [end for end in frames if end is not None], frames
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
        await callers.read_back()


async def _again(act: Callable[[], Awaitable[None]]) -> None:
    while True:
        await act()
        await asyncio.sleep(PAUSE_S)
