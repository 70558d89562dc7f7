"""Scenario `kills`: what callers see when processes, a head or the way between machines is lost, on three machines.

A head without replicas, two nodes that serve, GCS with its records in Redis. Meanwhile stills go to both nodes, and
cameras push streams; at the end every frame of theirs must have been told once, as its sender heard it.
"""

import argparse
import asyncio
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from load_tests import scenarios
from load_tests.efficiency import say
from load_tests.evidence import publish
from load_tests.kills_cluster import HTTP_PORT, Cluster, cluster, environment_of_pods
from load_tests.kills_load import Seen, Stills, seen_of
from load_tests.machines import parted
from load_tests.service import Service, configuration
from load_tests.streams_account import Account, faults, reasons
from load_tests.streams_cameras import Camera, LiveStream
from load_tests.streams_footage import footage


class Kills:
    """The scenario on one cluster."""

    def __init__(self, own: Cluster, given: dict[str, Any]) -> None:
        self._cluster, self._given = own, given
        self.seen: dict[str, Seen] = {}

    @property
    def faults(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What is done, by name; each returns when it is undone, where anybody has to undo it."""
        return {
            "proxy": lambda: self._kill("/bin/haproxy "),
            "proxy_manager": lambda: self._kill("^ray::HAProxyManager"),
            **{
                stage.lower(): lambda stage=stage: self._kill(f"^ray::ServeReplica:sightline:{stage}\\b")  # type: ignore[misc]
                for stage in ("Ingress", "Decoder", "Preprocessor", "Detector", "Tracker")
            },
            "stream_book": lambda: self._kill("^ray::BookActor"),
            "model_book": lambda: self._kill("^ray::ModelBook"),
            "controller": lambda: self._kill("^ray::ServeController"),
            "gcs": self._kill_gcs,
            "head": self._kill_head,
            "roll": self._roll,
            "parted_10s": lambda: self._part(10.0),
            "parted_60s": lambda: self._part(60.0),
        }

    async def run(self, names: list[str]) -> tuple[dict[str, float], dict[str, Any]]:
        """Figures and details."""
        given = self._given
        jpegs = footage(given["streams"], given["frames"])
        stop = asyncio.Event()
        hosts = [machine.ip for machine in self._cluster.nodes]
        stills = Stills(hosts, HTTP_PORT, jpegs[0][0], rate_hz=given["stills_hz"])
        cameras = [
            Camera(
                await LiveStream.open(Service(hosts[k % len(hosts)], HTTP_PORT, 0.0, 0)),
                shots * given["rounds"],
                rate_hz=given["stream_hz"],
            )
            for k, shots in enumerate(jpegs)
        ]
        reading = [asyncio.create_task(camera.stream.read_live()) for camera in cameras]
        running = [
            asyncio.create_task(stills.run(stop)),
            *(asyncio.create_task(camera.run(stop)) for camera in cameras),
        ]
        try:
            for name in names:
                await asyncio.sleep(given["steady_s"])
                before, struck_s = len(stills.seen), time.monotonic()
                await self.faults[name]()
                await self._calm(stills, cameras)
                since = [still for still in stills.seen[before:] if still.due_s >= struck_s]
                self.seen[name] = seen_of(since, struck_s=struck_s)
                say(f"{name}: {json.dumps(asdict(self.seen[name]))}")
        finally:
            stop.set()
            await asyncio.gather(*running)
        return await self._accounted(cameras, reading)

    async def _calm(self, stills: Stills, cameras: list[Camera]) -> None:
        """Return when all has gone well for a while."""
        calm_s, until_s = self._given["calm_s"], time.monotonic() + self._given["longest_s"]
        begin_s = time.monotonic()
        while True:
            await asyncio.sleep(0.2)
            self._cluster.revive()
            now_s = time.monotonic()
            is_long = now_s - begin_s > calm_s
            lately = [still for still in stills.seen if still.due_s > now_s - calm_s]
            is_told = all(camera.answered_s and now_s - camera.answered_s[-1] < 2.0 for camera in cameras)
            if is_long and is_told and lately and all(still.first == "result" for still in lately):
                return
            if now_s > until_s:
                late = [round(now_s - camera.answered_s[-1], 1) for camera in cameras if camera.answered_s]
                say(f"it did not become calm: the cameras' last answers are {late} s old")
                return

    async def _accounted(
        self, cameras: list[Camera], reading: list[asyncio.Task[None]]
    ) -> tuple[dict[str, float], dict[str, Any]]:
        found: Counter[str] = Counter()
        for camera, reader in zip(cameras, reading, strict=True):
            account = camera.stream.account
            await asyncio.wait_for(camera.stream.read_log(until_seq=len(account.answers) - 1), 60.0)
            await camera.stream.close()
            await asyncio.wait({reader}, timeout=0.5)
            reader.cancel()
            own = faults(account, pushed=len(account.answers))
            if own:
                say(f"{camera.stream.path}: {dict(own)}, {missing_of(account)}")
            found += own
        figures: dict[str, float] = {}
        for name, seen in self.seen.items():
            figures |= {
                f"{name}_outage_s": seen.outage_s,
                f"{name}_failed": float(seen.failed),
                f"{name}_failed_at_both": float(seen.failed_at_both),
                f"{name}_recovered_s": seen.recovered_s,
            }
        figures["lost_frames"] = float(found["lost"])
        figures["other_faults"] = float(found.total() - found["lost"])
        return figures, {
            "seen": {name: asdict(seen) for name, seen in self.seen.items()},
            "faults": dict(found),
            "frames": sum(len(camera.stream.account.answers) for camera in cameras),
            "pushed_again": sum(camera.pushed_again for camera in cameras),
            "not_results": dict(sum((reasons(camera.stream.account) for camera in cameras), Counter())),
        }

    async def _kill(self, pattern: str) -> None:
        """One process, of the first machine that has any."""
        for machine in (*self._cluster.nodes, self._cluster.head):
            if machine.kill(pattern):
                return
        raise RuntimeError(f"nothing like {pattern} runs")

    async def _kill_gcs(self) -> None:
        self._cluster.head.kill("/gcs_server ")
        await asyncio.sleep(self._given["head_away_s"])
        self._cluster.start_head()  # as its pod's container is: `ray start --block` ends without GCS

    async def _kill_head(self) -> None:
        self._cluster.head.power_off()
        await asyncio.sleep(self._given["head_away_s"])
        self._cluster.head.power_on()
        self._cluster.start_head()

    async def _part(self, seconds: float) -> None:
        with parted(self._cluster.head, self._cluster.nodes[1]):
            await asyncio.sleep(seconds)

    async def _roll(self) -> None:
        config = config_of(self._given, batching={"max_batch": 7})
        await asyncio.to_thread(self._cluster.deploy, config)


def missing_of(account: Account) -> dict[str, object]:
    """Which frames that were answered nobody told of, and how the stream's own count ended."""
    told = {}
    for name, lines in (("live", account.live), ("log", account.log)):
        events = [json.loads(line) for line in lines]
        seqs = {event["seq"] for event in events if event["schema"].endswith("FrameResult")}
        told[f"not in {name}"] = sorted(account.answers.keys() - seqs)
        told[f"epochs in {name}"] = sorted({event["epoch"] for event in events})
    return {
        **told,
        "closing": {k: v for k, v in account.closing.items() if k != "spec"},
        "pushed": len(account.answers),
    }


def config_of(given: dict[str, Any], **args: Any) -> dict[str, Any]:
    """What is deployed: the project's own file, with several replicas of each stage."""
    config = configuration(**given["args"], **args)
    config["http_options"]["host"] = "0.0.0.0"  # noqa: S104  a network of our own
    for deployment in config["applications"][0]["deployments"]:
        deployment["num_replicas"] = given["replicas"]
    return config


def main() -> int:
    """Exit code 1 when a figure misses its target. Only the whole scenario is published."""
    given = scenarios.parameters("kills")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", nargs="+", default=given["faults"])
    parser.add_argument("--untuned", action="store_true", help="with Serve's own health checks of proxies")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the machines are taken down
    with cluster(config_of(given), environment_of_pods(tuned=not chosen.untuned)) as own:
        figures, details = asyncio.run(Kills(own, given).run(chosen.faults))
    missed = scenarios.missed("kills", figures)
    if chosen.faults == given["faults"] and not chosen.untuned:
        publish("kills", figures, missed=missed, **details)
    else:
        print(json.dumps({"figures": figures, "details": details, "missed": missed}, indent=2))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
