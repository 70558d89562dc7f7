"""Every transport of the service over one owner of streams: servers and brokers, senders, readers."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import grpc
import httpx

from app.api.contract import NDJSON, SSE
from app.contract.messages import from_message
from app.pipeline.memory_store import MemoryStore
from app.pipeline.models import FixedModels
from app.pipeline.streams import Streams
from app.pipeline.surroundings import StreamLimits, Surroundings
from app.tracking.parameters import TrackerParameters
from tests.api.live_calls import Call, calling
from tests.api.live_wire import Replica, client
from tests.api.served import serving
from tests.builders import make_spec
from tests.contract.delivery_places import PLACES, Place, parameters
from tests.contract.scene import SceneFrame, WalkersChain
from tests.servers.mosquitto import NoMosquittoError, install

Read: TypeAlias = list[tuple[str, bytes]]
"""The ids and the bodies of events, in the order in which they came; the ids are those that the transport names."""
_WITHIN_S: Final = 20.0
_DEPTH: Final = 12
"""Frames that may be open at once: fewer than a scene has, so that senders wait for credit."""
_CLOSED: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One replica with all of its transports. `missing` names the places that cannot be had here, and says why."""

    url: str
    http: httpx.AsyncClient
    channel: grpc.aio.Channel
    around: Surroundings
    host: Streams
    places: Mapping[str, Place]
    missing: Mapping[str, str] = field(default_factory=dict)

    async def open(self, spec: Mapping[str, Any]) -> str:
        """A new stream with that JSON; its id."""
        answer = await self.http.post("/v1/streams", json=spec)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["stream_id"])

    async def close(self, stream_id: str) -> None:
        """Close it, and let everything arrive at its sinks."""
        assert (await self.http.delete(f"/v1/streams/{stream_id}")).status_code == 200
        await self.around.deliveries.settle()

    async def log(self, stream_id: str) -> Read:
        """What the owner has told of the stream, by no transport at all."""
        batch = await self.host.events(stream_id, position=0, wait_s=0)
        assert batch.is_closed
        return [(event.event_id, event.body) for event in batch.events]


@asynccontextmanager
async def serving_all(folder: Path) -> AsyncIterator[Service]:
    """The service, its brokers and a webhook's receiver, all on loopback."""
    async with AsyncExitStack() as stack:
        missing = await asyncio.to_thread(_missing)
        places: dict[str, Place] = {}
        for name in PLACES.keys() - missing.keys():
            (folder / name).mkdir(parents=True)
            places[name] = await stack.enter_async_context(PLACES[name](folder / name))
        options = [place.parameters for place in places.values()]
        around = Surroundings(
            chain=WalkersChain(),
            store=MemoryStore(),
            models=FixedModels(make_spec()),
            tracker=TrackerParameters(),
            limits=StreamLimits(depth=_DEPTH),
            delivery=parameters(
                folder,
                webhooks=places["webhook"].parameters.webhooks,
                brokers={name: broker for one in options for name, broker in one.brokers.items()},
                clusters={name: cluster for one in options for name, cluster in one.clusters.items()},
            ),
        )
        host = Streams(around)
        stack.push_async_callback(host.stop)
        served = await stack.enter_async_context(serving(host=host))
        channel = await stack.enter_async_context(calling(Replica(host=host)))
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=served.url, timeout=_WITHIN_S))
        yield Service(
            url=served.url, http=http, channel=channel, around=around, host=host, places=places, missing=missing
        )


def _missing() -> dict[str, str]:
    try:
        install()
    except NoMosquittoError as error:
        return {"mqtt": str(error)}
    return {}


async def push(service: Service, stream_id: str, frames: Sequence[SceneFrame]) -> None:
    """One request a frame."""
    for frame in frames:
        answer = await service.http.post(
            f"/v1/streams/{stream_id}/frames",
            params={"seq": frame.seq, "captured_at": frame.captured_at.isoformat()},
            content=frame.data,
            headers={"content-type": "image/jpeg"},
        )
        assert answer.status_code == 200, answer.text


async def send_over_websocket(service: Service, stream_id: str, frames: Sequence[SceneFrame]) -> None:
    """As fast as credits come, until the last has its end."""
    async with client(_ws(service), stream_id) as connection:
        for number, frame in enumerate(frames):
            await connection.until(lambda: connection.credit > number)  # noqa: B023  awaited at once
            await connection.send(frame.seq, **_fields(frame))
        await connection.results(frames[-1].seq)


async def send_over_grpc(service: Service, stream_id: str, frames: Sequence[SceneFrame]) -> None:
    """As fast as credits come, until the call has told all of them and ends by itself."""
    call = Call(service.channel)
    await call.greet(stream_id)
    for number, frame in enumerate(frames):
        await call.until(lambda: call.credit(stream_id) > number)  # noqa: B023  awaited at once
        await call.send(stream_id, frame.seq, **_fields(frame))
    await call.rpc.done_writing()
    assert (await call.ending())[0] is grpc.StatusCode.OK
    assert call.seqs(stream_id) == [frame.seq for frame in frames]


def _fields(frame: SceneFrame) -> dict[str, Any]:
    given = {"data": frame.data, "captured_at": frame.captured_at}
    said = {"dropped": frame.dropped, "metadata": frame.metadata}
    return {**given, **{name: value for name, value in said.items() if value is not None}}


SENDERS: Final = {"http": push, "websocket": send_over_websocket, "grpc": send_over_grpc}


async def _ndjson(service: Service, stream_id: str, is_reading: asyncio.Event) -> Read:
    lines = (await _events(service, stream_id, is_reading, accept=NDJSON)).split(b"\n")
    assert lines.pop() == b""
    return [(json.loads(line)["event_id"], line) for line in lines]


async def _sse(service: Service, stream_id: str, is_reading: asyncio.Event) -> Read:
    """Source: HTML Standard, 9.2.6: blocks between empty lines; a line that begins with a colon is a comment."""
    blocks = (await _events(service, stream_id, is_reading, accept=SSE)).split(b"\n\n")
    assert blocks.pop() == b""
    events = [dict(line.split(b": ", 1) for line in block.split(b"\n")) for block in blocks if block[:1] != b":"]
    for event in events:
        assert event.keys() == {b"id", b"event", b"data"}
        assert json.loads(event[b"data"])["schema"] == f"sightline.v1.{event[b'event'].decode()}"
    return [(event[b"id"].decode(), event[b"data"]) for event in events]


async def _events(service: Service, stream_id: str, is_reading: asyncio.Event, *, accept: str) -> bytes:
    url = f"/v1/streams/{stream_id}/events"
    async with service.http.stream("GET", url, headers={"accept": accept}) as answer:
        assert answer.headers["content-type"].startswith(accept)
        is_reading.set()
        return await answer.aread()


async def _websocket(service: Service, stream_id: str, is_reading: asyncio.Event) -> Read:
    async with client(_ws(service), stream_id) as connection:
        await connection.read()  # with its first credits it reads from here on
        is_reading.set()
        assert (await connection.ending())[0] == _CLOSED
        told = zip(connection.told, connection.bodies, strict=True)
        return [(event["event_id"], body) for event, body in told if "event_id" in event]


async def _grpc(service: Service, stream_id: str, is_reading: asyncio.Event) -> Read:
    call = Call(service.channel)
    await call.greet(stream_id)
    is_reading.set()
    await call.until(lambda: any(event.HasField("summary") for event in call.told[-1].events))
    await call.rpc.done_writing()
    assert (await call.ending())[0] is grpc.StatusCode.OK
    events: list[Any] = []
    for message in call.told:
        events += [getattr(event, event.WhichOneof("kind") or "") for event in message.events]
        events += [message] if message.status else []
    return [(event.event_id, from_message(event)) for event in events]


def _ws(service: Service) -> str:
    return service.url.replace("http", "ws", 1)


READERS: Final[Mapping[str, Callable[[Service, str, asyncio.Event], Awaitable[Read]]]] = {
    "ndjson": _ndjson,
    "sse": _sse,
    "websocket": _websocket,
    "grpc": _grpc,
}
"""Those that ask; the others are the sinks of a stream, `PLACES`."""


async def read_by_all(
    service: Service, spec: Mapping[str, Any], send: Callable[[str], Awaitable[None]]
) -> tuple[Read, dict[str, Read]]:
    """The owner's log of one stream, and what all readers together have of it; they were there before it began."""
    stream_id = await service.open({**spec, "sinks": [asdict(place.sink) for place in service.places.values()]})
    begun = {name: asyncio.Event() for name in READERS}
    async with asyncio.TaskGroup() as group, asyncio.timeout(_WITHIN_S):
        reading = {name: group.create_task(_task(READERS[name], service, stream_id, begun[name])) for name in READERS}
        for is_reading in begun.values():
            await is_reading.wait()
        await send(stream_id)
        await service.close(stream_id)
    told = {name: task.result() for name, task in reading.items()}
    return await service.log(stream_id), told | {name: await place.arrived() for name, place in service.places.items()}


async def _task(reader: Callable[..., Awaitable[Read]], *arguments: Any) -> Read:
    return await reader(*arguments)
