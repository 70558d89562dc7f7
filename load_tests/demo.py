"""`make demo`: a synthetic street clip through a running service; an annotated video and a contact sheet come out."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from app.core.frame import Pixels
from app.media.writer import VideoWriter
from app.vision.draw import draw_objects
from load_tests.camfarm import Camera, Scene, Shot, render
from load_tests.camfarm.video import write_mp4
from load_tests.http_client import upload
from load_tests.service import ROOT, configuration, running

SHEET_COLUMNS = 3
SHEET_ROWS = 2
TILE_WIDTH_PX = 640


def _shots(seed: int, camera: Camera, frames: int) -> Iterator[Shot]:
    return render(Scene(seed=seed), camera, frames=frames)


def _draw(rgb: Pixels, result: dict[str, Any]) -> Pixels:
    found = result["objects"]
    return draw_objects(
        rgb,
        np.array([item["box"] for item in found], dtype=np.float32).reshape(-1, 4),
        labels=[item["label"] for item in found],
        ids=[item.get("track_id") for item in found],
        scores=[item["score"] for item in found],
    )


def _sheet(pictures: list[Pixels]) -> Pixels:
    """The pictures as tiles, row by row."""
    height_px = round(TILE_WIDTH_PX * pictures[0].shape[0] / pictures[0].shape[1])
    tiles = [cv2.resize(picture, (TILE_WIDTH_PX, height_px), interpolation=cv2.INTER_AREA) for picture in pictures]
    rows = [np.hstack(tiles[start : start + SHEET_COLUMNS]) for start in range(0, len(tiles), SHEET_COLUMNS)]
    return np.vstack(rows)


def main() -> int:
    """Exit code 0 when every frame came back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--out", type=Path, default=ROOT / "out")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    camera = Camera(width_px=1280, height_px=720, fps=15.0, stream=1)
    frames = round(given.seconds * camera.fps)
    clip = given.out / "street.mp4"
    progress = tqdm(_shots(given.seed, camera, frames), total=frames, desc="drawing the street", unit="frame")
    write_mp4(clip, progress, camera.fps)
    with running(configuration()) as service:
        print(f"demo: sending {clip} to {service.url}/v1/videos", file=sys.stderr, flush=True)
        answer, elapsed_s = upload(service.host, service.port, "/v1/videos", clip.read_bytes())
    *results, summary = [json.loads(line) for line in answer.splitlines()]
    chosen = set(np.linspace(0, frames - 1, SHEET_COLUMNS * SHEET_ROWS).astype(int).tolist())
    pictures: list[Pixels] = []
    annotated = given.out / "street-tracked.mp4"
    with VideoWriter(annotated, width_px=camera.width_px, height_px=camera.height_px, fps=camera.fps) as writer:
        shots = tqdm(_shots(given.seed, camera, frames), total=frames, desc="drawing the tracks", unit="frame")
        for shot, result in zip(shots, results, strict=True):
            drawn = _draw(shot.rgb, result)
            writer.write(drawn, pts_s=result["pts_s"])
            if shot.seq in chosen:
                pictures.append(drawn)
    sheet = given.out / "street-tracked.jpg"
    cv2.imwrite(str(sheet), cv2.cvtColor(_sheet(pictures), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    print(
        f"{summary['answered']} of {summary['captured']} frames in {elapsed_s:.1f} s; look at {annotated} and {sheet}"
    )
    return 0 if summary["answered"] == frames else 1


if __name__ == "__main__":
    sys.exit(main())
