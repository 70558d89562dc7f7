"""Turns a checkpoint into model.onnx and what belongs beside it."""

import platform
import shutil
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx
from ultralytics import YOLO

from engines.manifest import describe
from load_tests.camfarm.actor import LABEL_NAMES

MAX_BYTES = 12 * 1024 * 1024
NAME, VERSION = "street", "1.0.0"
_FRAMEWORKS = ("ultralytics", "torch", "onnx", "numpy", "opencv-python-headless")
_EVALUATION = (
    "Ultralytics val on seeds never trained on, from training.val_first_seed. An object is labelled when at least 0.3 "
    "of what lies inside the image is not hidden and its box measures at least 8 px at the model's size."
)
_LICENCE = (
    "Trained and exported with Ultralytics (AGPL-3.0), which holds that weights trained with it are AGPL-3.0 too: "
    "whoever serves this model over a network must offer the service's complete source under AGPL-3.0, or hold an "
    "Ultralytics Enterprise licence. The training images are synthetic and drawn by this repository."
)


def write_model(
    checkpoint: Path, target: Path, *, input_px: int, quality: dict[str, Any], made: dict[str, Any]
) -> None:
    """Write `target`/model.onnx (dynamic batch, raw head), golden outputs and card; ValueError for too large a file.

    `made` says how: "plan", "command", "note", and "durations" in seconds.
    """
    exported = YOLO(str(checkpoint)).export(
        format="onnx",
        imgsz=input_px,
        opset=17,
        dynamic=True,
        simplify=find_spec("onnxslim") is not None,
        device="cpu",
    )
    target.mkdir(parents=True, exist_ok=True)
    model = target / "model.onnx"
    shutil.move(exported, model)
    _tidy(model, input_px=input_px)
    size_bytes = model.stat().st_size
    if size_bytes > MAX_BYTES:
        message = f"the model has {size_bytes} bytes, more than {MAX_BYTES}"
        raise ValueError(message)
    facts = {
        "name": NAME,
        "version": VERSION,
        "labels": list(LABEL_NAMES),
        **_interface(input_px),
        "precision": "fp32",
        "bytes": size_bytes,
        "parameters": sum(weight.numel() for weight in YOLO(str(checkpoint)).model.parameters()),
        "quality": {**quality, "evaluation": _EVALUATION},
        "training": made["plan"],
        "command": made["command"],
        "durations": made["durations"],
        "duration_s": round(sum(made["durations"].values()), 1),
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _FRAMEWORKS}},
        "note": made["note"],
        "licence": _LICENCE,
    }
    describe(target, facts)


def _interface(input_px: int) -> dict[str, Any]:
    """What goes in and what comes out, for the card."""
    return {
        "input": {
            "name": "images",
            "width_px": input_px,
            "height_px": input_px,
            "layout": "NCHW",
            "colour": "RGB",
            "range": [0, 1],
            "letterbox_value": 114,
            "batch": "dynamic",
        },
        "head": {
            "kind": "yolov8",
            "output": "output0",
            "rows": "centre x, centre y, width, height in input pixels, then one score in [0, 1] per label",
            "needs_nms": True,
        },
    }


def _tidy(path: Path, *, input_px: int) -> None:
    """Fix height and width, leave only the batch dynamic, and drop what names the machine it was made on."""
    model = onnx.load(path)
    shape = model.graph.input[0].type.tensor_type.shape
    for axis in (2, 3):
        shape.dim[axis].Clear()
        shape.dim[axis].dim_value = input_px
    anchors = sum((input_px // stride) ** 2 for stride in (8, 16, 32))
    result = model.graph.output[0].type.tensor_type.shape
    result.dim[2].Clear()
    result.dim[2].dim_value = anchors
    kept = {entry.key: entry.value for entry in model.metadata_props}
    wanted = ("names", "stride", "task", "imgsz", "channels", "license", "version", "end2end")
    del model.metadata_props[:]
    for key in wanted:
        if key in kept:
            entry = model.metadata_props.add()
            entry.key, entry.value = key, kept[key]
    model.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    del model.graph.value_info[:]
    onnx.checker.check_model(model)
    onnx.save(model, path)
