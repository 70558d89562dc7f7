"""Ultralytics behind FastAPI, a worker process and a model for each core. `ultralytics_server.py MODEL PORT`."""

import ast
import os
import sys
import tempfile
import threading
from pathlib import Path

os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")

import cv2
import numpy as np
import onnx
import openvino as ov
import torchvision_shim  # noqa: F401  before torchvision is loaded: it holds no operators beside a CPU torch
import uvicorn
import yaml
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from ultralytics import YOLO

app = FastAPI()
_LOCK = threading.Lock()  # a model of Ultralytics is not safe for two threads, says its documentation
_MODELS: list[YOLO] = []
_OPTIONS = {"conf": 0.25, "iou": 0.7, "verbose": False, "device": "cpu"}


def _model() -> YOLO:
    if not _MODELS:
        _MODELS.append(YOLO(os.environ["PEER_MODEL"], task="detect"))
    return _MODELS[0]


def _as_openvino(path: Path) -> Path:
    """The model in the folder that `yolo export format=openvino` makes: its documentation recommends it for CPUs."""
    core_model = ov.Core().read_model(path)
    shape = core_model.inputs[0].get_partial_shape()
    height_px, width_px = shape[2].get_length(), shape[3].get_length()
    core_model.reshape([1, 3, height_px, width_px])
    folder = Path(tempfile.mkdtemp()) / f"{path.stem}_openvino_model"
    folder.mkdir()
    ov.save_model(core_model, folder / f"{path.stem}.xml", compress_to_fp16=False)
    names = ast.literal_eval(_metadata(path)["names"])
    told = {"stride": 32, "task": "detect", "batch": 1, "imgsz": [height_px, width_px], "names": names, "channels": 3}
    (folder / "metadata.yaml").write_text(yaml.safe_dump(told))
    os.environ["PEER_SIZE_PX"] = str(width_px)
    return folder


def _metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def _detect(body: bytes) -> dict:
    picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    with _LOCK:
        boxes = _model().predict(picture, imgsz=int(os.environ["PEER_SIZE_PX"]), rect=False, **_OPTIONS)[0].boxes
    return {"boxes": boxes.xyxy.tolist(), "scores": boxes.conf.tolist(), "labels": boxes.cls.int().tolist()}


@app.post("/predict")
async def predict(request: Request) -> dict:
    """One JPEG in, its boxes out."""
    return await run_in_threadpool(_detect, await request.body())


if __name__ == "__main__":
    os.environ["PEER_MODEL"] = str(_as_openvino(Path(sys.argv[1])))
    uvicorn.run("ultralytics_server:app", host="127.0.0.1", port=int(sys.argv[2]), workers=2, log_level="warning")
