"""A network of three labels at 64 px whose body is convolutions, so that there is something to quantise."""

from onnx import ModelProto

from engines.onnx_sketch import Sketch, ultralytics_metadata

ROWS = (7, 84)
BODY = 3


def small_network() -> ModelProto:
    """`BODY` convolutions, and one at each of three levels that gives boxes and scores; its nodes have no names."""
    sketch = Sketch(size_px=64)
    x, levels = "images", []
    for channels, stride in ((8, 8), (16, 2), (16, 2)):
        x = sketch.conv(x, channels, kernel=3, stride=stride)
        levels.append(sketch.reshape(sketch.conv(x, ROWS[0], is_activated=False), (0, ROWS[0], -1)))
    boxes, kinds = sketch.split(sketch.concat(levels, axis=2), (4, ROWS[0] - 4))
    output = sketch.concat([boxes, sketch.node("Sigmoid", kinds)])
    return sketch.model(output, shape=ROWS, metadata=ultralytics_metadata(3))
