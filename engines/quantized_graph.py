"""Smaller precisions of a model as graphs of their own: float16 weights, or int8 between explicit Q and DQ nodes.

TensorRT 11 computes in what the graph says, and takes only symmetric quantisation: zero points 0, signed int8, no
quantised bias. Needs `onnx`: it runs where models are made. Source: NVIDIA, Working with Quantized Types; Ultralytics
for what stays float (the head's output convolutions).
"""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from app.core.errors import ModelError
from app.core.frame import Frame, FrameRef, Pixels
from app.core.model import ModelSpec
from app.vision.letterbox import fit
from engines import telemetry
from engines.model_file import ModelFile

telemetry.switch_off()

from onnxruntime.quantization import (  # noqa: E402
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: E402
from onnxruntime.transformers.onnx_model import OnnxModel  # noqa: E402


def to_fp16(file: ModelFile) -> onnx.ModelProto:
    """Return the model with float16 weights; inputs and outputs stay float32."""
    model = OnnxModel(convert_float_to_float16(onnx.load_from_string(file.data), keep_io_types=True))
    model.topological_sort()  # the conversion appends its casts at the end, and ONNX wants them before their use
    return described_as(model.model, file)


def to_int8(file: ModelFile, pictures: Iterable[Pixels]) -> onnx.ModelProto:
    """Return the model with int8 convolutions: weights by channel, activations by tensor, ranges from the pictures.

    The pictures `(h, w, 3)` RGB go through the letterbox and the scaling that serve. ModelError where nothing would be
    quantised.
    """
    model = onnx.load_from_string(file.data)
    name_nodes(model.graph)
    kept = head_convolutions(model.graph)
    if not any(node.op_type == "Conv" and node.name not in kept for node in model.graph.node):
        raise ModelError("this model has no convolutions that could be quantised")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.onnx"
        quantize_static(
            model,
            target,
            _Calibration(file, pictures),
            quant_format=QuantFormat.QDQ,
            calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=kept,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
        )
        return described_as(onnx.load(target), file)


def name_nodes(graph: onnx.GraphProto) -> None:
    """Give every node a name, which is optional: what is left out is told by it."""
    for number, node in enumerate(graph.node):
        node.name = node.name or f"node_{number}"


def head_convolutions(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the convolutions whose outputs are boxes and scores; every node has a name of its own.

    They are the last ones before the output; one to a single channel (the mean of a distribution of distances) has
    others before it that count too. What only asks for a shape does not lead to them.
    """
    made_by = {output: node for node in graph.node for output in node.output}
    channels = {weight.name: weight.dims[0] for weight in graph.initializer if len(weight.dims) > 1}
    found: dict[str, None] = {}
    seen: set[str] = set()
    waiting = [output.name for output in graph.output]
    while waiting:
        node = made_by.get(waiting.pop())
        if node is None or node.output[0] in seen:
            continue
        seen.add(node.output[0])
        is_output = node.op_type == "Conv"
        if is_output:
            found[node.name] = None
        is_mean = is_output and channels.get(node.input[1]) == 1
        if node.op_type != "Shape" and (is_mean or not is_output):
            waiting.extend(node.input)
    return list(found)


def network_input(picture: Pixels, spec: ModelSpec) -> NDArray[np.float32]:
    """Return the picture as the network is fed, `(1, 3, H, W)`: letterboxed and scaled as when it is served."""
    height_px, width_px = picture.shape[:2]
    frame = Frame(
        rgb=picture, source_width_px=width_px, source_height_px=height_px, ref=FrameRef(stream_id="calibration", seq=0)
    )
    canvas = fit(frame, width_px=spec.input_width_px, height_px=spec.input_height_px).canvases[0]
    ordered = canvas if spec.channel_order == "rgb" else canvas[..., ::-1]
    return np.ascontiguousarray(ordered.transpose(2, 0, 1)[None]) * np.float32(spec.scale)


class _Calibration(CalibrationDataReader):  # type: ignore[misc] # onnxruntime has no types
    """Pictures as the network is fed, one after the other."""

    def __init__(self, file: ModelFile, pictures: Iterable[Pixels]) -> None:
        self._inputs: Iterator[dict[str, NDArray[np.float32]]] = (
            {file.input_name: np.repeat(network_input(picture, file.spec), file.static_batch or 1, axis=0)}
            for picture in pictures
        )

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next picture, None after the last."""
        return next(self._inputs, None)


def described_as(model: onnx.ModelProto, file: ModelFile) -> onnx.ModelProto:
    """Return the model with the metadata of the one that it was made from: tools drop it, and classes stand there."""
    original = onnx.load_from_string(file.data)
    del model.metadata_props[:]
    model.metadata_props.extend(original.metadata_props)
    onnx.checker.check_model(model)
    return model
