"""A pencil for ONNX graphs: each call adds a node with random or given weights and returns its output's name."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

_OPSET = 18
_IR_VERSION = 8


class Sketch:
    """A graph in the making, input `images` `(B, 3, size, size)`; the same seed gives the same weights.

    `batch` None leaves the batch free, `size_px` None height and width.
    """

    def __init__(self, *, size_px: int | None, batch: int | None = None, seed: int = 0) -> None:
        self._size_px = size_px
        self._batch: int | str = "batch" if batch is None else batch
        self._random = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._channels = {"images": 3}

    def _name(self, kind: str) -> str:
        return f"{kind}_{len(self._nodes)}_{len(self._weights)}"

    def constant(self, value: NDArray[Any] | np.generic) -> str:
        """Return the name of a stored array."""
        name = self._name("w")
        self._weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def ints(self, values: Sequence[int]) -> str:
        """Return the name of a stored int64 vector."""
        return self.constant(np.asarray(values, dtype=np.int64))

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Return the output of one more node; it is taken to have the channels of its first input."""
        output = self._name(kind.lower())
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        self._channels[output] = self._channels.get(inputs[0], 0)
        return output

    def conv(
        self,
        x: str,
        channels: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        is_activated: bool = True,
        bias: float = 0.0,
        gain: float = 1.7,
    ) -> str:
        """Return `x` convolved to `channels`, He-scaled weights so that SiLU keeps the variance, SiLU if activated."""
        fan_in = self._channels[x] * kernel * kernel
        shape = (channels, self._channels[x], kernel, kernel)
        weight = self._random.normal(0, gain / np.sqrt(fan_in), shape).astype(np.float32)
        biases = np.full(channels, bias, dtype=np.float32)
        pads = [kernel // 2] * 4
        strides, kernels = [stride, stride], [kernel, kernel]
        inputs = (x, self.constant(weight), self.constant(biases))
        output = self.node("Conv", *inputs, kernel_shape=kernels, pads=pads, strides=strides)
        self._channels[output] = channels
        return self.node("Mul", output, self.node("Sigmoid", output)) if is_activated else output

    def split(self, x: str, sizes: Sequence[int], *, axis: int = 1) -> list[str]:
        """Return the parts of `x` along the axis."""
        outputs = [self._name(f"split{index}") for index in range(len(sizes))]
        self._nodes.append(helper.make_node("Split", [x, self.ints(sizes)], outputs, axis=axis))
        self._channels.update(zip(outputs, sizes, strict=True))
        return outputs

    def concat(self, parts: Sequence[str], *, axis: int = 1, n_channels: int | None = None) -> str:
        """Return the parts joined along the axis; `n_channels` where the parts' own counts are not known."""
        output = self.node("Concat", *parts, axis=axis)
        if axis == 1:
            self._channels[output] = n_channels or sum(self._channels[part] for part in parts)
        return output

    def top_rows(self, scores: str, count: int) -> str:
        """Return `(B, count)` indices of the best scores `(B, N)`, best first."""
        values, order = self._name("top"), self._name("order")
        self._nodes.append(helper.make_node("TopK", [scores, self.ints((count,))], [values, order], axis=1))
        return order

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """Return `x` in another shape; 0 keeps a dimension, -1 takes the rest."""
        return self.node("Reshape", x, self.ints(shape))

    def upsample(self, x: str) -> str:
        """Return `x` at twice the size, nearest neighbour."""
        scales = self.constant(np.array([1, 1, 2, 2], dtype=np.float32))
        modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.node("Resize", x, "", scales, **modes)

    def model(self, output: str, *, shape: Sequence[int | None], metadata: Mapping[str, str]) -> onnx.ModelProto:
        """Return the checked model whose output is declared as `(B, *shape)`."""
        self._nodes.append(helper.make_node("Identity", [output], ["output0"]))
        sides = ("height", "width") if self._size_px is None else (self._size_px, self._size_px)
        row = ["anchors" if size is None else size for size in shape]
        graph = helper.make_graph(
            self._nodes,
            "sketch",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, [self._batch, 3, *sides])],
            [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [self._batch, *row])],
            self._weights,
        )
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="sightline")
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model)
        return model


def ultralytics_metadata(n_labels: int, **more: str) -> dict[str, str]:
    """Return what Ultralytics writes into a detection model's file, as far as it is read here."""
    names = {index: f"kind{index}" for index in range(n_labels)}
    return {"names": repr(names), "task": "detect", "stride": "32", **more}
