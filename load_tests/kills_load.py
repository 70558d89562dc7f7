"""What callers of the scenario `kills` do and see: stills at both nodes, open loop, and cameras that push streams."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from load_tests.fault_account import TYPED
from load_tests.streams_http import JPEG, Answer, Connection

_LONGEST_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Still:
    """One request, due at `due_s`: what the node it went to said, and when it was not a result, what the other said.

    Ends are `result`, the code of a problem, `status NNN` without one of ours, or
    `no answer` and why.
    """

    node: str
    due_s: float
    first: str
    first_s: float
    last: str
    last_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What callers saw of one fault. `outage_s` is the longest time in which one door let nobody through.

    `failed` requests found the door they went to closed, `failed_at_both` the other one too; `untyped` had an answer
    that is no typed one. `recovered_s` is from the fault to the last of them.
    """

    requests: int
    failed: int
    failed_at_both: int
    untyped: dict[str, int]
    outage_s: float
    outage_at_both_s: float
    recovered_s: float


class Stills:
    """Requests at `rate_hz`, to one node after the other, until they are stopped."""

    def __init__(self, hosts: Sequence[str], port: int, jpeg: bytes, *, rate_hz: float) -> None:
        self._hosts, self._port, self._jpeg, self._rate_hz = hosts, port, jpeg, rate_hz
        self.seen: list[Still] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Send at fixed times, whatever becomes of those before."""
        begin_s = time.monotonic()
        asked: set[asyncio.Task[None]] = set()
        number = 0
        while not stop.is_set():
            due_s = begin_s + number / self._rate_hz
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            task = asyncio.create_task(self._send(number, due_s))
            asked.add(task)
            task.add_done_callback(asked.discard)
            number += 1
        await asyncio.gather(*asked)

    async def _send(self, number: int, due_s: float) -> None:
        node, other = (self._hosts[(number + k) % len(self._hosts)] for k in (0, 1))
        first = await self._asked(node)
        first_s = time.monotonic()
        last = first if first == "result" else await self._asked(other)
        self.seen.append(
            Still(node=node, due_s=due_s, first=first, first_s=first_s, last=last, last_s=time.monotonic())
        )

    async def _asked(self, host: str) -> str:
        connection = Connection(host, self._port)
        try:
            async with asyncio.timeout(_LONGEST_S):
                answer = await connection.ask("POST", "/v1/detections", self._jpeg, content_type=JPEG)
        except (ConnectionError, TimeoutError) as error:
            return f"no answer: {type(error.__context__ or error).__name__}"
        finally:
            connection.close()
        return "result" if answer.status == 200 else _code(answer)


def seen_of(stills: Sequence[Still], *, struck_s: float) -> Seen:
    """What callers saw of a fault at `struck_s`; the requests are those from then until the next fault."""
    told = sorted(stills, key=lambda still: still.due_s)
    failed = [still for still in told if still.first != "result"]
    at_both = [still for still in told if still.last != "result"]
    nodes = {still.node for still in told}
    return Seen(
        requests=len(told),
        failed=len(failed),
        failed_at_both=len(at_both),
        untyped=dict(Counter(still.first for still in failed if still.first not in TYPED)),
        outage_s=max((_outage_s([s for s in told if s.node == node], last=False) for node in nodes), default=0.0),
        outage_at_both_s=_outage_s(told, last=True),
        recovered_s=max((still.first_s - struck_s for still in failed), default=0.0),
    )


def _outage_s(told: Sequence[Still], *, last: bool) -> float:
    """The longest from a request that failed to the next that did not, by when they were due."""
    longest_s, since_s = 0.0, None
    for still in told:
        is_bad = (still.last if last else still.first) != "result"
        if is_bad:
            since_s = still.due_s if since_s is None else since_s
            longest_s = max(longest_s, still.due_s - since_s)
        elif since_s is not None:
            longest_s = max(longest_s, still.due_s - since_s)
            since_s = None
    return longest_s


def _code(answer: Answer) -> str:
    try:
        return str(json.loads(answer.body)["code"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status}"
