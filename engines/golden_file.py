"""What a version of a model sees in the golden pictures, kept beside it as `golden.json`."""

import json
from collections.abc import Mapping
from pathlib import Path

from app.core.errors import ModelError
from engines.golden import GoldenObject, golden_objects

GOLDEN_NAME = "golden.json"


def read_golden(files: Mapping[str, bytes]) -> tuple[GoldenObject, ...] | None:
    """Return what a version's checked files expect, None where they expect nothing; ModelError where they are broken.

    In the file: a list of `{"label": str, "score": float, "box": [x1, y1, x2, y2], "picture": int}`, boxes in pixels of
    the model's canvas, `picture` 0, the example, where it is not said.
    """
    if GOLDEN_NAME not in files:
        return None
    try:
        return _objects(json.loads(files[GOLDEN_NAME]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(f"{GOLDEN_NAME} is not a list of objects with label, score and box") from error


def write_golden(folder: Path) -> None:
    """Write what ONNX Runtime sees with the model in `folder`; its card does not know of the file yet."""
    from engines.model_file import read_model_file
    from engines.onnxruntime_engine import OnnxRuntimeEngine

    engine = OnnxRuntimeEngine(read_model_file(folder / "model.onnx"), streams=1)
    entries = [
        {
            "label": seen.label,
            "score": round(seen.score, 4),
            "box": [round(edge, 2) for edge in seen.xyxy],
            "picture": seen.picture,
        }
        for seen in golden_objects(engine)
    ]
    engine.close()
    (folder / GOLDEN_NAME).write_text(json.dumps(entries, indent=2) + "\n")


def _objects(entries: object) -> tuple[GoldenObject, ...]:
    """Return the entries of the file."""
    if not isinstance(entries, list):
        raise TypeError("not a list")
    return tuple(_object(entry) for entry in entries)


def _object(entry: Mapping[str, object]) -> GoldenObject:
    """Return one entry of the file."""
    label, score, box, picture = entry["label"], entry["score"], entry["box"], entry.get("picture", 0)
    if not (isinstance(label, str) and isinstance(score, float) and isinstance(box, list) and isinstance(picture, int)):
        raise TypeError("an entry of another kind")
    x1, y1, x2, y2 = (float(edge) for edge in box)
    return GoldenObject(label=label, score=score, xyxy=(x1, y1, x2, y2), picture=picture)
