"""Items and engines for the tests of the batching policies."""

from collections.abc import Sequence

from hypothesis import strategies as st

from app.policy.batch_policy import BatchPolicy, Bucket, Cut, Item
from app.policy.latency_fit import Latency

ENGINE = Latency(each_s=0.001, base_s=0.004)
SMALL = Bucket(width_px=320, height_px=320, max_batch=8)
LARGE = Bucket(width_px=640, height_px=640, max_batch=4)


def item(
    number: int,
    *,
    due_s: float = 1.0,
    stream: str | None = None,
    images: int = 1,
    priority: int = 5,
    arrived_s: float = 0.0,
    bucket: Bucket = SMALL,
    is_hard: bool = False,
) -> Item:
    return Item(
        number=number,
        stream=stream,
        images=images,
        priority=priority,
        due_s=due_s,
        arrived_s=arrived_s,
        bucket=bucket,
        is_hard=is_hard,
    )


def numbers(cut: Cut) -> list[int]:
    return [one.number for one in cut.batch]


def taught(policy: BatchPolicy, *, engine: Latency = ENGINE, buckets: Sequence[Bucket] = (SMALL, LARGE)) -> BatchPolicy:
    """The policy when it knows its engine."""
    for bucket in buckets:
        for size in [1, 2, 3, 4] * 4:
            batch = [item(-1, bucket=bucket) for _ in range(size)]
            policy.observe(batch, started_s=0.0, ended_s=engine.seconds(size))
    return policy


@st.composite
def arrivals(draw: st.DrawFn, *, has_hard: bool = True, most: int = 24) -> list[Item]:
    """A few streams with items of several sizes, buckets, priorities and objectives, at random moments."""
    found = []
    now_s = 0.0
    for number in range(draw(st.integers(1, most))):
        now_s += draw(st.sampled_from([0.0, 0.0005, 0.002, 0.02]))
        found.append(
            item(
                number,
                arrived_s=now_s,
                due_s=now_s + draw(st.sampled_from([0.0, 0.004, 0.01, 0.05, 1.0])),
                stream=draw(st.sampled_from([None, "a", "b", "c"])),
                images=draw(st.integers(1, 4)),
                priority=draw(st.integers(0, 10)),
                bucket=draw(st.sampled_from([SMALL, LARGE])),
                is_hard=has_hard and draw(st.booleans()),
            )
        )
    return found
