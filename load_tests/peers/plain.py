"""What one writes by hand for a framework that brings no vision: decode, letterbox, OpenVINO, suppress.

The engine is set as Sightline sets its own (bfloat16 by the CPU's choice, a stream for each core and two more), so that
a comparison is one of serving. Nothing of Sightline is imported: a peer's environment does not hold it.
"""

import json

import cv2
import numpy as np
import openvino as ov

cv2.setNumThreads(1)
CONF, IOU = 0.25, 0.7


class Model:
    """One ONNX file with an Ultralytics head, on the CPU."""

    def __init__(self, path: str, *, streams: int = 4) -> None:
        core = ov.Core()
        model = core.read_model(path)
        size = model.inputs[0].get_partial_shape()
        self.height_px, self.width_px = size[2].get_length(), size[3].get_length()
        model.reshape([1, 3, self.height_px, self.width_px])
        options = {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": streams, "ENABLE_CPU_PINNING": False}
        self._compiled = core.compile_model(model, "CPU", options)
        self._queue = ov.AsyncInferQueue(self._compiled, streams)

    def detect(self, bodies: list[bytes]) -> list[dict]:
        """Boxes in source pixels, scores and labels for each JPEG."""
        fitted = [self._fit(body) for body in bodies]
        rows: list[np.ndarray | None] = [None] * len(bodies)

        def keep(request, index: int) -> None:
            rows[index] = request.get_output_tensor(0).data[0].copy()

        self._queue.set_callback(keep)
        for index, (blob, _, _) in enumerate(fitted):
            self._queue.start_async({0: blob}, index)
        self._queue.wait_all()
        return [_boxes(row, scale, pad) for row, (_, scale, pad) in zip(rows, fitted, strict=True)]

    def _fit(self, body: bytes) -> tuple[np.ndarray, float, tuple[int, int]]:
        picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
        height_px, width_px = picture.shape[:2]
        scale = min(self.width_px / width_px, self.height_px / height_px)
        fitted = cv2.resize(picture, (round(width_px * scale), round(height_px * scale)))
        left, top = (self.width_px - fitted.shape[1]) // 2, (self.height_px - fitted.shape[0]) // 2
        right, bottom = self.width_px - fitted.shape[1] - left, self.height_px - fitted.shape[0] - top
        canvas = cv2.copyMakeBorder(fitted, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
        return cv2.dnn.blobFromImage(canvas, 1 / 255, swapRB=True), scale, (left, top)


def _boxes(row: np.ndarray, scale: float, pad: tuple[int, int]) -> dict:
    scores = row[4:]
    label = scores.argmax(axis=0)
    score = scores[label, np.arange(scores.shape[1])]
    keep = score > CONF
    centre, size = row[:2, keep].T, row[2:4, keep].T
    corner = (centre - size / 2 - pad) / scale
    extent = size / scale
    kept = cv2.dnn.NMSBoxesBatched(
        np.hstack([corner, extent]).tolist(), score[keep].tolist(), label[keep].tolist(), CONF, IOU
    )
    rows = np.asarray(kept, dtype=int)[:300]
    xyxy = np.hstack([corner, corner + extent])[rows]
    return {"boxes": xyxy.tolist(), "scores": score[keep][rows].tolist(), "labels": label[keep][rows].tolist()}


def to_json(found: dict) -> bytes:
    """The answer's body."""
    return json.dumps(found).encode()
