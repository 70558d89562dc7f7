"""The ladder of honest degradation: what is given up, in which order, why, and when it comes back. Source: MISSION F5.

TensorRT -> ONNX Runtime on the GPU -> ONNX Runtime on the CPU -> smaller input -> fewer frames -> shed.

The first three are engines, and only a fault of an engine moves between them: the CPU is for a GPU that is lost, not
for one that is busy, because the work of a GPU on a busy CPU makes everything worse. The last three relieve whichever
engine there is, and only load moves between them. So both may be in force, and each has its reason in words.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from app.core.routing import MAX_PRIORITY


class Rung(StrEnum):
    """One step down."""

    TENSORRT = "tensorrt"
    ONNX_CUDA = "onnxruntime_cuda"
    ONNX_CPU = "onnxruntime_cpu"
    SMALLER_INPUT = "smaller_input"
    FEWER_FRAMES = "fewer_frames"
    SHED = "shed"


GPU_RUNGS: Final = frozenset({Rung.TENSORRT, Rung.ONNX_CUDA})


@dataclass(frozen=True, slots=True, kw_only=True)
class Relief:
    """What is asked of the engine instead of everything.

    Pictures with sides `input_ratio` as long, every `keep_every`-th frame, and of those only such with priority
    `shed_below` or more. Alarms, priority 10, keep every frame until nothing else is served.
    """

    rung: Rung | None = None
    input_ratio: float = 1.0
    keep_every: int = 1
    shed_below: int = 0

    def serves(self, *, priority: int, seq: int) -> bool:
        """Whether frame `seq` of a stream with this priority is looked at."""
        is_kept = seq % self.keep_every == 0 or priority == MAX_PRIORITY
        return is_kept and priority >= self.shed_below


_SMALLER: Final = Relief(rung=Rung.SMALLER_INPUT, input_ratio=0.5)
_FEWER: Final = replace(_SMALLER, rung=Rung.FEWER_FRAMES, keep_every=2)
RELIEFS: Final = (
    Relief(),
    _SMALLER,
    _FEWER,
    *(replace(_FEWER, rung=Rung.SHED, shed_below=below) for below in (2, 4, 6, 8, MAX_PRIORITY, MAX_PRIORITY + 1)),
)
"""From nothing given up to nothing served; a step keeps what those before it gave up."""
AT_FULL_SIZE: Final = tuple(replace(relief, input_ratio=1.0) for relief in RELIEFS if relief is not _SMALLER)
"""The same for a model that takes pictures of one size only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderParameters:
    """`slo_s` is the longest that a frame may wait for the engine. Ratios in [0, 1].

    A step down comes after `press_s` seconds of pressure, another one after `settle_s`, because a queue does not empty
    in the moment in which it is relieved. A step up comes after `calm_s` of calm. Whether the engine can do more is not
    foretold, since one that fills its batches is busy at every load: it is tried. A step up that has to be taken back
    within `flap_s` doubles the calm that the next try needs, up to `max_calm_s`: any longer, and the service would
    still be degraded 21 s after a fault. A better engine is taken back after `good_probes` answers in a row.
    """

    slo_s: float = 0.15
    press_s: float = 0.5
    settle_s: float = 1.5
    calm_s: float = 1.5
    max_calm_s: float = 8.0
    flap_s: float = 10.0
    calm_ratio: float = 0.5  # of the SLO, below which waiting counts as calm
    hot_cpu: float = 0.85  # Source: MISSION row 94
    calm_cpu: float = 0.7
    full_vram: float = 0.92  # Source: MISSION row 29
    calm_vram: float = 0.88
    good_probes: int = 3  # Source: facts/reliability.md §3.2, GPU OOM


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """Where one replica stands. `engines` are those it has, best first; `engine` is the one that answers.

    `failures` are the words of each engine's last failure, `good` its good probes in a row since. `relief` is an index
    into `reliefs`, `relief_reason` the words of the last step down. `pressed_s` and `calm_s` are when pressure and calm
    began; `climbed_s` is when the last step up was, None after a step down, and `wait_s` the calm that the first needs.
    """

    engines: tuple[Rung, ...]
    engine: Rung
    reliefs: tuple[Relief, ...] = RELIEFS
    failures: tuple[str, ...] = ()
    good: tuple[int, ...] = ()
    relief: int = 0
    relief_reason: str = ""
    pressed_s: float | None = None
    calm_s: float | None = None
    climbed_s: float | None = None
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFailed:
    """The engine of `rung` cannot answer. `is_gpu_lost`: no other engine on that GPU would do better."""

    rung: Rung
    reason: str
    is_gpu_lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """An engine above the one that answers was tried on an example."""

    rung: Rung
    is_good: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSeen:
    """One look at the load: the age of the oldest frame that waits; how full CPU and VRAM are.

    `missed` frames were not begun before their deadlines since the look before.
    """

    now_s: float
    queue_age_s: float
    missed: int = 0
    cpu_load: float = 0.0
    vram_ratio: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradation:
    """One rung that answers are made on, and why, in words for the caller."""

    rung: Rung
    reason: str


def start(engines: tuple[Rung, ...], *, reliefs: tuple[Relief, ...] = RELIEFS, parameters: LadderParameters) -> Ladder:
    """The top of the ladder; ValueError without engines."""
    if not engines:
        raise ValueError("a ladder needs at least one engine")
    count = len(engines)
    return Ladder(
        engines=engines,
        engine=engines[0],
        reliefs=reliefs,
        failures=("",) * count,
        good=(0,) * count,
        wait_s=parameters.calm_s,
    )


def degradations(ladder: Ladder) -> tuple[Degradation, ...]:
    """What is given up now, engine first; empty at the top."""
    found = []
    if position := ladder.engines.index(ladder.engine):
        found.append(Degradation(rung=ladder.engine, reason=ladder.failures[position - 1]))
    if (rung := ladder.reliefs[ladder.relief].rung) is not None:
        found.append(Degradation(rung=rung, reason=ladder.relief_reason))
    return tuple(found)


def words(found: tuple[Degradation, ...]) -> str | None:
    """What an answer says of itself: None when nothing was given up."""
    return "; ".join(f"{one.rung}: {one.reason}" for one in found) or None


def better(ladder: Ladder) -> tuple[Rung, ...]:
    """The engines above the one that answers, best first: those that are to be probed."""
    return ladder.engines[: ladder.engines.index(ladder.engine)]


def transition(ladder: Ladder, event: EngineFailed | Probed | LoadSeen, *, parameters: LadderParameters) -> Ladder:
    """The ladder after the event; the same object when nothing changes."""
    match event:
        case EngineFailed():
            return _after_failure(ladder, event)
        case Probed():
            return _after_probe(ladder, event, parameters=parameters)
        case LoadSeen():
            return _after_look(ladder, event, parameters=parameters)


def _after_failure(ladder: Ladder, event: EngineFailed) -> Ladder:
    """One engine down, or off the GPU; the last engine stays, since there is no other."""
    if event.rung not in ladder.engines:
        return ladder
    is_ill = [rung is event.rung or (event.is_gpu_lost and rung in GPU_RUNGS) for rung in ladder.engines]
    failures = tuple(event.reason if ill else old for ill, old in zip(is_ill, ladder.failures, strict=True))
    good = tuple(0 if ill else count for ill, count in zip(is_ill, ladder.good, strict=True))
    ladder = replace(ladder, failures=failures, good=good)
    position = ladder.engines.index(ladder.engine)
    if not is_ill[position]:  # it fell already, or its probe failed
        return ladder
    below = [rung for rung, ill in list(zip(ladder.engines, is_ill, strict=True))[position:] if not ill]
    return replace(ladder, engine=below[0]) if below else ladder


def _after_probe(ladder: Ladder, event: Probed, *, parameters: LadderParameters) -> Ladder:
    if event.rung not in better(ladder):
        return ladder
    position = ladder.engines.index(event.rung)
    count = ladder.good[position] + 1 if event.is_good else 0
    if count >= parameters.good_probes:
        return replace(ladder, engine=event.rung, good=(0,) * len(ladder.engines))
    return replace(ladder, good=(*ladder.good[:position], count, *ladder.good[position + 1 :]))


def _after_look(ladder: Ladder, look: LoadSeen, *, parameters: LadderParameters) -> Ladder:
    pressure = _pressure(ladder, look, parameters=parameters)
    if pressure is not None:
        since_s = look.now_s if ladder.pressed_s is None else ladder.pressed_s
        if look.now_s - since_s < parameters.press_s:
            return replace(ladder, pressed_s=since_s, calm_s=None)
        return _stepped_down(ladder, look.now_s, pressure, parameters=parameters)
    if not _is_calm(ladder, look, parameters=parameters):
        return replace(ladder, pressed_s=None, calm_s=None)
    since_s = look.now_s if ladder.calm_s is None else ladder.calm_s
    has_held = ladder.climbed_s is not None and look.now_s - ladder.climbed_s >= parameters.flap_s
    wait_s = parameters.calm_s if has_held else ladder.wait_s
    needed_s = wait_s if ladder.climbed_s is None else parameters.calm_s
    if not ladder.relief or look.now_s - since_s < needed_s:
        return replace(ladder, pressed_s=None, calm_s=since_s, wait_s=wait_s)
    return replace(
        ladder,
        relief=ladder.relief - 1,
        pressed_s=None,
        calm_s=look.now_s,
        climbed_s=look.now_s,
        wait_s=wait_s,
    )


def _stepped_down(ladder: Ladder, now_s: float, reason: str, *, parameters: LadderParameters) -> Ladder:
    has_flapped = ladder.climbed_s is not None and now_s - ladder.climbed_s < parameters.flap_s
    return replace(
        ladder,
        relief=min(ladder.relief + 1, len(ladder.reliefs) - 1),
        relief_reason=reason,
        pressed_s=now_s + parameters.settle_s - parameters.press_s,
        calm_s=None,
        climbed_s=None,
        wait_s=min(2 * ladder.wait_s, parameters.max_calm_s) if has_flapped else ladder.wait_s,
    )


def _pressure(ladder: Ladder, look: LoadSeen, *, parameters: LadderParameters) -> str | None:
    """Why something must be given up, or None. Full VRAM asks for smaller pictures and for no more than that."""
    if look.queue_age_s > parameters.slo_s:
        return f"frames wait longer than {parameters.slo_s:g} s for the model"
    if look.missed:
        return "deadlines pass before the model comes to the frames"
    if ladder.engine is Rung.ONNX_CPU and look.cpu_load > parameters.hot_cpu:
        return f"the CPU is more than {parameters.hot_cpu:.0%} busy"
    if look.vram_ratio > parameters.full_vram and ladder.relief < _smaller_steps(ladder):
        return f"the GPU's memory is more than {parameters.full_vram:.0%} full"
    return None


def _is_calm(ladder: Ladder, look: LoadSeen, *, parameters: LadderParameters) -> bool:
    """Whether one step up may be tried."""
    is_cool = ladder.engine is not Rung.ONNX_CPU or look.cpu_load < parameters.calm_cpu
    has_memory = look.vram_ratio < parameters.calm_vram or ladder.relief != _smaller_steps(ladder)
    is_quick = look.queue_age_s < parameters.calm_ratio * parameters.slo_s and not look.missed
    return is_quick and is_cool and has_memory


def _smaller_steps(ladder: Ladder) -> int:
    """How many steps make pictures smaller and do nothing else; 0 where the model takes one size only."""
    return sum(relief.rung is Rung.SMALLER_INPUT for relief in ladder.reliefs)
