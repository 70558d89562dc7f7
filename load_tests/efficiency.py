"""What the two efficiency scenarios share: the network, the pictures, and the two sides of the comparison."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.core.heap import HEAP_ENVIRONMENT
from engines import random_yolo
from load_tests.camfarm import Camera, Scene, encode_jpeg, render
from load_tests.service import ROOT

BUILD = ROOT / "build" / "load"
QUALITY = 75
"""libjpeg's own default."""
CONFIGS = {"colocated": "deployments/colocated.yaml", "staged": "serve_config.yaml"}
"""The layouts, the one for small machines first."""
N_JPEGS = 12


def network() -> Path:
    """A YOLOv8n-shaped network of random weights, 640 px; built once."""
    target = BUILD / "yolov8n_shaped.onnx"
    if not target.exists():
        say("building the YOLOv8n-shaped network")
        target.parent.mkdir(parents=True, exist_ok=True)
        random_yolo.main(target)
    return target


def jpegs(*, width_px: int = 1920, height_px: int = 1080) -> list[bytes]:
    """Street scenes as JPEGs, kept on disk for the next run."""
    folder = jpeg_folder(width_px=width_px, height_px=height_px)
    return [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]


def jpeg_folder(*, width_px: int = 1920, height_px: int = 1080) -> Path:
    """The folder of `jpegs`."""
    folder = BUILD / f"jpegs-{width_px}x{height_px}-q{QUALITY}"
    if len(list(folder.glob("*.jpg"))) < N_JPEGS:
        say(f"drawing {N_JPEGS} street scenes of {width_px} x {height_px}")
        folder.mkdir(parents=True, exist_ok=True)
        for seed in range(N_JPEGS):
            camera = Camera(width_px=width_px, height_px=height_px, fps=10.0, stream=seed)
            shot = next(iter(render(Scene(seed=1000 + seed), camera, frames=1)))
            (folder / f"{seed:02d}.jpg").write_bytes(encode_jpeg(shot.rgb, quality=QUALITY))
    return folder


def say(words: str) -> None:
    """Progress for people, beside the data."""
    print(f"load: {words} …", file=sys.stderr, flush=True)


@dataclass(slots=True)
class OtherSide:
    """The one-process side in a process of its own, asked over a pipe."""

    child: subprocess.Popen[str]

    def ask(self, command: str, argument: object) -> float:
        """The number it answers."""
        assert self.child.stdin is not None and self.child.stdout is not None  # noqa: S101, PT018  Popen made them
        self.child.stdin.write(f"{command} {argument}\n")
        self.child.stdin.flush()
        return float(self.child.stdout.readline())


@contextlib.contextmanager
def one_process(model: Path) -> Iterator[OtherSide]:
    """The other side, ready."""
    command = [sys.executable, "-m", "load_tests.one_process", str(model), str(jpeg_folder())]
    environment = {**os.environ, **HEAP_ENVIRONMENT}  # each side with its best settings
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None  # noqa: S101  Popen made it
            if child.stdout.readline().strip() != "ready":
                raise RuntimeError("the one-process side did not start")
            yield OtherSide(child)
        finally:
            child.kill()
