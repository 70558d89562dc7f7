"""`make profile`: where the time of a running service goes, as flame graphs and as processor seconds of each thread.

The service is started as for a scenario and kept saturated with 1080p JPEGs; py-spy looks at every replica from outside
meanwhile. It writes `out/profile-<layout>-<deployment>.svg`, and a table of the threads to stdout. py-spy stops no
process for its looks here: a stack that changes under its eyes is left out, and the share of those is told.

    python -m load_tests.profile [--layout colocated] [--seconds 20]
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from load_tests.efficiency import CONFIGS, jpegs, network, say
from load_tests.http_client import Turn, request_bytes, saturate
from load_tests.service import ROOT, configuration, running

OUT: Final = ROOT / "out"
RATE_HZ: Final = 97
"""No divisor of the heartbeats' periods, so that what happens every 10 or 100 ms is neither always nor never seen."""
_SPARE_S: Final = 6.0
"""py-spy takes some seconds to begin, and the load outlasts its looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadCost:
    """What one thread used while `images` were answered: user and system processor seconds."""

    name: str
    user_s: float
    system_s: float

    def line(self, *, images: int) -> str:
        """One row of the table: milliseconds for people only."""
        user, system = (1e3 * spent_s / max(images, 1) for spent_s in (self.user_s, self.system_s))
        return f"{self.name:<44} {user + system:8.2f} ms an image, of it {system:.2f} in the kernel"


def deployment_of(title: str) -> str | None:
    """The deployment whose replica has that process title, None for a process that is no replica."""
    found = re.match(r"ray::ServeReplica:[^:]+:([A-Za-z]+)", title)
    return found[1] if found else None


def thread_seconds(pid: int) -> dict[int, tuple[str, float, float]]:
    """Name, user and system seconds by thread id; empty when the process has gone."""
    seen: dict[int, tuple[str, float, float]] = {}
    tick = os.sysconf("SC_CLK_TCK")
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return {}
    for task in tasks:
        try:
            head, _, tail = (task / "stat").read_text(encoding="utf-8").rpartition(")")
        except OSError:
            continue  # it ended meanwhile
        fields = tail.split()
        seen[int(task.name)] = (head.partition("(")[2], int(fields[11]) / tick, int(fields[12]) / tick)
    return seen


def thread_names(pid: int) -> dict[int, str]:
    """Python's names of a process's threads by thread id, as py-spy sees them; empty where it cannot look.

    The kernel knows all of them by one name here: Python before 3.14 does not tell it.
    """
    py_spy = str(Path(sys.executable).with_name("py-spy"))
    look = [py_spy, "dump", "--pid", str(pid), "--nonblocking", "--json"]
    told = subprocess.run(look, capture_output=True, text=True, check=False)
    if told.returncode != 0:
        return {}
    return {thread["os_thread_id"]: thread["thread_name"] or "" for thread in json.loads(told.stdout)}


def spent(
    before: Mapping[int, tuple[str, float, float]],
    after: Mapping[int, tuple[str, float, float]],
    *,
    process: str,
    names: Mapping[int, str],
) -> list[ThreadCost]:
    """What each kind of thread used between two looks, threads of one name together, the dearest first."""
    user_s: Counter[str] = Counter()
    system_s: Counter[str] = Counter()
    for thread, (title, user, system) in after.items():
        _, user_before, system_before = before.get(thread, (title, 0.0, 0.0))
        name = f"{process} {re.sub(r'[-_]?[0-9]+(_[0-9]+)?$', '', names.get(thread) or title)}"
        user_s[name] += user - user_before
        system_s[name] += system - system_before
    costs = [ThreadCost(name=name, user_s=user_s[name], system_s=system_s[name]) for name in user_s]
    return sorted(costs, key=lambda cost: -(cost.user_s + cost.system_s))


def flame_command(pid: int, *, seconds: float, target: Path, raw: bool = False) -> list[str]:
    """The py-spy call that looks at one process and writes its flame graph, or with `raw` its counted stacks."""
    look = [str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(pid), "--threads", "--nonblocking"]
    kind = "raw" if raw else "flamegraph"
    return [*look, "--rate", str(RATE_HZ), "--duration", f"{seconds:.0f}", "--format", kind, "--output", str(target)]


def self_shares(stacks: str, *, thread: str = "") -> list[tuple[str, float]]:
    """Which functions ran, by share of the looks at threads whose name holds `thread`; `stacks` as py-spy's raw."""
    counts: Counter[str] = Counter()
    for line in stacks.splitlines():
        frames, _, number = line.rpartition(" ")
        names = frames.split(";")
        if thread in names[0] and number.isdigit():
            counts[re.sub(r":\d+\)$", ")", names[-1])] += int(number)
    total = counts.total()
    return [(name, number / total) for name, number in counts.most_common()]


def _profile(layout: str, *, seconds: float, connections: int, raw: bool) -> int:
    OUT.mkdir(exist_ok=True)
    with running(configuration(CONFIGS[layout], model={"path": str(network())})) as service:
        requests = [request_bytes("/v1/detections", body, host=service.host) for body in jpegs()]
        say("warming")
        saturate(service.host, service.port, requests, connections=connections, seconds=3.0)
        replicas = {pid: name for pid, title in service.processes().items() if (name := deployment_of(title))}
        if not replicas:
            raise RuntimeError("the service has no replicas to look at")
        others = {pid: title for pid, title in service.processes().items() if pid not in replicas}
        targets = {pid: OUT / f"profile-{layout}-{name}.{'txt' if raw else 'svg'}" for pid, name in replicas.items()}
        say(f"looking at {', '.join(sorted(set(replicas.values())))} for {seconds:.0f} s")
        watched = {**replicas, **others}
        before = {pid: thread_seconds(pid) for pid in watched}
        spies = [
            subprocess.Popen(flame_command(pid, seconds=seconds, target=target, raw=raw), stdout=subprocess.DEVNULL)
            for pid, target in targets.items()
        ]
        turn = saturate(service.host, service.port, requests, connections=connections, seconds=seconds + _SPARE_S)
        after = {pid: thread_seconds(pid) for pid in watched}
        names = {pid: thread_names(pid) for pid in replicas}
        failed = [spy.returncode for spy in spies if spy.wait(timeout=60) != 0]
    _tell(turn, watched, replicas, before=before, after=after, names=names)
    for target in targets.values():
        print(f"{target.relative_to(ROOT)}: {target.stat().st_size if target.exists() else 0} bytes")
    return 1 if failed or not all(target.exists() for target in targets.values()) else 0


def _tell(
    turn: Turn,
    watched: Mapping[int, str],
    replicas: Mapping[int, str],
    *,
    before: Mapping[int, Mapping[int, tuple[str, float, float]]],
    after: Mapping[int, Mapping[int, tuple[str, float, float]]],
    names: Mapping[int, Mapping[int, str]],
) -> None:
    """The table: every kind of thread of the replicas, and the other processes as one line each."""
    images = turn.statuses[200]
    rows: list[ThreadCost] = []
    rest: Counter[str] = Counter()
    for pid, title in watched.items():
        costs = spent(before[pid], after[pid], process=replicas.get(pid, ""), names=names.get(pid, {}))
        if pid in replicas:
            rows += costs
        else:
            rest[re.sub(r"\W.*", "", title.split("/")[-1])] += round(1e6 * sum(c.user_s + c.system_s for c in costs))
    rows += [
        ThreadCost(name=f"(process) {name}", user_s=spent_us / 1e6, system_s=0.0) for name, spent_us in rest.items()
    ]
    print(f"{turn.rate_hz:.1f} images/s, {images} answered, of {sum(turn.statuses.values())}")
    for cost in sorted(rows, key=lambda cost: -(cost.user_s + cost.system_s)):
        if cost.user_s + cost.system_s > 0:
            print(cost.line(images=images))
    print(
        ThreadCost(name="all", user_s=sum(c.user_s for c in rows), system_s=sum(c.system_s for c in rows)).line(
            images=images
        )
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 when a flame graph is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layout", choices=tuple(CONFIGS), default=next(iter(CONFIGS)))
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--raw", action="store_true", help="counted stacks as text instead of pictures")
    given = parser.parse_args(arguments)
    return _profile(given.layout, seconds=given.seconds, connections=given.connections, raw=given.raw)


if __name__ == "__main__":
    sys.exit(main())
