"""`sightline detect`: the objects in images."""

import sys
from pathlib import Path

import cv2
import numpy as np

from app import assembly
from app.api.contract import to_line
from app.core.errors import SightlineError, UndecodableError
from app.core.frame import FrameRef
from app.core.ports import Engine
from app.core.query import Query
from app.core.result import FrameResult
from app.pipeline.frame_path import FramePath
from app.pipeline.models import FixedModels
from app.settings import Settings
from app.vision.draw import draw_objects


async def run(
    settings: Settings, engine: Engine, *, images: list[Path], conf: float | None, as_json: bool, save: Path | None
) -> int:
    """Exit code 0, or 1 when an image could not be answered; the others are."""
    path = assembly.frame_path(settings, assembly.local_chain(settings, engine), FixedModels(engine.spec))
    failed = 0
    for seq, image in enumerate(images):
        try:
            result = await _one(path, image, seq=seq, conf=conf)
        except (SightlineError, OSError) as error:
            print(f"sightline: {image}: {error}", file=sys.stderr)
            failed += 1
            continue
        if as_json:
            sys.stdout.buffer.write(to_line(result))
        else:
            _print_words(image, result)
        if save is not None:
            _save(image, result, save / f"{image.stem}.jpg" if len(images) > 1 else save)
    return 1 if failed else 0


async def _one(path: FramePath, image: Path, *, seq: int, conf: float | None) -> FrameResult:
    data = image.read_bytes()  # noqa: ASYNC240  the only thing to do before the picture is there
    return await path.detect(data, ref=FrameRef(stream_id=image.name, seq=seq), query=Query(conf=conf))


def _print_words(image: Path, result: FrameResult) -> None:
    print(f"{image}: {result.width_px}x{result.height_px}, {len(result.objects)} objects")
    for found in result.objects:
        x1, y1, x2, y2 = found.box
        print(f"  {found.label:<12} {found.score:.2f}  ({x1:.0f}, {y1:.0f}) to ({x2:.0f}, {y2:.0f})")


def _save(image: Path, result: FrameResult, target: Path) -> None:
    # OpenCV turns the picture upright, as the boxes are.
    bgr = cv2.imdecode(np.fromfile(image, dtype=np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise UndecodableError(f"{image} cannot be drawn on")
    rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    drawn = draw_objects(
        rgb,
        np.array([found.box for found in result.objects], dtype=np.float32).reshape(-1, 4),
        labels=[found.label for found in result.objects],
        ids=[None] * len(result.objects),
        scores=[found.score for found in result.objects],
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(target), cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)):
        raise OSError(f"cannot write {target}")
