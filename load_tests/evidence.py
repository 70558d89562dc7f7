"""How a scenario measures and publishes: ratios in one run, the two sides alternating, one line of JSON at the end."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """The processor, its core count and whether it has AMX, for the record."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")]
    amx = " with AMX" if "amx_bf16" in info else ""
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores{amx}"


def commit() -> str:
    """The commit measured, with `+` when the tree had changes."""
    git = ["git", "-C", str(RESULTS.parent)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    dirty = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False)
    return (head.stdout.strip() or "none") + ("+" if dirty.stdout.strip() else "")


def alternate(
    ours: Callable[[], float], theirs: Callable[[], float], *, rounds: int
) -> tuple[float, list[float], list[float]]:
    """Run the two sides in turn, `rounds` times each; the median of the pairwise ratios ours / theirs, and both series.

    Each callable measures one short turn and returns its figure. The side that goes first changes every round, so that
    neither always meets the machine in the state the other left it in.
    """
    mine: list[float] = []
    other: list[float] = []
    for index in range(rounds):
        for side in (0, 1) if index % 2 == 0 else (1, 0):
            (mine if side == 0 else other).append((ours if side == 0 else theirs)())
    ratios = [a / b for a, b in zip(mine, other, strict=True)]
    return statistics.median(ratios), mine, other


def seconds(work: Callable[[], object], *, repeats: int = 1) -> float:
    """Wall seconds of `repeats` calls."""
    start_s = time.perf_counter()
    for _ in range(repeats):
        work()
    return time.perf_counter() - start_s


def publish(scenario: str, figures: dict[str, float], **details: object) -> None:
    """Write `results/<scenario>.json` and end the output with the figures as one line of JSON."""
    record = {
        "scenario": scenario,
        "figures": {name: round(value, 4) for name, value in figures.items()},
        "commit": commit(),
        "date": datetime.now(tz=UTC).date().isoformat(),
        "machine": machine(),
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({**record, "details": details}, indent=2, sort_keys=False, default=str)
    (RESULTS / f"{scenario}.json").write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(record) + "\n")
