"""Scenario `cameras`: how many live cameras the service holds on this machine within an SLO, by the users' own planner.

`cameras_ratio` is the cameras held ÷ those that the stages' own clocks predict: cores ÷ (decode + preprocess +
inference + postprocess of one frame at an idle service) ÷ fps. Below 1 it is what hops, requests, tracking, telling and
waiting cost; micro-batches, which are cheaper than single frames, push it up.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from load_tests import scenarios
from load_tests.camfarm import Camera, Scene, render
from load_tests.camfarm.video import write_mp4
from load_tests.efficiency import CONFIGS, say
from load_tests.evidence import publish
from load_tests.service import ROOT, Service, configuration, cpu_s, running
from load_tests.streams_processes import by_part

_SEED: Final = 3100
_FRAMES: Final = 30
_FIRST: Final = (
    "import runpy; from load_tests.open_loop_clock import go_first; go_first();"
    " runpy.run_module('app', run_name='__main__', alter_sys=True)"
)
"""`python -m app` before others: on the service's own cores it would come late to its cameras."""


def main() -> int:
    """Exit code 1 when a figure misses its target."""
    plan = scenarios.parameters("cameras")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layout", choices=tuple(CONFIGS), default=plan["layout"])
    parser.add_argument("--seconds", type=float, default=plan["seconds"], help="of each trial")
    parser.add_argument("--most", type=int, default=plan["most"])
    parser.add_argument("--slo-p99", type=float, default=plan["slo_p99_s"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = _clip(Path(folder), plan)
        with running(configuration(CONFIGS[given.layout], **plan["args"])) as service:
            found = _asked(service, given, clip=clip, fps=plan["fps"])
    figures = {
        "cameras": float(found["cameras"]),
        "cameras_predicted": found["predicted_cameras"],
        "cameras_ratio": found["cameras_ratio"],
    }
    missed = scenarios.missed("cameras", figures)
    size = {"width_px": plan["width_px"], "height_px": plan["height_px"]}
    publish("cameras", figures, missed=missed, layout=given.layout, **size, **found)
    return 1 if missed else 0


def _clip(folder: Path, plan: dict[str, Any]) -> Path:
    """A street as every camera sees it."""
    say("drawing a street")
    file = folder / "street.mp4"
    camera = Camera(width_px=plan["width_px"], height_px=plan["height_px"], fps=plan["fps"], stream=0)
    write_mp4(file, render(Scene(seed=_SEED), camera, frames=_FRAMES), plan["fps"])
    return file


def _asked(service: Service, given: argparse.Namespace, *, clip: Path, fps: float) -> dict[str, Any]:
    """What the planner says, and the processor that the service and the planner used meanwhile.

    RuntimeError when the planner gives no answer.
    """
    command = [sys.executable, "-c", _FIRST, "bench", "cameras", "--json", "--url", service.url, "--clip", str(clip)]
    command += ["--fps", str(fps), "--slo-p99", str(given.slo_p99)]
    command += ["--seconds", str(given.seconds), "--most", str(given.most)]
    before_s, begin_s = by_part(service, cpu_s), time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    elapsed_s = time.monotonic() - begin_s
    if done.returncode != 0:
        raise RuntimeError("the planner gave no answer")
    used_s = by_part(service, cpu_s)
    found: dict[str, Any] = json.loads(done.stdout)
    frames = sum(trial["captured"] for trial in found["trials"])
    found["cores_by_part"] = {part: round((used_s[part] - before_s.get(part, 0.0)) / elapsed_s, 3) for part in used_s}
    found["service_cpu_s_per_frame"] = round((sum(used_s.values()) - sum(before_s.values())) / frames, 5)
    return found


if __name__ == "__main__":
    sys.exit(main())
