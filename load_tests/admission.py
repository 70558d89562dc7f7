"""A great many decodes admitted at once: every one answered exactly once, with waiting and decoding told apart."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core.frame import EncodedFrame, Frame, FrameRef
from app.core.model import Head, ModelSpec
from app.core.outcome import Outcome
from app.pipeline.batcher import MicroBatcher
from app.pipeline.decoder import Decoder, DecoderParameters
from app.policy.batching import BatchLimits

SPEC = ModelSpec(
    name="admission", version="1.0.0", labels=("any",), head=Head.YOLOV8, input_width_px=640, input_height_px=640
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the caller of frame `asked` got: frame `answered`, None when it got no picture."""

    asked: int
    answered: int | None
    queue_s: float
    decode_s: float


def faults(answers: Iterable[Answer], *, decoded: Mapping[int, int], count: int) -> dict[str, int]:
    """How many of `count` frames were lost, answered twice, answered with another's picture, or decoded twice.

    `decoded` says how often each frame reached the decoder.
    """
    asked = Counter(answer.asked for answer in answers if answer.answered is not None)
    return {
        "lost": sum(1 for seq in range(count) if not asked[seq]),
        "twice": sum(1 for times in asked.values() if times > 1),
        "swapped": sum(1 for answer in answers if answer.answered not in (None, answer.asked)),
        "decoded_twice": sum(1 for times in decoded.values() if times > 1),
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of them do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def memory_bytes(field: str) -> int:
    """`VmRSS` now, or `VmHWM`, the most that this process has held. Source: proc_pid_status(5)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


async def admit(body: bytes, *, count: int, workers: int | None) -> tuple[list[Answer], Counter[int], int]:
    """Ask for `count` decodes at once: the answers, how often each was decoded, and how many waited at one time."""
    decoder = Decoder(SPEC, DecoderParameters(workers=workers))
    decoded: Counter[int] = Counter()

    async def work(batch: list[EncodedFrame]) -> list[Outcome[Frame]]:
        decoded.update(encoded.ref.seq for encoded in batch)
        return await decoder.decode(batch)

    batcher = MicroBatcher(work, limits=BatchLimits(max_waiting=count))

    async def ask(seq: int) -> Answer:
        start_s = time.perf_counter()
        outcome = await batcher.submit(EncodedFrame(data=body, ref=FrameRef(stream_id="admission", seq=seq)))
        total_s = time.perf_counter() - start_s
        if not isinstance(outcome, Frame):
            return Answer(asked=seq, answered=None, queue_s=total_s, decode_s=0.0)
        decode_s = outcome.timings.decode_s
        return Answer(asked=seq, answered=outcome.ref.seq, queue_s=total_s - decode_s, decode_s=decode_s)

    tasks = [asyncio.create_task(ask(seq)) for seq in range(count)]
    await asyncio.sleep(0)  # every task has taken its first step then: it stands in the queue
    depth = batcher.depth
    return list(await asyncio.gather(*tasks)), decoded, depth


def admission(body: bytes, *, count: int, workers: int | None) -> dict[str, float]:
    """The figures of one admission in this process, which should have done nothing else before."""
    before_bytes = memory_bytes("VmRSS")
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    answers, decoded, depth = asyncio.run(admit(body, count=count, workers=workers))
    elapsed_s, spent_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    found = faults(answers, decoded=decoded, count=count)
    print(f"{count} admitted at once, {depth} waiting: {found}", file=sys.stderr)
    return {
        **{f"admitted_{name}": float(number) for name, number in found.items()},
        "admitted": float(count),
        "admitted_waiting_at_once": float(depth),
        "admitted_images_per_s": count / elapsed_s,
        "admitted_cpu_s_per_image": spent_s / count,
        "admitted_queue_p50_s": percentile([answer.queue_s for answer in answers], 0.5),
        "admitted_queue_p99_s": percentile([answer.queue_s for answer in answers], 0.99),
        "admitted_decode_p50_s": percentile([answer.decode_s for answer in answers], 0.5),
        "admitted_decode_p99_s": percentile([answer.decode_s for answer in answers], 0.99),
        "admitted_peak_growth_mib": (memory_bytes("VmHWM") - before_bytes) / 2**20,
        "admitted_peak_growth_bytes_per_image": (memory_bytes("VmHWM") - before_bytes) / count,
    }
