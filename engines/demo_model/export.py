"""Turns a checkpoint into model.onnx and card.json."""

import hashlib
import json
import platform
import shutil
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx
from ultralytics import YOLO

from load_tests.camfarm.actor import LABEL_NAMES

MAX_BYTES = 12 * 1024 * 1024
NAME, VERSION = "street", "1.0.0"
_LICENCE = (
    "Trained and exported with Ultralytics (AGPL-3.0), which holds that weights trained with it are under AGPL-3.0 too: "
    "whoever serves this model over a network must offer the service's complete source under AGPL-3.0, or hold an "
    "Ultralytics Enterprise licence. The training images are synthetic and drawn by this repository."
)


def write_model(
    checkpoint: Path,
    target: Path,
    *,
    input_px: int,
    plan: dict[str, Any],
    quality: dict[str, Any],
    durations: dict[str, float],
) -> None:
    """Write `target`/model.onnx (dynamic batch, raw head) and card.json; ValueError when the file is too large."""
    exported = Path(
        YOLO(str(checkpoint)).export(
            format="onnx",
            imgsz=input_px,
            opset=17,
            dynamic=True,
            simplify=find_spec("onnxslim") is not None,
            device="cpu",
        )
    )
    target.mkdir(parents=True, exist_ok=True)
    model = target / "model.onnx"
    shutil.move(exported, model)
    _tidy(model, input_px=input_px)
    data = model.read_bytes()
    if len(data) > MAX_BYTES:
        message = f"the model has {len(data)} bytes, more than {MAX_BYTES}"
        raise ValueError(message)
    parameters = sum(weight.numel() for weight in YOLO(str(checkpoint)).model.parameters())
    card = {
        "name": NAME,
        "version": VERSION,
        "labels": list(LABEL_NAMES),
        "input": {"name": "images", "width_px": input_px, "height_px": input_px, "layout": "NCHW", "colour": "RGB",
                  "range": [0, 1], "letterbox_value": 114, "batch": "dynamic"},
        "head": {"kind": "yolov8", "output": "output0", "rows": "4 + labels: centre x, centre y, width, height in input pixels, then one score per label",
                 "is_sigmoid_applied": True, "needs_nms": True},
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "parameters": parameters,
        **quality,
        "evaluation": "Ultralytics val on seeds never trained on; a labelled object shows at least 0.3 of what lies inside "
        "the image and measures at least 8 px at the model's size",
        "training": plan,
        "command": "python -m engines.demo_model.train",
        "durations": durations,
        "duration_s": durations["total_s"],
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {name: version(name) for name in ("ultralytics", "torch", "onnx", "numpy", "opencv-python-headless")}
        | {"python": platform.python_version()},
        "licence": _LICENCE,
    }  # fmt: skip
    (target / "card.json").write_text(json.dumps(card, indent=2) + "\n")


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
