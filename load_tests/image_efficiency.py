"""Scenario `image-efficiency`: images/s through HTTP at saturation, over the same engine in one process.

1080p JPEGs, a YOLOv8n-shaped network at 640 px, two sides in turn on the same cores; while one runs the other stands.
The figure is the layout for small machines; the staged one is measured beside it.
"""

import argparse
import statistics
import sys

from load_tests.efficiency import CONFIGS, jpegs, network, one_process, say
from load_tests.evidence import alternate, publish
from load_tests.http_client import Turn, request_bytes, saturate
from load_tests.service import Service, configuration, running

TARGET = 0.90


def _measure(layout: str, *, rounds: int, seconds: float, connections: int) -> dict[str, object]:
    model = network()
    bodies = jpegs()
    turns: list[Turn] = []
    with running(configuration(CONFIGS[layout], model={"path": str(model)})) as service, one_process(model) as other:
        requests = [request_bytes("/v1/detections", body, host=service.host) for body in bodies]

        def ours() -> float:
            turn = saturate(service.host, service.port, requests, connections=connections, seconds=seconds)
            turns.append(turn)
            return turn.rate_hz

        def theirs() -> float:
            with service.paused():
                return other.ask("stills", seconds)

        say(f"{layout}: warming both sides")
        ours(), theirs()
        turns.clear()
        say(f"{layout}: {rounds} rounds of {2 * seconds:.0f} s")
        cpu_before_s = _cpu(service)
        ratio, mine, others = alternate(ours, theirs, rounds=rounds)
        cpu_after_s = _cpu(service)
    elapsed_s = sum(turn.elapsed_s for turn in turns)
    return {
        "ratio": ratio,
        "images_per_s": [round(rate, 1) for rate in mine],
        "one_process_images_per_s": [round(rate, 1) for rate in others],
        "p50_s": statistics.median(latency for turn in turns for latency in turn.latencies_s),
        "not_200": sum(n for turn in turns for status, n in turn.statuses.items() if status != 200),
        "client_cpu_share": sum(turn.client_cpu_s for turn in turns) / elapsed_s,
        "cpu_by_process": {
            title: round((seconds_after - cpu_before_s.get(title, 0.0)) / elapsed_s, 3)
            for title, seconds_after in sorted(cpu_after_s.items(), key=lambda item: -item[1])
        },
        "start_s": service.start_s,
        "body_bytes": int(statistics.mean(len(body) for body in bodies)),
    }


def _cpu(service: Service) -> dict[str, float]:
    from load_tests.service import cpu_s

    totals: dict[str, float] = {}
    for pid, title in service.processes().items():
        name = title.split("/")[-1].split(".")[0][:40]  # Ray appends the method that runs
        totals[name] = totals.get(name, 0.0) + cpu_s(pid)
    return totals


def main() -> int:
    """Exit code 1 when the ratio is below the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--layouts", nargs="+", choices=tuple(CONFIGS), default=list(CONFIGS))
    given = parser.parse_args()
    sides = {
        layout: _measure(layout, rounds=given.rounds, seconds=given.seconds, connections=given.connections)
        for layout in given.layouts
    }
    best = sides[given.layouts[0]]
    figures = {"image_efficiency": float(str(best["ratio"])), "start_s": float(str(best["start_s"]))}
    publish("image-efficiency", figures, target=TARGET, connections=given.connections, **sides)
    return 0 if figures["image_efficiency"] >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
