"""An overloaded service on a real cluster: it gives up what it says it gives up, in that order, and takes it back."""

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from app.core.model import Head
from app.policy.fault_plan import MAX_RECOVERY_S
from app.vision.example import example_jpeg
from engines.tiny_yolo import tiny_yolo
from load_tests.service import configuration, running
from load_tests.swap_models import MODEL, Mark, network, write

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

JPEG: Final = {"content-type": "image/jpeg"}
PRIORITIES: Final = (1, 1, 3, 3, 5, 5, 10, 10)
NEED_MIB: Final = 320
"""What the fake GPU's engine takes of its memory for one picture at a time."""
MIB: Final = 1024**2
SLOWER: Final = 15
"""Times, by which a picture takes 0.12 s: eight cameras are too many for it, the two with alarms are not."""
NEXT: Final = Mark(n=1)
SHA256: Final = hashlib.sha256(network(NEXT).SerializeToString()).hexdigest()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service on a fake GPU whose model takes any size, and whose memory holds one version and a half."""
    store: Path = tmp_path_factory.mktemp("store")
    path = store / "any" / "1.0.0" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(tiny_yolo(Head.YOLOX, size_px=None).SerializeToString())
    path.with_name("card.json").write_text(json.dumps({"head": {"kind": Head.YOLOX.value}}), encoding="utf-8")
    write(store, [NEXT])
    model = {
        "path": str(path),
        "store": str(store),
        "engine": "fake-gpu",
        "streams": 1,
        "max_batch": 1,
        "degrade": True,
        "vram_bytes": NEED_MIB * MIB * 3 // 2,
    }
    with running(configuration(model=model, faults=True)) as service:
        yield service.url


@dataclass(slots=True)
class Seen:
    """What became of the frames of one stream."""

    priority: int
    ends: list[dict[str, Any]] = field(default_factory=list)

    @property
    def last(self) -> str:
        """How the newest ended."""
        end: dict[str, Any] = self.ends[-1] if self.ends else {}
        return str(end.get("degraded_reason") or end.get("reason") or end.get("status"))


async def camera(client: httpx.AsyncClient, seen: Seen, picture: bytes) -> None:
    """One stream that sends as fast as it is answered, ten frames a second at the most."""
    opened = await client.post("/v1/streams", json={"priority": seen.priority})
    frames = f"/v1/streams/{opened.json()['stream_id']}/frames"
    while True:
        answer = await client.post(frames, content=picture, headers=JPEG)
        seen.ends.append(answer.json())
        await asyncio.sleep(0.1)


async def until(is_so: Callable[[], Awaitable[bool]], *, within_s: float) -> float:
    """Seconds until it is so; TimeoutError."""
    begin_s = time.monotonic()
    async with asyncio.timeout(within_s):
        while not await is_so():  # noqa: ASYNC110  a service is asked, which has no events of ours
            await asyncio.sleep(0.1)
    return time.monotonic() - begin_s


def test_overload_costs_size_then_frames_then_low_priorities_and_all_of_it_comes_back(url: str) -> None:
    async def scenario() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            seen = [Seen(priority) for priority in PRIORITIES]
            picture = example_jpeg(width_px=640, height_px=640)
            cameras = [asyncio.create_task(camera(client, one, picture)) for one in seen]

            async def told() -> str:
                (version,) = (await client.get("/v1/models/any")).json()["versions"]
                return " ".join(version["degraded"].values())

            async def is_shedding() -> bool:
                return seen[0].last == "overloaded" and (await told()).startswith("shed: frames wait longer than")

            async def is_whole() -> bool:
                return not await told() and all(one.last == "result" for one in seen)

            try:
                await until(is_whole, within_s=30)
                usual = [len(one.ends) for one in seen]
                fault = {"fault": {"kind": "slow_kernel", "factor": SLOWER}, "expires_s": 60}
                planted = (await client.post("/v1/admin/faults", json=fault)).json()
                await until(is_shedding, within_s=30)
                (await client.delete(f"/v1/admin/faults/{planted['fault_id']}")).raise_for_status()
                recovery_s = await until(is_whole, within_s=MAX_RECOVERY_S)
            finally:
                for one in cameras:
                    one.cancel()
                await asyncio.gather(*cameras, return_exceptions=True)
            check(seen, usual)
            assert recovery_s < MAX_RECOVERY_S

    asyncio.run(scenario())


def check(seen: list[Seen], usual: list[int]) -> None:
    """Before the fault nothing was given up; after it every step was, in order, and said so."""
    before = [end for one, count in zip(seen, usual, strict=True) for end in one.ends[:count]]
    assert not any(end["degraded"] for end in before)
    assert {end["status"] for end in before} == {"result"}
    after = [end for one, count in zip(seen, usual, strict=True) for end in one.ends[count:]]
    assert {end["status"] for end in after} == {"result", "dropped"}
    assert {end["reason"] for end in after if end["status"] == "dropped"} == {"sampled", "overloaded"}
    reasons = {end["degraded_reason"].split(": ")[0] for end in after if end["degraded"]}
    assert reasons == {"smaller_input", "fewer_frames", "shed"}
    assert all(end["degraded_reason"].endswith("s for the model") for end in after if end["degraded"])
    alarms = [end for one in seen if one.priority == max(PRIORITIES) for end in one.ends]
    assert {end["status"] for end in alarms} == {"result"}


def test_a_version_that_the_gpu_has_no_memory_for_fails_with_the_reason_and_the_other_answers(url: str) -> None:
    async def scenario() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            where = f"/v1/models/{MODEL}"

            async def version() -> dict[str, Any]:
                (found,) = (await client.get(where)).json()["versions"]
                return dict(found)

            async def has_ended() -> bool:
                return bool((await version())["state"] != "LOADING")

            asked = await client.put(f"{where}/versions/{NEXT.version}", json={"sha256": SHA256})
            asked.raise_for_status()
            await until(has_ended, within_s=20)
            found = await version()
            assert found["state"] == "FAILED"
            assert f"needs {NEED_MIB} MiB of GPU memory and {NEED_MIB // 2} MiB are left" in found["reason"]
            still = await client.post("/v1/detections", content=example_jpeg(width_px=64, height_px=64), headers=JPEG)
            assert (still.status_code, still.json()["degraded"]) == (200, False)

    asyncio.run(scenario())
