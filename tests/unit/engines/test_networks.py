"""The networks made for tests and load are what they claim to be."""

import numpy as np
import onnx
import pytest

from app.core.model import Head
from engines.random_yolo import yolov8n_shaped
from engines.tiny_yolo import tiny_yolo


def multiply_adds(model: onnx.ModelProto):
    """Multiplications of all convolutions for one picture."""
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in inferred.graph.value_info
    }
    weights = {weight.name: list(weight.dims) for weight in model.graph.initializer}
    return sum(
        int(np.prod(weights[node.input[1]])) * int(np.prod(shapes[node.output[0]][2:]))
        for node in model.graph.node
        if node.op_type == "Conv"
    )


def test_the_random_network_has_the_size_of_yolov8n() -> None:
    model = yolov8n_shaped(batch=1)
    parameters = sum(int(np.prod(weight.dims)) for weight in model.graph.initializer)
    assert parameters == pytest.approx(3.15e6, rel=0.03)
    assert 2 * multiply_adds(model) == pytest.approx(8.7e9, rel=0.03)
    assert [size.dim_value for size in model.graph.output[0].type.tensor_type.shape.dim] == [1, 84, 8400]


@pytest.mark.parametrize("head", Head)
def test_the_same_seed_gives_the_same_network(head: Head) -> None:
    assert tiny_yolo(head, seed=3) == tiny_yolo(head, seed=3)
    assert tiny_yolo(head, seed=3) != tiny_yolo(head, seed=4)
