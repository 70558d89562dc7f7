import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from app.delivery.carrier import Failure, Parcel, Refused, Unreachable
from app.delivery.outbox import Outbox, OutboxLimits
from app.delivery.outbox_rows import DeadReason
from app.delivery.retry import RetryPolicy
from app.delivery.route import Route, RouteLimits
from app.delivery.sinks import text_of
from tests.unit.delivery.parcels import SINK, FakeCarrier, events, lane, until

Answer = tuple[int, Failure | None]


class Bench:
    """A route with an outbox on disk; `waits_s` are the pauses that it made."""

    def __init__(self, folder: Path, *, in_flight: int, parcel_events: int) -> None:
        self.carrier = FakeCarrier()
        self.waits_s: list[float] = []
        self.outbox = Outbox(folder, limits=OutboxLimits(max_bytes=10**9, max_dead_bytes=10**9))
        self.route = Route(
            self.carrier,
            self.outbox,
            limits=RouteLimits(parcel_events=parcel_events, parcel_bytes=10**6, in_flight=in_flight),
            policy=RetryPolicy(first_s=1.0, cap_s=8.0, attempts=3),
            sleep=self._sleep,
            jitter=lambda: 0.0,
        )

    async def _sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)
        await asyncio.sleep(0)

    async def put(self, stream_id: str, *seqs: int) -> None:
        await self.outbox.append(stream_id, [text_of(SINK)], events(stream_id, *seqs))
        self.route.wake(lane(stream_id), address="events")

    async def dead(self) -> list[tuple[str, str]]:
        return [(letter.event.event_id, letter.reason) for letter in await self.outbox.dead_letters()]


def on_a(
    folder: Path, scenario: Callable[[Bench], Awaitable[None]], *, in_flight: int = 2, parcel_events: int = 8
) -> None:
    async def run() -> None:
        bench = Bench(folder, in_flight=in_flight, parcel_events=parcel_events)
        try:
            await scenario(bench)
        finally:
            await bench.route.close()
            await bench.outbox.close()

    asyncio.run(run())


def after(answers: list[Answer]) -> Callable[[Parcel], Answer]:
    """These answers first, then everything is taken."""
    left = list(answers)
    return lambda parcel: left.pop(0) if left else (len(parcel.events), None)


def test_a_stream_has_one_parcel_under_way_and_a_destination_only_so_many(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.carrier.gate.clear()
        for stream_id in "abcdefgh":
            await bench.put(stream_id, *range(20))
        await until(lambda: bench.carrier.under_way == 3)
        assert len({parcel.stream_id for parcel in bench.carrier.parcels}) == 3
        bench.carrier.gate.set()
        await bench.route.settle()
        assert bench.carrier.most_under_way == 3
        for stream_id in "abcdefgh":
            mine = [event_id for event_id in bench.carrier.taken if event_id[0] == stream_id]
            assert mine == [f"{stream_id}:0:{seq}" for seq in range(20)]

    on_a(tmp_path, scenario, in_flight=3)


def test_while_the_destination_is_down_waits_double_and_the_count_begins_anew_after(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        down: Answer = (0, Unreachable())
        bench.carrier.answers = after([down, down, down, down, down, (1, Unreachable()), down])
        await bench.put("a", 0, 1, 2)
        await bench.route.settle()
        assert bench.waits_s == [1, 2, 4, 8, 8, 1, 2]
        assert bench.carrier.taken == ["a:0:0", "a:0:1", "a:0:2"]

    on_a(tmp_path, scenario)


def test_a_wait_that_was_asked_for_is_kept_to(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.carrier.answers = after([(0, Unreachable(retry_after_s=77.0))])
        await bench.put("a", 0)
        await bench.route.settle()
        assert bench.waits_s == [77.0]

    on_a(tmp_path, scenario)


def test_a_destination_that_is_down_is_knocked_at_by_few(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        is_over = asyncio.Event()

        async def sleep(_: float) -> None:
            await is_over.wait()

        bench.route._sleep = sleep
        bench.carrier.answers = lambda _: (0, Unreachable())
        for stream_id in "abcdefgh":
            await bench.put(stream_id, 0)
        await until(lambda: len(bench.carrier.parcels) == 2)
        await bench.put("i", 0)
        assert len(bench.carrier.parcels) == 2, "the others wait for those that wait"
        bench.carrier.answers = after([])
        is_over.set()
        await bench.route.settle()
        assert len(bench.carrier.taken) == 9

    on_a(tmp_path, scenario, in_flight=2)


def test_a_stream_that_is_answered_badly_for_ever_holds_up_no_other(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.carrier.answers = lambda parcel: (
            (0, Unreachable()) if parcel.stream_id == "bad" else (len(parcel.events), None)
        )
        await bench.put("bad", 0)
        await bench.put("good", *range(50))
        await until(lambda: len(bench.carrier.taken) == 50)

    on_a(tmp_path, scenario, in_flight=1)


def test_the_one_event_that_is_refused_is_found_and_given_up_and_the_others_arrive(tmp_path: Path) -> None:
    def answers(parcel: Parcel) -> Answer:
        has_poison = any(told.event_id == "a:0:5" for told in parcel.events)
        return (0, Refused(among=len(parcel.events))) if has_poison else (len(parcel.events), None)

    async def scenario(bench: Bench) -> None:
        bench.carrier.answers = answers
        await bench.put("a", *range(16))
        await bench.route.settle()
        assert bench.carrier.taken == [f"a:0:{seq}" for seq in range(16) if seq != 5]
        assert await bench.dead() == [("a:0:5", "refused")]
        alone = [parcel for parcel in bench.carrier.parcels if [told.seq for told in parcel.events] == [5]]
        assert len(alone) == 3, "the policy's attempts"
        assert bench.waits_s == [1, 2]

    on_a(tmp_path, scenario)


def test_a_refused_event_that_the_destination_names_is_given_up_with_its_reason(tmp_path: Path) -> None:
    def answers(parcel: Parcel) -> Answer:
        ids = [told.seq for told in parcel.events]
        return (ids.index(2), Refused(reason=DeadReason.TOO_LARGE)) if 2 in ids else (len(ids), None)

    async def scenario(bench: Bench) -> None:
        bench.carrier.answers = answers
        await bench.put("a", 0, 1, 2, 3)
        await bench.route.settle()
        assert bench.carrier.taken == ["a:0:0", "a:0:1", "a:0:3"]
        assert await bench.dead() == [("a:0:2", "too_large")]

    on_a(tmp_path, scenario)


def test_a_stream_that_is_refused_holds_up_no_other(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        waiting = asyncio.Event()

        async def sleep(_: float) -> None:
            await waiting.wait()

        bench.route._sleep = sleep
        bench.carrier.answers = lambda parcel: (
            (0, Refused(among=1)) if parcel.stream_id == "bad" else (len(parcel.events), None)
        )
        await bench.put("bad", 0)
        await until(lambda: bool(bench.carrier.parcels))
        await bench.put("good", 0, 1)
        await until(lambda: bench.carrier.taken == ["good:0:0", "good:0:1"])
        waiting.set()
        await bench.route.settle()
        assert await bench.dead() == [("bad:0:0", "refused")]

    on_a(tmp_path, scenario, in_flight=1)


def test_a_carrier_with_a_fault_of_its_own_is_tried_again(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        faults = [RuntimeError("words that may hold an event")]

        def answers(parcel: Parcel) -> Answer:
            while faults:
                raise faults.pop()
            return len(parcel.events), None

        bench.carrier.answers = answers
        await bench.put("a", 0)
        await bench.route.settle()
        assert bench.carrier.taken == ["a:0:0"]

    on_a(tmp_path, scenario)


def test_what_is_put_while_a_lane_is_being_emptied_is_not_forgotten(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        for seq in range(200):
            await bench.put("a", seq)
            for _ in range(seq % 7):
                await asyncio.sleep(0)
        await bench.route.settle()
        assert bench.carrier.taken == [f"a:0:{seq}" for seq in range(200)]
        assert bench.route.is_idle

    on_a(tmp_path, scenario)


def test_closing_leaves_what_is_under_way_in_the_outbox(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.carrier.gate.clear()
        await bench.put("a", 0, 1)
        await until(lambda: bench.carrier.under_way == 1)
        await bench.route.close()
        assert bench.carrier.closed == 1
        rows = await bench.outbox.head(lane("a"), max_events=10, max_bytes=10**6)
        assert [row.event.seq for row in rows] == [0, 1]

    on_a(tmp_path, scenario)
