"""What the cameras of the scenario `streams` see: farm streets as JPEGs, each with (stream, seq) as its barcode."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from load_tests.camfarm import Camera, Scene, encode_jpeg, render
from load_tests.efficiency import BUILD, QUALITY, say

WIDTH_PX, HEIGHT_PX = 640, 360
SCENE_HZ = 10.0
"""Frames a second in the street's own time. The frames are sent at another pace, under the street's time stamps."""
_SEED = 3100


def footage(streams: int, frames: int) -> list[list[bytes]]:
    """By stream the JPEGs in order; drawn once and kept on disk for the next run."""
    folder = BUILD / f"streams-{WIDTH_PX}x{HEIGHT_PX}-q{QUALITY}"
    missing = [stream for stream in range(streams) if not _path(folder, stream, frames - 1).exists()]
    if missing:
        say(f"drawing {frames} frames for each of {len(missing)} cameras")
        with ProcessPoolExecutor() as pool:
            list(pool.map(_draw, missing, [frames] * len(missing), [folder] * len(missing)))
    return [[_path(folder, stream, seq).read_bytes() for seq in range(frames)] for stream in range(streams)]


def _draw(stream: int, frames: int, folder: Path) -> None:
    camera = Camera(width_px=WIDTH_PX, height_px=HEIGHT_PX, fps=SCENE_HZ, stream=stream)
    for shot in render(Scene(seed=_SEED + stream), camera, frames=frames):
        path = _path(folder, stream, shot.seq)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_jpeg(shot.rgb, quality=QUALITY))


def _path(folder: Path, stream: int, seq: int) -> Path:
    return folder / f"{stream:02d}" / f"{seq:04d}.jpg"
