"""More clients than the machine can serve: each is answered or refused at once, and nobody stands in another's way."""

import asyncio
import contextlib
import statistics
from collections.abc import AsyncIterator
from typing import Any

import pytest

from load_tests.service import Service
from tests.e2e.census import MIB, Peak, serving
from tests.e2e.crowd import converse, crowd
from tests.e2e.wire import IMAGES, MP4, VIDEOS, Answer, Connection, ask, assert_alike, assert_problem, request
from tests.unit.media.test_bombs import many_scans
from tests.unit.media.videos import ULTRAFAST, video

N_ADMITTED = 88
"""Images in the staged service at once: 3 batches of 8 on their way, 64 waiting. Source: app/policy/batching.py."""
SLOW = many_scans(86, size_px=1700)
"""20 kB that keep a decoding thread busy for a sixth of a second, and then turn out to be broken."""


@contextlib.asynccontextmanager
async def filled(service: Service, n: int) -> AsyncIterator[list[asyncio.Task[Answer]]]:
    """With `n` slow images under way; those that are still unanswered at the end are given up."""
    tasks = [asyncio.create_task(converse(service, request(IMAGES, SLOW))) for _ in range(n)]
    try:
        await asyncio.sleep(1.0)  # the service takes a few milliseconds for each to come in
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_300_uploads_at_once_are_answered_or_refused(
    same: Service, good: bytes, expected: list[dict[str, Any]]
) -> None:
    """Bound: half the ingress replica's budget for bodies (512 MiB), for all processes together."""
    peak = Peak(serving(same))
    answers = crowd(same, [request(IMAGES, good)] * 300)
    assert peak.rise_bytes() < 256 * MIB
    assert {answer.status for answer in answers} <= {200, 503}
    served = [answer for answer in answers if answer.status == 200]
    assert len(served) >= N_ADMITTED
    for answer in served:
        assert_alike(answer.json["objects"], expected)
    for answer in [answer for answer in answers if answer.status == 503]:
        assert answer.json["code"] == "overloaded"
        assert 1 <= int(answer.header("retry-after")) <= 60


def test_a_full_queue_refuses_within_a_tenth_of_a_second(same: Service, good: bytes) -> None:
    """Single requests against a queue that slow images keep full; the median, since the cores have other work too."""

    async def scenario() -> list[Answer]:
        async with filled(same, N_ADMITTED + 30):
            return await asyncio.gather(*(converse(same, request(IMAGES, good), after_s=n / 40) for n in range(100)))

    refused = [answer for answer in asyncio.run(scenario()) if answer.status == 503]
    assert len(refused) >= 20
    assert statistics.median(answer.after_s for answer in refused) < 0.1
    for answer in refused:
        assert_problem(answer, 503, "overloaded")
        assert 1 <= int(answer.header("retry-after")) <= 60


def test_a_deadline_that_the_queue_cannot_keep_is_refused_or_answered_when_it_passes(
    same: Service, good: bytes
) -> None:
    """At the door where the pace of the service is known by then, in the queue where it is not."""

    async def scenario() -> tuple[Answer, int]:
        async with filled(same, 60) as slow:
            answer = await converse(same, request(IMAGES, good, headers="x-deadline-ms: 300\r\n"))
            return answer, sum(not task.done() for task in slow)

    answer, still_waiting = asyncio.run(scenario())
    ends = {503: "overloaded", 504: "deadline_exceeded"}
    assert answer.status in ends
    assert_problem(answer, answer.status, ends[answer.status])
    assert answer.after_s < 0.8
    assert still_waiting >= 8


def test_work_that_nobody_waits_for_is_not_done(same: Service, good: bytes) -> None:
    """Of 64 images whose clients left, only the 24 that were on their way cost anything; measured in processor time."""

    def cost_s(*, stays: bool) -> float:
        async def scenario() -> None:
            async with filled(same, 64) as slow:
                await asyncio.gather(*slow * stays)

        before_s = same.cpu_s()
        asyncio.run(scenario())
        ask(same, IMAGES, good)  # comes last in the queue: what was before it is done or given up
        return same.cpu_s() - before_s

    whole_s = cost_s(stays=True)
    assert cost_s(stays=False) < 0.75 * whole_s


def test_slow_senders_do_not_hold_up_a_neighbour(same: Service, good: bytes, expected: list[dict[str, Any]]) -> None:
    with contextlib.ExitStack() as senders:
        drips = [senders.enter_context(Connection(same)) for _ in range(50)]
        for at in range(20):
            for drip in drips:
                drip.send(request(IMAGES, n_bytes=len(good)) * (at == 0) + good[at : at + 1])
            answer = ask(same, IMAGES, good)
            assert answer.status == 200
            assert answer.after_s < 1
            assert_alike(answer.json["objects"], expected)


def test_videos_over_the_limit_are_refused_and_the_others_are_served(same: Service) -> None:
    """16 videos may be open; each that was let in is whole."""
    data = video("matroska", n=20, has_noise=True, size_px=(160, 120), options=ULTRAFAST)
    with contextlib.ExitStack() as uploads:
        senders = [uploads.enter_context(Connection(same)) for _ in range(16)]
        results = [sender.send(request(VIDEOS, data[:-9], kind=MP4, n_bytes=len(data))).lines() for sender in senders]
        assert [next(lines)["seq"] for lines in results] == [0] * 16
        refused = ask(same, VIDEOS, data, kind=MP4)
        for sender in senders:
            sender.send(data[-9:])
        ends = [list(lines)[-1] for lines in results]
    assert_problem(refused, 503, "overloaded")
    assert refused.header("retry-after") == "1"
    assert [end["answered"] for end in ends] == [20] * 16
    assert ask(same, VIDEOS, data, kind=MP4).lines[-1]["answered"] == 20


@pytest.mark.parametrize("path", [IMAGES, VIDEOS])
def test_clients_that_only_connect_cost_nothing(same: Service, path: str, good: bytes) -> None:
    with contextlib.ExitStack() as idlers:
        for _ in range(100):
            idlers.enter_context(Connection(same)).send(b"POST %s HTTP/1.1\r\nhost: sigh" % path.encode())
        assert ask(same, IMAGES, good).after_s < 1
