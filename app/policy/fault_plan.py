"""The faults that can be planted, and what each must lead to: one table for injection, checks and the runbook (row 63).

Each fault is one dataclass; its row says when it strikes, as which error, what a caller sees and what the service does.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, TypeAlias, get_args

from app.core.errors import DeviceLostError, DeviceMemoryError, ModelError, SightlineError, UnavailableError

MAX_DETECTION_S: Final = 2.0
MAX_RECOVERY_S: Final = 21.0
"""Source of the two: the figures of the scenario gpu-faults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuOom:
    """Somebody else takes `share` in (0, 1] of the GPU's free memory. Source: MISSION row 60."""

    kind: Literal["gpu_oom"] = "gpu_oom"
    share: float = 0.95

    def __post_init__(self) -> None:
        _check(is_good=0 < self.share <= 1, words="share must lie above 0 and not above 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class StickyError:
    """The next kernel breaks the context: every later call fails in the same way until the process ends."""

    kind: Literal["sticky_error"] = "sticky_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextLoss:
    """The context is destroyed under the engine. Source: MISSION row 62."""

    kind: Literal["context_loss"] = "context_loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkDegradation:
    """The link to the GPU falls back to this PCIe generation and so many lanes. Source: MISSION row 61."""

    kind: Literal["link_degradation"] = "link_degradation"
    generation: int = 1
    lanes: int = 1

    def __post_init__(self) -> None:
        _check(is_good=1 <= self.generation <= 6, words="generation must be 1 to 6")  # noqa: PLR2004  PCIe 6 is the last
        _check(is_good=self.lanes in {1, 2, 4, 8, 16}, words="lanes must be 1, 2, 4, 8 or 16")


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowKernel:
    """Every kernel takes `factor` times as long, 1 to 1000: a GPU that is hot, shared or throttled."""

    kind: Literal["slow_kernel"] = "slow_kernel"
    factor: float = 5.0

    def __post_init__(self) -> None:
        _check(is_good=1 <= self.factor <= 1000, words="factor must lie in [1, 1000]")  # noqa: PLR2004  still ends


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptPlan:
    """The plan file of TensorRT cannot be read back."""

    kind: Literal["corrupt_plan"] = "corrupt_plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLoadFailure:
    """No engine can be loaded on the GPU, whichever runtime asks. Source: MISSION row 30."""

    kind: Literal["engine_load_failure"] = "engine_load_failure"


Fault: TypeAlias = GpuOom | StickyError | ContextLoss | LinkDegradation | SlowKernel | CorruptPlan | EngineLoadFailure
FAULTS: Final[tuple[type[Fault], ...]] = get_args(Fault)


class Trigger(StrEnum):
    """When a planted fault strikes."""

    INFER = "the next batches, while it is planted"
    INFER_ONCE = "the next batch, once; what it broke stays broken"
    LOAD = "the next load of an engine, while it is planted"


class Response(StrEnum):
    """What the service does about a fault."""

    HALVE_BATCH = "halves the batch until it fits"
    USE_ONNX_CUDA = "answers by ONNX Runtime on the GPU"
    USE_CPU = "answers on the CPU, few at a time"
    EXIT_REPLICA = "the replica says that it is ill, exits and is replaced; nothing is reset in the process"
    RELIEVE = "smaller input, then fewer frames, then sheds the lowest priority first"
    COME_BACK = "takes the better engine back after three good probes"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRow:
    """What one fault is and leads to. `error` is what the engine raises for it, None where it only becomes slow.

    `status` is the runtime's own name. `on_a_gpu` is how it is made by hand on a real one.
    """

    fault: type[Fault]
    trigger: Trigger
    status: str
    error: type[SightlineError] | None
    responses: tuple[Response, ...]
    on_a_gpu: str

    @property
    def kind(self) -> str:
        """Its name in requests."""
        return self.fault().kind


TABLE: Final = (
    FaultRow(
        fault=GpuOom,
        trigger=Trigger.INFER,
        status="CUDA_ERROR_OUT_OF_MEMORY (2)",
        error=DeviceMemoryError,
        responses=(Response.HALVE_BATCH, Response.USE_CPU, Response.COME_BACK),
        on_a_gpu="a child process allocates 95 % of what is free",
    ),
    FaultRow(
        fault=StickyError,
        trigger=Trigger.INFER_ONCE,
        status="CUDA_ERROR_ILLEGAL_ADDRESS (700)",
        error=DeviceLostError,
        responses=(Response.USE_CPU, Response.EXIT_REPLICA),
        on_a_gpu="a child process runs a kernel that writes to address 0",
    ),
    FaultRow(
        fault=ContextLoss,
        trigger=Trigger.INFER_ONCE,
        status="CUDA_ERROR_CONTEXT_IS_DESTROYED (709)",
        error=DeviceLostError,
        responses=(Response.USE_CPU, Response.EXIT_REPLICA),
        on_a_gpu="a child process resets its primary context",
    ),
    FaultRow(
        fault=LinkDegradation,
        trigger=Trigger.INFER,
        status="none: copies take longer",
        error=None,
        responses=(Response.RELIEVE,),
        on_a_gpu="copies are throttled; there is no switch for the link",
    ),
    FaultRow(
        fault=SlowKernel,
        trigger=Trigger.INFER,
        status="none: kernels take longer",
        error=None,
        responses=(Response.RELIEVE,),
        on_a_gpu="a child process keeps the GPU busy",
    ),
    FaultRow(
        fault=CorruptPlan,
        trigger=Trigger.LOAD,
        status="deserialize_cuda_engine gives None",
        error=ModelError,
        responses=(Response.USE_ONNX_CUDA, Response.COME_BACK),
        on_a_gpu="a copy of the plan with flipped bytes is loaded",
    ),
    FaultRow(
        fault=EngineLoadFailure,
        trigger=Trigger.LOAD,
        status="CUDA_ERROR_DEVICE_UNAVAILABLE (46)",
        error=UnavailableError,
        responses=(Response.USE_CPU, Response.COME_BACK),
        on_a_gpu="a child process is started without a visible device",
    ),
)
"""The fault to response table, one row per fault. Source: MISSION row 63."""


def row_of(fault: Fault) -> FaultRow:
    """The row of this fault."""
    return next(row for row in TABLE if row.fault is type(fault))


def runbook() -> str:
    """The table as a document, which lies in engines/FAULTS.md."""
    head = (
        "# Faults of a GPU, and what the service does about them",
        "",
        "Written by `app.policy.fault_plan.runbook()`; do not edit. `sightline faults inject` plants one in the fake",
        "GPU, where the configuration allows it. Every answer made below the first engine says `degraded` and why.",
        f"Within {MAX_DETECTION_S:g} s it is found, {MAX_RECOVERY_S:g} s after its end nothing is left of it:",
        "`make load SCENARIO=gpu-faults`.",
        "",
        "| fault | what it is | strikes | status | the engine raises | the service | by hand on a real GPU |",
        "|---|---|---|---|---|---|---|",
    )
    return "\n".join([*head, *map(_line, TABLE)]) + "\n"


def _line(row: FaultRow) -> str:
    what = (row.fault.__doc__ or "").partition(" Source:")[0]
    error = "nothing" if row.error is None else f"`{row.error.__name__}` ({int(row.error.status)} `{row.error.code}`)"
    cells = (f"`{row.kind}`", what, row.trigger, row.status, error, "; ".join(row.responses), row.on_a_gpu)
    return "| " + " | ".join(cells) + " |"


def _check(*, is_good: bool, words: str) -> None:
    if not is_good:
        raise ValueError(words)
