"""Tiny networks with every kind of head, for tests: one look at the average colour of each cell, random weights."""

import numpy as np
import onnx

from app.core.model import Head
from app.vision.heads import STRIDES, cell_counts
from engines.onnx_sketch import Sketch, ultralytics_metadata
from engines.random_yolo import boxes_from_distances, centres_and_sizes

_END_TO_END_ROWS = 20
_REACH_CELLS = 3.0  # boxes end at most so far from their cell's centre


def tiny_yolo(
    head: Head, *, size_px: int | None = 64, n_labels: int = 3, batch: int | None = None, seed: int = 0
) -> onnx.ModelProto:
    """Return a network with that head; `size_px` None (YOLOX only, whose grid is outside) leaves the size free."""
    sketch = Sketch(size_px=size_px, batch=batch, seed=seed)
    side_px = size_px or 64
    n_cells = cell_counts(side_px, side_px)
    metadata = ultralytics_metadata(n_labels)
    match head:
        case Head.YOLOV8:
            corners, kinds = _decoded(sketch, n_labels=n_labels, size_px=side_px)
            output = sketch.concat([centres_and_sizes(sketch, corners), kinds])
            return sketch.model(output, shape=(4 + n_labels, n_cells), metadata=metadata)
        case Head.YOLOV5:
            anchors = [_with_objectness(sketch, n_labels=n_labels, size_px=side_px) for _ in range(3)]
            output = sketch.node("Transpose", sketch.concat(anchors, axis=2), perm=[0, 2, 1])
            return sketch.model(output, shape=(3 * n_cells, 5 + n_labels), metadata=metadata)
        case Head.YOLOX:
            box, scores = sketch.split(_cell_values(sketch, 5 + n_labels, gain=5.0 / 255), (4, 1 + n_labels))
            columns = sketch.concat([box, sketch.node("Sigmoid", scores)])
            output = sketch.node("Transpose", columns, perm=[0, 2, 1])
            return sketch.model(output, shape=(None if size_px is None else n_cells, 5 + n_labels), metadata={})
        case Head.END_TO_END:
            output = _best_rows(sketch, *_decoded(sketch, n_labels=n_labels, size_px=side_px))
            return sketch.model(output, shape=(_END_TO_END_ROWS, 6), metadata={**metadata, "end2end": "True"})


def _cell_values(sketch: Sketch, channels: int, *, gain: float = 5.0) -> str:
    """Return `(B, channels, N)`: random weights times the average colour of every cell of every level."""
    levels = []
    for stride in STRIDES:
        window = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        colour = sketch.node("AveragePool", "images", **window)
        values = sketch.conv(colour, channels, is_activated=False, bias=-1.0, gain=gain)
        levels.append(sketch.reshape(values, (0, channels, -1)))
    return sketch.concat(levels, axis=2)


def _decoded(sketch: Sketch, *, n_labels: int, size_px: int) -> tuple[str, str]:
    """Return corners `(B, 4, N)` in model pixels and class scores `(B, nc, N)`."""
    box, kinds = sketch.split(_cell_values(sketch, 4 + n_labels), (4, n_labels))
    reach = sketch.constant(np.float32(_REACH_CELLS))
    distances = sketch.node("Mul", sketch.node("Sigmoid", box), reach)
    return boxes_from_distances(sketch, distances, size_px=size_px), sketch.node("Sigmoid", kinds)


def _with_objectness(sketch: Sketch, *, n_labels: int, size_px: int) -> str:
    """Return one anchor's `(B, 5 + nc, N)`: cx cy w h, objectness, class scores."""
    corners, scores = _decoded(sketch, n_labels=1 + n_labels, size_px=size_px)
    return sketch.concat([centres_and_sizes(sketch, corners), scores])


def _best_rows(sketch: Sketch, corners: str, kinds: str) -> str:
    """Return `(B, M, 6)`: the M cells with the best class, best first."""
    best = sketch.node("ReduceMax", kinds, sketch.ints((1,)), keepdims=1)
    label = sketch.node("Cast", sketch.node("ArgMax", kinds, axis=1, keepdims=1), to=onnx.TensorProto.FLOAT)
    rows = sketch.node("Transpose", sketch.concat([corners, best, label]), perm=[0, 2, 1])
    flat = sketch.node("Squeeze", best, sketch.ints((1,)))
    order = sketch.top_rows(flat, _END_TO_END_ROWS)
    order = sketch.node("Expand", sketch.node("Unsqueeze", order, sketch.ints((2,))), sketch.ints((1, 1, 6)))
    return sketch.node("GatherElements", rows, order, axis=1)
