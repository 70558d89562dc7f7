"""Who changes models on a running service: PUT and GET of `/v1/models`, and patience."""

import asyncio
import time
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any, Final, Self

import httpx

from load_tests.swap_models import MODEL, Written

READY: Final = frozenset({"WARM", "CANARY", "PRIMARY"})
_POLL_S: Final = 0.2
_PATIENCE_S: Final = 60.0


class Operator:
    """Calls the service at `url`. `versions` are those in its store; `epochs` which of them each epoch named."""

    def __init__(self, url: str, versions: Mapping[str, Written]) -> None:
        self.versions = versions
        self.epochs: dict[int, frozenset[str]] = {}
        self._client = httpx.AsyncClient(base_url=url, timeout=30)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def model(self) -> dict[str, Any]:
        """The model as it stands; its table is noted in `epochs`."""
        answer = await self._client.get(f"/v1/models/{MODEL}")
        answer.raise_for_status()
        status: dict[str, Any] = answer.json()
        if status["routes"] is not None:
            self.epochs[status["route_epoch"]] = frozenset(status["routes"]["weights"]) | {
                rule["version"] for rule in status["routes"]["users"]
            }
        return status

    async def load(self, version: str) -> None:
        """Have it loaded, and wait until it is ready; RuntimeError when it fails, or takes over a minute."""
        await self.until(version, {None, "UNLOADED", "FAILED", *READY})
        body = {"sha256": self.versions[version].sha256}
        answer = await self._client.put(f"/v1/models/{MODEL}/versions/{version}", json=body)
        answer.raise_for_status()
        await self.until(version, READY)

    async def until(self, version: str, states: Collection[str | None]) -> dict[str, Any]:
        """The model as soon as the version is in one of these states; None: it is not known."""
        end_s = time.monotonic() + _PATIENCE_S
        while True:
            status = await self.model()
            state = next((one["state"] for one in status["versions"] if one["version"] == version), None)
            if state in states:
                return status
            if time.monotonic() > end_s or (state == "FAILED" and states == READY):
                raise RuntimeError(f"{version} is {state}, not one of {states}: {status['versions']}")
            await asyncio.sleep(_POLL_S)

    async def settled(self, version: str | None = None) -> dict[str, Any]:
        """The model as soon as nobody holds anything but the primary, and that version."""
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                status = await self.model()
                others = [one for one in status["versions"] if one["version"] != version]
                if all(one["state"] in {"PRIMARY", "UNLOADED"} for one in others):
                    return status
                await asyncio.sleep(_POLL_S)

    async def route(self, *, if_match: int | None = None, **table: Any) -> httpx.Response:
        """The answer to such a table, made from the epoch that holds now unless another is given."""
        epoch = (await self.model())["route_epoch"] if if_match is None else if_match
        answer = await self._client.put(f"/v1/models/{MODEL}/routes", json=table, headers={"if-match": f'"{epoch}"'})
        if answer.status_code == httpx.codes.OK:
            self.epochs[answer.json()["route_epoch"]] = frozenset(table["weights"]) | {
                rule["version"] for rule in table.get("users", ())
            }
        return answer

    async def race(self, **table: Any) -> bool:
        """Whether of two changes from one epoch exactly one wins, and the other is told the epoch that holds then."""
        epoch = (await self.model())["route_epoch"]
        answers = await asyncio.gather(*(self.route(if_match=epoch, **table) for _ in range(2)))
        won, lost = sorted(answers, key=lambda answer: answer.status_code)
        codes = [won.status_code, lost.status_code]
        return codes == [200, 409] and lost.headers.get("etag") == won.headers.get("etag") == f'"{epoch + 1}"'

    async def rolled_back(self, version: str, *, patience_s: float = _PATIENCE_S) -> tuple[float, str] | None:
        """Seconds until it was taken out of the routes by itself, and why; None when that does not happen."""
        begin_s = time.monotonic()
        while time.monotonic() - begin_s < patience_s:
            status = await self.model()
            told = [event["words"] for event in status["events"] if event["kind"] == "rollback"]
            named = {*status["routes"]["weights"], status["routes"]["shadow"]}
            if version not in named:
                return time.monotonic() - begin_s, told[-1] if told else "no event says why"
            await asyncio.sleep(_POLL_S)
        return None
