"""Command line of the camera farm: one clip as MP4, JPEGs and truth lines."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from load_tests.camfarm.jpeg import encode_jpeg
from load_tests.camfarm.painter import Shot, render
from load_tests.camfarm.scene import Camera, Scene
from load_tests.camfarm.truth import FrameTruth
from load_tests.camfarm.video import write_mp4

_LIGHTS = {"auto": None, "day": False, "dusk": True}


def truth_line(truth: FrameTruth) -> str:
    """One frame's truth as a JSON object on one line."""
    return json.dumps(
        {
            "stream": truth.stream,
            "seq": truth.seq,
            "captured_at_s": truth.captured_at_s,
            "objects": [
                {"identity": identity, "label": label, "xyxy": [round(side, 2) for side in box],
                 "visibility": round(visibility, 4), "in_frame": round(in_frame, 4)}
                for identity, label, box, visibility, in_frame in zip(
                    truth.identity.tolist(), truth.label.tolist(), truth.xyxy.tolist(), truth.visibility.tolist(),
                    truth.in_frame.tolist(), strict=True,
                )
            ],
        }
    )  # fmt: skip


def _size(text: str) -> tuple[int, int]:
    """(width, height) of a text such as 1280x720; both even, as H.264 wants them."""
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()) or int(width) % 2 or int(height) % 2 or int(width) < 160:
        message = f"{text!r} is no WIDTHxHEIGHT of even numbers from 160 px up"
        raise argparse.ArgumentTypeError(message)
    return int(width), int(height)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m load_tests.camfarm", description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--size", type=_size, default=(1280, 720), metavar="WIDTHxHEIGHT")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--density", type=float, default=Scene.density, help="about how many objects are in view")
    parser.add_argument("--light", choices=sorted(_LIGHTS), default="auto")
    parser.add_argument("--stream", type=int, default=0, help="stream number in the barcode")
    parser.add_argument("--out", type=Path, help="MP4 file")
    parser.add_argument("--jpegs", type=Path, help="folder for one JPEG per frame")
    parser.add_argument("--quality", type=int, default=90, help="JPEG quality")
    parser.add_argument("--truth", type=Path, help="file for one JSON line per frame")
    return parser


def _noted(shots: Iterator[Shot], *, jpegs: Path | None, quality: int, truth: TextIO | None) -> Iterator[Shot]:
    """The same shots, leaving JPEGs and truth lines behind as they pass."""
    for shot in shots:
        if jpegs is not None:
            (jpegs / f"{shot.seq:06d}.jpg").write_bytes(encode_jpeg(shot.rgb, quality=quality))
        if truth is not None:
            truth.write(truth_line(shot.truth) + "\n")
        yield shot


def main(argv: list[str] | None = None) -> int:
    """Draw the clip; 2 when no output is asked for."""
    arguments = _parser().parse_args(argv)
    if not (arguments.out or arguments.jpegs or arguments.truth):
        print("nothing to do: give --out, --jpegs or --truth", file=sys.stderr)
        return 2
    scene = Scene(seed=arguments.seed, density=arguments.density, is_dusk=_LIGHTS[arguments.light])
    width_px, height_px = arguments.size
    camera = Camera(width_px=width_px, height_px=height_px, fps=arguments.fps, stream=arguments.stream)
    frames = max(1, round(arguments.seconds * arguments.fps))
    with ExitStack() as stack:
        if arguments.jpegs is not None:
            arguments.jpegs.mkdir(parents=True, exist_ok=True)
        truth = None if arguments.truth is None else stack.enter_context(arguments.truth.open("w", encoding="utf-8"))
        shots = tqdm(render(scene, camera, frames=frames), total=frames, unit="frame", mininterval=1.0)
        noted = _noted(iter(shots), jpegs=arguments.jpegs, quality=arguments.quality, truth=truth)
        if arguments.out is not None:
            write_mp4(arguments.out, noted, arguments.fps)
        else:
            for _ in noted:
                pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
