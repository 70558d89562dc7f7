"""Scenario `tenants`: one tenant sends many times what the service can, and another goes on within its share.

Capacity is measured first, on a service that tells nobody apart. Then the service starts anew with a quota for each
tenant, as an operator would set it, and the greedy one fires at a multiple of capacity, open loop.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path

from load_tests import scenarios
from load_tests.efficiency import CONFIGS, jpegs, say
from load_tests.evidence import publish
from load_tests.http_client import request_bytes, saturate
from load_tests.open_loop_account import account_of, believed
from load_tests.open_loop_arrivals import poisson
from load_tests.open_loop_fleet import fire_beside
from load_tests.service import configuration, running

_KEYS = {"greedy": "the-key-of-the-greedy-one", "modest": "the-key-of-the-modest-one"}


def main() -> int:
    """Exit code 1 when a figure misses its target."""
    given = scenarios.parameters("tenants")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layout", choices=tuple(CONFIGS), default=given["layout"])
    parser.add_argument("--seconds", type=float, default=given["seconds"])
    parser.add_argument("--factor", type=float, default=given["factor"], help="of capacity, by the greedy tenant")
    parser.add_argument("--greedy-share", type=float, default=given["greedy_share"], help="of capacity, its quota")
    chosen = parser.parse_args()
    bodies = jpegs(width_px=given["width_px"], height_px=given["height_px"])
    with running(configuration(CONFIGS[chosen.layout], **given["args"])) as service:
        requests = [request_bytes("/v1/detections", body, host=service.host) for body in bodies]
        for seconds in (given["warm_s"], given["capacity_s"]):
            turn = saturate(service.host, service.port, requests, connections=given["connections"], seconds=seconds)
    capacity_hz = turn.ends.count(200) / turn.elapsed_s
    say(f"capacity {capacity_hz:.1f} images/s")
    shares = {"greedy": chosen.greedy_share, "modest": given["modest_share"]}
    quotas = {name: share * capacity_hz for name, share in shares.items()}
    with tempfile.TemporaryDirectory() as folder:
        config = configuration(
            CONFIGS[chosen.layout], **given["args"], tenants_file=str(_tenants_file(Path(folder), quotas))
        )
        with running(config) as service:
            of_tenant = {
                name: [_signed(request_bytes("/v1/detections", body, host=service.host), key) for body in bodies]
                for name, key in _KEYS.items()
            }
            saturate(service.host, service.port, of_tenant["modest"], connections=2, seconds=given["warm_s"])
            say(f"the greedy tenant at {chosen.factor:g} times capacity for {chosen.seconds:g} s")
            greedy, modest = fire_beside(
                service.host,
                service.port,
                of_tenant["greedy"],
                due_s=poisson(chosen.factor * capacity_hz, chosen.seconds, seed=1),
                clients=given["clients"],
                seed=1,
                beside=(
                    of_tenant["modest"][0],
                    poisson(given["modest_load"] * quotas["modest"], chosen.seconds, seed=2),
                ),
            )
    accounts = {
        name: believed(account_of(record, slo_s=given["slo_s"]), max_late_p99_s=given["max_late_p99_s"])
        for name, record in (("greedy", greedy), ("modest", modest))
    }
    figures = {
        "modest_success": accounts["modest"].answered / accounts["modest"].offered,
        "modest_goodput": accounts["modest"].goodput,
        "modest_p99_s": accounts["modest"].answered_p99_s,
        "greedy_share_of_capacity": accounts["greedy"].answered / (capacity_hz * chosen.seconds),
        "greedy_refused_p99_s": accounts["greedy"].refused_p99_s,
        "greedy_untyped": float(sum(accounts["greedy"].strays.values())),
    }
    missed = scenarios.missed("tenants", figures)
    publish(
        "tenants",
        figures,
        layout=chosen.layout,
        missed=missed,
        capacity_hz=round(capacity_hz, 1),
        quotas_hz={name: round(quota, 1) for name, quota in quotas.items()},
        factor=chosen.factor,
        seconds=chosen.seconds,
        offered={name: account.offered for name, account in accounts.items()},
        refused_as={name: account.typed_as for name, account in accounts.items()},
    )
    return 1 if missed else 0


def _tenants_file(folder: Path, quotas: dict[str, float]) -> Path:
    file = folder / "tenants.json"
    entries = [
        {
            "name": name,
            "key_sha256": hashlib.sha256(_KEYS[name].encode()).hexdigest(),
            "frames_per_s": quota,
            "burst_frames": max(1, round(quota)),
        }
        for name, quota in quotas.items()
    ]
    file.write_text(json.dumps(entries), encoding="utf-8")
    return file


def _signed(request: bytes, key: str) -> bytes:
    return request.replace(b"\r\n", f"\r\nauthorization: Bearer {key}\r\n".encode(), 1)


if __name__ == "__main__":
    sys.exit(main())
