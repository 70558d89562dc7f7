"""A YOLOv8n-shaped network with random weights: the real thing's arithmetic for load tests, without its licence."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from engines.onnx_sketch import Sketch, ultralytics_metadata

_DFL_BINS = 16
_STRIDES = (8, 16, 32)


def _c2f(sketch: Sketch, x: str, channels: int, *, depth: int, is_residual: bool) -> str:
    """Return the output of a C2f block: split in two, `depth` bottlenecks in a chain, everything concatenated."""
    half = channels // 2
    first, last = sketch.split(sketch.conv(x, channels), (half, half))
    parts = [first, last]
    for _ in range(depth):
        hidden = sketch.conv(sketch.conv(last, half, kernel=3), half, kernel=3)
        last = sketch.node("Add", last, hidden) if is_residual else hidden
        parts.append(last)
    return sketch.conv(sketch.concat(parts), channels)


def _sppf(sketch: Sketch, x: str, channels: int) -> str:
    """Return the output of the pyramid pooling block."""
    parts = [sketch.conv(x, channels // 2)]
    for _ in range(3):
        parts.append(sketch.node("MaxPool", parts[-1], kernel_shape=[5, 5], pads=[2, 2, 2, 2], strides=[1, 1]))
    return sketch.conv(sketch.concat(parts), channels)


def _backbone(sketch: Sketch) -> tuple[str, str, str]:
    """Return the feature maps at strides 8, 16 and 32."""
    x = sketch.conv(sketch.conv("images", 16, kernel=3, stride=2), 32, kernel=3, stride=2)
    x = _c2f(sketch, x, 32, depth=1, is_residual=True)
    p3 = _c2f(sketch, sketch.conv(x, 64, kernel=3, stride=2), 64, depth=2, is_residual=True)
    p4 = _c2f(sketch, sketch.conv(p3, 128, kernel=3, stride=2), 128, depth=2, is_residual=True)
    p5 = _c2f(sketch, sketch.conv(p4, 256, kernel=3, stride=2), 256, depth=1, is_residual=True)
    return p3, p4, _sppf(sketch, p5, 256)


def _neck(sketch: Sketch, p3: str, p4: str, p5: str) -> tuple[str, str, str]:
    """Return the fused feature maps at strides 8, 16 and 32."""
    up4 = _c2f(sketch, sketch.concat([sketch.upsample(p5), p4]), 128, depth=1, is_residual=False)
    n3 = _c2f(sketch, sketch.concat([sketch.upsample(up4), p3]), 64, depth=1, is_residual=False)
    n4 = sketch.concat([sketch.conv(n3, 64, kernel=3, stride=2), up4])
    n4 = _c2f(sketch, n4, 128, depth=1, is_residual=False)
    n5 = sketch.concat([sketch.conv(n4, 128, kernel=3, stride=2), p5])
    return n3, n4, _c2f(sketch, n5, 256, depth=1, is_residual=False)


def _head(sketch: Sketch, levels: tuple[str, str, str], *, n_labels: int, size_px: int) -> str:
    """Return `(B, 4 + nc, N)`: distribution focal boxes decoded to `cx cy w h` in model pixels, and class scores."""
    rows = []
    for level in levels:
        box = sketch.conv(sketch.conv(level, 64, kernel=3), 64, kernel=3)
        box = sketch.conv(box, 4 * _DFL_BINS, is_activated=False, gain=0.02)
        kind = sketch.conv(sketch.conv(level, 80, kernel=3), 80, kernel=3)
        kind = sketch.conv(kind, n_labels, is_activated=False, bias=-6.0, gain=0.01)
        rows.append(sketch.reshape(sketch.concat([box, kind]), (0, 4 * _DFL_BINS + n_labels, -1)))
    bins, logits = sketch.split(sketch.concat(rows, axis=2), (4 * _DFL_BINS, n_labels))
    bins = sketch.node("Softmax", sketch.reshape(bins, (0, 4, _DFL_BINS, -1)), axis=2)
    weights = sketch.constant(np.arange(_DFL_BINS, dtype=np.float32).reshape(1, 1, -1, 1))
    distances = sketch.node("ReduceSum", sketch.node("Mul", bins, weights), sketch.ints((2,)), keepdims=0)
    corners = boxes_from_distances(sketch, distances, size_px=size_px)
    return sketch.concat([centres_and_sizes(sketch, corners), sketch.node("Sigmoid", logits)])


def boxes_from_distances(sketch: Sketch, distances: str, *, size_px: int) -> str:
    """Return x1 y1 x2 y2 `(B, 4, N)` in model pixels from the distances, in cells, to left, top, right and bottom."""
    centres, strides = cells(size_px)
    top_left, bottom_right = sketch.split(distances, (2, 2))
    low = sketch.node("Sub", sketch.constant(centres), top_left)
    high = sketch.node("Add", sketch.constant(centres), bottom_right)
    return sketch.node("Mul", sketch.concat([low, high], n_channels=4), sketch.constant(strides))


def centres_and_sizes(sketch: Sketch, corners: str) -> str:
    """Return cx cy w h `(B, 4, N)` of boxes given by their corners."""
    low, high = sketch.split(corners, (2, 2))
    middle = sketch.node("Mul", sketch.node("Add", low, high), sketch.constant(np.float32(0.5)))
    return sketch.concat([middle, sketch.node("Sub", high, low)], n_channels=4)


def cells(size_px: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the grid's cell centres `(1, 2, N)` in cells and strides `(1, 1, N)`, strides 8, 16, 32 in that order."""
    centres, strides = [], []
    for stride in _STRIDES:
        side = size_px // stride
        y, x = np.mgrid[:side, :side].astype(np.float32) + 0.5
        centres.append(np.stack([x.ravel(), y.ravel()]))
        strides.append(np.full(side * side, stride, dtype=np.float32))
    return np.concatenate(centres, axis=1)[None], np.concatenate(strides)[None, None]


def yolov8n_shaped(
    *, size_px: int = 640, n_labels: int = 80, batch: int | None = None, seed: int = 0
) -> onnx.ModelProto:
    """Return the network: 3.2 million parameters, 8.7 GFLOP at 640 px, output `(B, 4 + nc, N)`."""
    sketch = Sketch(size_px=size_px, batch=batch, seed=seed)
    output = _head(sketch, _neck(sketch, *_backbone(sketch)), n_labels=n_labels, size_px=size_px)
    n_cells = sum((size_px // stride) ** 2 for stride in _STRIDES)
    return sketch.model(output, shape=(4 + n_labels, n_cells), metadata=ultralytics_metadata(n_labels))


def main(path: Path) -> None:
    """Write the 640 px network to `path`."""
    onnx.save_model(yolov8n_shaped(), str(path))
