"""Scenario `video-efficiency`: frames/s through /v1/videos, over the same file in one process.

A 720p street clip, a YOLOv8n-shaped network at 640 px, two sides in turn on the same cores; while one runs the other is
stopped. The figure is the layout for small machines; the staged one is measured beside it.
"""

import argparse
import sys
from pathlib import Path

from load_tests.camfarm import Camera, Scene, render
from load_tests.camfarm.video import write_mp4
from load_tests.efficiency import BUILD, CONFIGS, network, one_process, say
from load_tests.evidence import alternate, publish
from load_tests.http_client import upload
from load_tests.service import configuration, running

TARGET = 0.95
N_FRAMES = 600


def clip() -> Path:
    """The street clip, drawn once."""
    target = BUILD / f"clip-1280x720-{N_FRAMES}.mp4"
    if not target.exists():
        say(f"drawing a clip of {N_FRAMES} frames")
        target.parent.mkdir(parents=True, exist_ok=True)
        camera = Camera(width_px=1280, height_px=720, fps=30.0, stream=1)
        write_mp4(target, render(Scene(seed=2001), camera, frames=N_FRAMES), 30.0)
    return target


def _measure(layout: str, *, rounds: int) -> dict[str, object]:
    model, video = network(), clip()
    body = video.read_bytes()
    with running(configuration(CONFIGS[layout], model={"path": str(model)})) as service, one_process(model) as other:

        def ours() -> float:
            answer, elapsed_s = upload(service.host, service.port, "/v1/videos", body)
            answered = answer.count(b'"status":"result"')
            if answered != N_FRAMES:
                raise RuntimeError(f"{answered} of {N_FRAMES} frames were answered")
            return answered / elapsed_s

        def theirs() -> float:
            with service.paused():
                return other.ask("video", video)

        say(f"{layout}: warming both sides")
        ours(), theirs()
        say(f"{layout}: {rounds} rounds")
        ratio, mine, others = alternate(ours, theirs, rounds=rounds)
    return {
        "ratio": ratio,
        "frames_per_s": [round(rate, 1) for rate in mine],
        "one_process_frames_per_s": [round(rate, 1) for rate in others],
    }


def main() -> int:
    """Exit code 1 when the ratio is below the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--layouts", nargs="+", choices=tuple(CONFIGS), default=list(CONFIGS))
    given = parser.parse_args()
    sides = {layout: _measure(layout, rounds=given.rounds) for layout in given.layouts}
    figures = {"video_efficiency": float(str(sides[given.layouts[0]]["ratio"]))}
    publish("video-efficiency", figures, target=TARGET, frames=N_FRAMES, **sides)
    return 0 if figures["video_efficiency"] >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
