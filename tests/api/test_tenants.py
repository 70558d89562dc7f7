"""Two tenants and a stranger at one service: each sees its own, and none can tell what the others have."""

import asyncio
import hashlib
import json
from typing import Any

import grpc
import httpx
import pytest

from app.contract.vision_pb2 import Image, VideoFrame
from app.core.tenant import Tenant
from app.pipeline.models import FixedModels
from app.pipeline.stream_host import Offer
from app.pipeline.tenants import Tenants
from tests.api.conftest import Service
from tests.api.grpc_served import calling
from tests.builders import make_spec

JPEG = {"content-type": "image/jpeg"}
KEYS = {
    "key-of-a": Tenant(name="a", is_operator=True),
    "key-of-b": Tenant(name="b", max_streams=1),
    "key-of-c": Tenant(name="c", frames_per_s=0.01, burst_frames=2),
    "key-of-v": Tenant(name="v", frames_per_s=20.0, burst_frames=1),
}
BY_DIGEST = {hashlib.sha256(key.encode()).hexdigest(): tenant for key, tenant in KEYS.items()}
OTHERS = (
    ("GET", ""),
    ("PATCH", ""),
    ("DELETE", ""),
    ("POST", "/frames"),
    ("GET", "/events"),
    ("GET", "/preview"),
)
"""Everything that names a stream over HTTP."""


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer key-of-{name}"}


async def ask(service: Service, method: str, path: str, key: dict[str, str], **options: Any) -> httpx.Response:
    headers = {**key, **options.pop("headers", {})}
    async with service.client() as client:
        return await client.request(method, path, headers=headers, **options)


async def opened(service: Service, name: str) -> str:
    answer = await ask(service, "POST", "/v1/streams", bearer(name))
    assert answer.status_code == 201, answer.text
    stream_id: str = answer.json()["stream_id"]
    return stream_id


def scenario(work: Any) -> None:
    async def inside() -> None:
        await work(Service(keys=BY_DIGEST))

    asyncio.run(inside())


@pytest.mark.parametrize(("method", "tail"), OTHERS)
def test_another_tenants_stream_is_no_stream(method: str, tail: str) -> None:
    async def work(service: Service) -> None:
        theirs = await opened(service, "a")
        found = []
        for stream_id in (theirs, "0" * 32):
            path = f"/v1/streams/{stream_id}{tail}"
            answer = await ask(service, method, path, bearer("b"), content=b"{}" if method == "PATCH" else b"jpeg")
            body = answer.json()
            body.pop("request_id")
            found.append((answer.status_code, sorted(answer.headers), body))
        assert found[0] == found[1]
        assert found[0][0] == 404
        still = await ask(service, "GET", f"/v1/streams/{theirs}", bearer("a"))
        assert (still.status_code, still.json()["captured"]) == (200, 0)

    scenario(work)


def test_moments_hold_no_stream_of_somebody_else() -> None:
    async def work(service: Service) -> None:
        theirs, own = await opened(service, "a"), await opened(service, "b")
        answer = await ask(service, "GET", f"/v1/moments?streams={own},{theirs}", bearer("b"))
        assert answer.status_code == 404

    scenario(work)


def test_a_tenant_lists_and_uses_its_own_streams() -> None:
    async def work(service: Service) -> None:
        theirs, own = await opened(service, "a"), await opened(service, "b")
        for name, stream_id in (("a", theirs), ("b", own)):
            listed = (await ask(service, "GET", "/v1/streams", bearer(name))).json()
            assert [stream["stream_id"] for stream in listed] == [stream_id]
            pushed = await ask(
                service, "POST", f"/v1/streams/{stream_id}/frames", bearer(name), content=b"x", headers=JPEG
            )
            assert pushed.json()["status"] == "result"
            changed = await ask(service, "PATCH", f"/v1/streams/{stream_id}", bearer(name), content=b'{"label": "x"}')
            assert changed.json()["label"] == "x"
        assert (await ask(service, "GET", f"/v1/streams/{own}", bearer("b"))).status_code == 200

    scenario(work)


@pytest.mark.parametrize(
    "key",
    [{}, {"authorization": "Bearer key-of-d"}, {"authorization": "Basic key-of-a"}, {"authorization": "Bearer"}],
)
def test_a_stranger_is_turned_away_before_anything_is_read(key: dict[str, str]) -> None:
    async def work(service: Service) -> None:
        answer = await ask(service, "POST", "/v1/detections", key, content=b"x", headers=JPEG)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["code"] == "unauthenticated"
        assert answer.headers["x-request-id"] == answer.json()["request_id"]
        for path in ("/healthz", "/readyz", "/openapi.json", "/schemas/FrameResult.json"):
            assert (await ask(service, "GET", path, key)).status_code == 200

    scenario(work)


def test_models_are_changed_by_an_operator_alone() -> None:
    async def work(service: Service) -> None:
        path, body = "/v1/models/street/routes", json.dumps({"weights": {}}).encode()
        refused = await ask(service, "PUT", path, bearer("b"), content=body)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert (await ask(service, "PUT", path, bearer("a"), content=body)).status_code not in {401, 403}
        assert (await ask(service, "GET", "/v1/models", bearer("b"))).status_code == 200
        assert (await ask(service, "POST", "/v1/admin/faults", bearer("b"), content=b"{}")).status_code == 403

    scenario(work)


def test_a_prefix_that_the_service_is_mounted_below_opens_no_door() -> None:
    async def work(service: Service) -> None:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(service.app, root_path="/cameras"), base_url="http://test/cameras"
        ) as client:
            path = "/v1/models/street/routes"
            assert (await client.put(path, headers=bearer("b"), content=b"{}")).status_code == 403
            assert (await client.get("/v1/streams", headers=bearer("b"))).status_code == 200
            assert (await client.get("/v1/streams")).status_code == 401
            assert (await client.get("/healthz")).status_code == 200

    scenario(work)


def test_over_the_quota_is_429_with_a_time_and_takes_nothing_from_the_others() -> None:
    async def work(service: Service) -> None:
        def images(name: str) -> Any:
            return ask(service, "POST", "/v1/detections", bearer(name), content=b"x", headers=JPEG)

        answers = [await images("c") for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200, 200, 429, 429, 429, 429]
        assert answers[-1].json()["code"] == "over_quota"
        assert 50 <= int(answers[-1].headers["retry-after"]) <= 100
        assert {(await images("b")).status_code for _ in range(10)} == {200}

    scenario(work)


def test_pushed_frames_count_and_the_refused_are_not_captured() -> None:
    async def work(service: Service) -> None:
        path = f"/v1/streams/{await opened(service, 'c')}"
        pushed = [await ask(service, "POST", f"{path}/frames", bearer("c"), content=b"x", headers=JPEG) for _ in "123"]
        assert [answer.status_code for answer in pushed] == [200, 200, 429]
        account = (await ask(service, "GET", path, bearer("c"))).json()
        assert (account["captured"], account["answered"]) == (2, 2)

    scenario(work)


def test_offered_frames_over_the_quota_are_captured_and_end_as_such() -> None:
    async def work(service: Service) -> None:
        host = Tenants(BY_DIGEST, service.streams).client("Bearer key-of-c").host
        stream_id = await opened(service, "c")
        await host.offer(stream_id, [Offer(data=b"x", seq=seq) for seq in range(4)])
        account = (await host.close(stream_id)).dropped
        assert account == {"over_quota": 2}

    scenario(work)


def test_a_video_over_the_quota_goes_on_slower() -> None:
    async def work(service: Service) -> None:
        loop, took_s, lines = asyncio.get_running_loop(), {}, {}
        for name in ("a", "v"):
            begin_s = loop.time()
            answer = await ask(
                service, "POST", "/v1/videos", bearer(name), content=b"video", headers={"content-type": "video/mp4"}
            )
            took_s[name] = loop.time() - begin_s
            lines[name] = len(answer.text.splitlines())
        assert lines["a"] == lines["v"] > 2
        assert took_s["v"] > (lines["v"] - 2) / 20

    scenario(work)


def test_a_preview_counts_too() -> None:
    async def work(service: Service) -> None:
        found = [await ask(service, "POST", "/v1/pipelines/preview", bearer("c"), content=b"x") for _ in range(3)]
        assert found[-1].status_code == 429

    scenario(work)


def test_a_tenant_has_no_more_streams_than_it_may() -> None:
    async def work(service: Service) -> None:
        await opened(service, "b")
        answer = await ask(service, "POST", "/v1/streams", bearer("b"))
        assert (answer.status_code, answer.json()["code"]) == (429, "over_quota")
        await opened(service, "a")

    scenario(work)


def test_of_ten_that_are_opened_at_once_there_is_one() -> None:
    async def work(service: Service) -> None:
        answers = await asyncio.gather(*[ask(service, "POST", "/v1/streams", bearer("b")) for _ in range(10)])
        assert sorted(answer.status_code for answer in answers) == [201] + [429] * 9

    scenario(work)


def test_a_websocket_of_a_stranger_is_refused_and_of_another_tenant_finds_nothing() -> None:
    async def work(service: Service) -> None:
        theirs = await opened(service, "a")
        assert (await websocket(service, theirs, {}))[0] == {
            "type": "websocket.close",
            "code": 1008,
            "reason": "unauthenticated: send a key of this service as authorization: Bearer KEY",
        }
        closing = (await websocket(service, theirs, bearer("b")))[-1]
        assert (closing["type"], closing["code"]) == ("websocket.close", 1008)
        assert closing == (await websocket(service, "0" * 32, bearer("b")))[-1]

    scenario(work)


async def websocket(service: Service, stream_id: str, key: dict[str, str]) -> list[dict[str, Any]]:
    """What a client is sent that connects and waits for the end."""
    sent: list[dict[str, Any]] = []
    told = [{"type": "websocket.connect"}]

    async def receive() -> dict[str, Any]:
        if told:
            return told.pop()
        await asyncio.sleep(10)
        return {"type": "websocket.disconnect", "code": 1006}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": f"/v1/streams/{stream_id}/ws",
        "raw_path": b"",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in key.items()],
        "scheme": "ws",
        "server": ("test", 80),
        "client": ("test", 1),
        "subprotocols": [],
        "root_path": "",
    }
    await service.app(scope, receive, send)  # type: ignore[arg-type]
    return sent


def test_grpc_asks_for_the_same_keys() -> None:
    async def work(service: Service) -> None:
        theirs = await opened(service, "a")
        tenants = Tenants(BY_DIGEST, service.streams)
        async with calling(FixedModels(make_spec()), service.ports, tenants=tenants) as stub:
            codes = []
            for key in ({}, bearer("b"), bearer("c"), bearer("c"), bearer("c")):
                try:
                    await stub.Detect(Image(data=b"jpg"), metadata=tuple(key.items()))
                    codes.append("OK")
                except grpc.aio.AioRpcError as error:
                    codes.append(error.code().name)
            assert codes == ["UNAUTHENTICATED", "OK", "OK", "OK", "RESOURCE_EXHAUSTED"]
            with pytest.raises(grpc.aio.AioRpcError, match="UNAUTHENTICATED"):
                await anext(aiter(stub.StreamingInfer(iter([VideoFrame(stream_id=theirs)]))))
            call = stub.StreamingInfer(
                iter([VideoFrame(stream_id=theirs, seq=0, data=b"x")]), metadata=tuple(bearer("b").items())
            )
            answers = [answer async for answer in call]
            assert "there is no such stream" in str(answers)
            assert (await ask(service, "GET", f"/v1/streams/{theirs}", bearer("a"))).json()["captured"] == 0

    scenario(work)
