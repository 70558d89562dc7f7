"""Scenario `gpu-faults`: every fault of a GPU under every load, on the fake device, in virtual time.

One replica answers an open-loop load of 0.3, 0.7 and 1.1 times what its first engine can do. After 10 s a fault is
planted, which expires by itself. A cell is well when every frame ends exactly once, every acknowledged result can be
read back with its own rows, READY is never said by a process that has no device, every answer below the first engine
says so, the fault shows within 2 s and 21 s after its end the service is as it was. What is usual is what the same load
does without a fault, in a cell of its own.

Faults of loading are met in a rolling restart of the only replica: nobody answers for as long as a new process takes.
"""

import sys
import time
from collections import Counter
from dataclasses import asdict
from typing import Final

from app.policy.fault_plan import (
    MAX_DETECTION_S,
    MAX_RECOVERY_S,
    ContextLoss,
    CorruptPlan,
    EngineLoadFailure,
    Fault,
    GpuOom,
    LinkDegradation,
    SlowKernel,
    StickyError,
)
from load_tests.evidence import publish
from load_tests.gpu_faults_record import CellRecord, Usual, Verdict, judge, usual
from load_tests.gpu_faults_world import RESTART_S, Album, Service, capacity_per_s

LOADS: Final = (0.3, 0.7, 1.1)
CELLS: Final[dict[str, Fault]] = {
    "gpu_oom 98.5 %": GpuOom(share=0.985),
    "gpu_oom 100 %": GpuOom(share=1.0),
    "sticky_error": StickyError(),
    "context_loss": ContextLoss(),
    "link_degradation": LinkDegradation(generation=1, lanes=1),
    "slow_kernel": SlowKernel(factor=8.0),
    "corrupt_plan": CorruptPlan(),
    "engine_load_failure": EngineLoadFailure(),
}


def shown(record: CellRecord, verdict: Verdict, normal: Usual) -> dict[str, object]:
    """One cell for the record."""
    ends = Counter(f"{end.kind} {end.reason}".strip() for end in record.ends if end.kind != "result")
    made = Counter(f"{one.engine}{f' + {one.relief}' if one.relief else ''}" for one in record.readable.values())
    return {
        **asdict(verdict),
        "captured": record.captured,
        "results": len(record.acknowledged),
        "made_by": dict(made),
        "not_answered": dict(ends),
        "usual": asdict(normal),
    }


def main() -> int:
    """Run the matrix; 1 if a cell breaks a promise."""
    begin_s = time.perf_counter()
    album = Album()
    controls = {load: Service(album, load=load, fault=None).run() for load in LOADS}
    details: dict[str, object] = {}
    verdicts: list[Verdict] = []
    for load, control in controls.items():
        normal = usual(control)
        quiet = judge(control, normal)
        details[f"no fault at {load}"] = shown(control, quiet, normal)
        verdicts.append(quiet)
        for name, fault in CELLS.items():
            record = Service(album, load=load, fault=fault).run()
            verdict = judge(record, normal)
            verdicts.append(verdict)
            details[f"{name} at {load}"] = shown(record, verdict, normal)
            mark = "well" if verdict.is_well else "BROKEN"
            print(
                f"{name:20} at {load}: {mark}, found after {verdict.detection_s:5.2f} s, over after"
                f" {verdict.recovery_s:5.2f} s{', nobody noticed' if verdict.is_tolerated else ''}",
                file=sys.stderr,
            )
    figures = {
        "gpu_faults_cells": float(len(verdicts)),
        "gpu_faults_broken_cells": float(sum(not verdict.is_well for verdict in verdicts)),
        "gpu_faults_detection_s": max(verdict.detection_s for verdict in verdicts),
        "gpu_faults_recovery_s": max(verdict.recovery_s for verdict in verdicts),
        "gpu_faults_lost": float(sum(verdict.lost + verdict.unended for verdict in verdicts)),
        "gpu_faults_false_ready": float(sum(verdict.false_ready for verdict in verdicts)),
        "gpu_faults_unflagged": float(sum(verdict.unflagged + verdict.misflagged for verdict in verdicts)),
    }
    publish(
        "gpu-faults",
        figures,
        wall_s=round(time.perf_counter() - begin_s, 1),
        capacity_per_s=round(capacity_per_s(), 1),
        restart_s=RESTART_S,
        max_detection_s=MAX_DETECTION_S,
        max_recovery_s=MAX_RECOVERY_S,
        cells=details,
    )
    return int(not all(verdict.is_well for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
