"""Scenario `peers`: Sightline beside other servers, with one model, one set of 1080p JPEGs, the same cores, in one run.

Every side is up all the time and stands still while another is measured. Turns of load alternate; `best_peer_ratio` is
the median over the rounds of our images/s over those of the peer with the highest median. Then Poisson arrivals at
50 and 80 % of each side's own rate; `best_peer_p99_ratio` is our p99 at 80 % over the lowest of any peer. Before
that each peer's boxes on the frames are held against ours with the bundled model.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from load_tests.efficiency import CONFIGS, jpegs, network, say
from load_tests.evidence import publish
from load_tests.http_client import request_bytes, saturate
from load_tests.open_loop import OpenLoop, Shot
from load_tests.peer_parity import agreement
from load_tests.peer_side import PEERS, Peer, ask, install, peer_running
from load_tests.service import ROOT, Service, configuration, running

TARGET: Final = 1.5
STREET: Final = ROOT / "engines" / "models" / "street" / "1.0.0" / "model.onnx"
SAME: Final = 0.9
"""Share of boxes from which on two sides count as having done the same work."""
SHARES: Final = (0.5, 0.8)
NOT_RUN: Final = {
    "roboflow-inference": "installed (inference-cpu 1.8.3), not measured: no server for a local model was written yet"
}


@dataclass(slots=True)
class Side:
    """One server with its requests, and what was measured of it."""

    name: str
    service: Service
    requests: list[bytes]
    rates_hz: list[float] = field(default_factory=list)
    open_loop: dict[str, dict[str, float]] = field(default_factory=dict)
    not_200: int = 0
    rss_bytes: int = 0

    def saturate(self, *, connections: int, seconds: float) -> None:
        """One turn of closed-loop load."""
        turn = saturate(self.service.host, self.service.port, self.requests, connections=connections, seconds=seconds)
        self.rates_hz.append(turn.rate_hz)
        self.not_200 += sum(count for status, count in turn.statuses.items() if status != 200)

    @property
    def capacity_hz(self) -> float:
        """Images per second at saturation, the median turn."""
        return statistics.median(self.rates_hz)

    def offer(self, share: float, *, seconds: float, seed: int) -> None:
        """Poisson arrivals at that share of its capacity; latency counts from when a request was due."""

        async def run() -> list[tuple[int, float]]:
            loop = OpenLoop(self.service.host, self.service.port)
            end_s = time.monotonic() + seconds
            shots = [Shot(request=request, brightness=0.0) for request in self.requests]
            await loop.offer(
                shots, rate_hz=share * self.capacity_hz, goes_on=lambda: time.monotonic() < end_s, seed=seed
            )
            loop.close()
            return [(sent.status, sent.ended_s - sent.due_s) for sent in loop.taken()]

        sent = asyncio.run(run())
        latencies_s = [latency_s for status, latency_s in sent if status == 200] or [float("inf")]
        p50_s, p99_s = np.percentile(latencies_s, (50, 99)).tolist()
        self.open_loop[f"{share:.0%}"] = {
            "p50_s": p50_s, "p99_s": p99_s, "sent": len(sent), "not_200": sum(status != 200 for status, _ in sent)
        }  # fmt: skip


def alone(sides: Sequence[Side], one: Side, work: Callable[[], None]) -> None:
    """Do it while every other side stands still."""
    with contextlib.ExitStack() as still:
        for side in sides:
            if side is not one:
                still.enter_context(side.service.paused())
        work()


def figures_of(ours: dict[str, Side], peers: dict[str, Side]) -> tuple[dict[str, float], str, str]:
    """The figures, the peer with the most images/s, and the one with the lowest p99 at the higher share."""
    fastest = max(peers.values(), key=lambda side: side.capacity_hz)
    high = f"{SHARES[-1]:.0%}"
    quickest = min(peers.values(), key=lambda side: side.open_loop[high]["p99_s"])
    figures: dict[str, float] = {}
    for suffix, side in zip(("", "_staged"), ours.values(), strict=False):
        pairs = zip(side.rates_hz, fastest.rates_hz, strict=True)
        figures[f"best_peer_ratio{suffix}"] = statistics.median(mine / theirs for mine, theirs in pairs)
        figures[f"best_peer_p99_ratio{suffix}"] = side.open_loop[high]["p99_s"] / quickest.open_loop[high]["p99_s"]
    return figures, fastest.name, quickest.name


def parity(peers: Sequence[Peer], frames: Sequence[bytes], *, failed: dict[str, str]) -> dict[str, float]:
    """Each peer's mean agreement with ours over the frames, with the bundled model; who is silent is in `failed`."""
    with running(configuration(CONFIGS["colocated"])) as service:
        ours = [_our_answer(service, frame) for frame in frames]
    if not any(boxes for boxes, _ in ours):
        raise RuntimeError("the frames hold nothing to compare")
    shares: dict[str, float] = {}
    for peer in peers:
        try:
            with peer_running(peer, STREET, sample=frames[0]) as service:
                answers = [ask(peer, service, frame) for frame in frames]
        except (RuntimeError, OSError) as error:
            failed[peer.name] = str(error)
            continue
        shares[peer.name] = statistics.mean(
            agreement(boxes, answer["boxes"], my_labels=labels, their_labels=answer["labels"])  # type: ignore[arg-type]
            for (boxes, labels), answer in zip(ours, answers, strict=True)
        )
        say(f"{peer.name} agrees with us on {shares[peer.name]:.1%} of the boxes")
    return shares


def _our_answer(service: Service, frame: bytes) -> tuple[list[list[float]], list[int]]:
    headers = {"content-type": "image/jpeg"}
    request = urllib.request.Request(f"{service.url}/v1/detections", data=frame, headers=headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  our own service
        objects = json.loads(answer.read())["objects"]
    return [found["box"] for found in objects], [found["class_id"] for found in objects]


def _installed() -> tuple[list[Peer], dict[str, str]]:
    good, failed = [], dict(NOT_RUN)
    for peer in PEERS:
        try:
            install(peer)
        except (OSError, subprocess.CalledProcessError) as error:
            failed[peer.name] = f"not installed: {error}"
        else:
            good.append(peer)
    return good, failed


def _measure(peers: Sequence[Peer], model: Path, failed: dict[str, str], given: argparse.Namespace) -> list[list[Side]]:
    frames = jpegs()
    with contextlib.ExitStack() as up:
        ours = []
        for layout, config in CONFIGS.items():
            service = up.enter_context(running(configuration(config, model={"path": str(model)})))
            requests = [request_bytes("/v1/detections", frame, host=service.host) for frame in frames]
            ours.append(Side(f"sightline-{layout}", service, requests))
        theirs = []
        for peer in peers:
            say(f"starting {peer.name}")
            try:
                service = up.enter_context(peer_running(peer, model, sample=frames[0]))
            except RuntimeError as error:
                failed[peer.name] = str(error)
                continue
            theirs.append(Side(peer.name, service, [peer.request(frame, host=service.host) for frame in frames]))
        sides = [*ours, *theirs]
        for index in range(-1, given.rounds):
            say("warming" if index < 0 else f"round {index + 1} of {given.rounds}")
            for side in sides if index % 2 == 0 else sides[::-1]:
                alone(sides, side, lambda s=side: s.saturate(connections=given.connections, seconds=given.seconds))
        for side in sides:
            del side.rates_hz[0]
        for share in SHARES:
            for side in sides:
                say(f"{side.name} at {share:.0%} of {side.capacity_hz:.1f} images/s")
                alone(sides, side, lambda s=side, at=share: s.offer(at, seconds=given.open_seconds, seed=5))
        for side in sides:
            side.rss_bytes = side.service.rss_bytes()
    return [ours, theirs]


def main() -> int:
    """Exit code 1 when the best peer is closer than the target, its p99 is lower, or somebody's boxes are not ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--open-seconds", type=float, default=20.0)
    parser.add_argument("--connections", type=int, default=32)
    given = parser.parse_args()
    peers, failed = _installed()
    same = parity(peers, jpegs(), failed=failed)
    ours, theirs = _measure([peer for peer in peers if peer.name in same], network(), failed, given)
    figures, fastest, quickest = figures_of({s.name: s for s in ours}, {s.name: s for s in theirs})
    details = {
        side.name: {
            "images_per_s": side.capacity_hz,
            "turns": side.rates_hz,
            "open_loop": side.open_loop,
            "not_200": side.not_200,
            "start_s": side.service.start_s, "rss_mib": side.rss_bytes / 2**20, "boxes_as_ours": same.get(side.name),
        }
        for side in (*ours, *theirs)
    }  # fmt: skip
    publish("peers", figures, target=TARGET, best=fastest, lowest_p99=quickest, not_measured=failed, sides=details)
    is_same = all(share >= SAME for share in same.values())
    return 0 if figures["best_peer_ratio"] >= TARGET and figures["best_peer_p99_ratio"] <= 1 and is_same else 1


if __name__ == "__main__":
    sys.exit(main())
