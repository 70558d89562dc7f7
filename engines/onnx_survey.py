"""What an ONNX graph's nodes cost and what passes between them, found without running it; needs `onnx`."""

from dataclasses import dataclass
from math import prod

import onnx
from onnx import ModelProto, NodeProto, TensorProto

from app.core.errors import ModelError
from engines.onnx_header import read_header
from engines.onnx_sizes import Tensor, tensors_of

_STANDARD_DOMAINS = {"", "ai.onnx"}
_RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
_ABOUT_SHAPE = {"Shape", "Size"}
"""Their answer is a few numbers: asked for at once, it passes a cut in the place of the tensor that it is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """`order` is the graph's nodes as they are to run, without those of `constants`, by output, that need no input.

    `flops[i]` belongs to `order[i]`: two for each multiplication of Conv, ConvTranspose, Gemm and MatMul.
    """

    model: ModelProto
    order: tuple[NodeProto, ...]
    constants: dict[str, NodeProto]
    tensors: dict[str, Tensor]
    flops: tuple[int, ...]

    def lives(self) -> dict[str, tuple[int, int]]:
        """Return for each value from which place in the order it is there (inputs: 0) to the last place needing it."""
        stored = {weight.name for weight in self.model.graph.initializer}
        first = {value.name: 0 for value in self.model.graph.input if value.name not in stored}
        first |= {name: place + 1 for place, node in enumerate(self.order) for name in node.output if name}
        last: dict[str, int] = {}
        for place, node in enumerate(self.order):
            last |= {name: place for name in node.input if name in first}
        last |= {value.name: len(self.order) for value in self.model.graph.output}
        return {name: (first[name], place) for name, place in last.items()}


def read_graph(data: bytes) -> ModelProto:
    """Return the model in these bytes, checked; a ModelError says why it cannot be cut."""
    read_header(data)
    try:
        model = onnx.load_model_from_string(data)
        _refuse(model)
        onnx.checker.check_model(model)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError("this file is not a valid ONNX model") from error
    return model


def _refuse(model: ModelProto) -> None:
    """Raise a ModelError for what cannot be cut into parts that compute the same."""
    graph = model.graph
    if graph.sparse_initializer:
        raise ModelError("this model has sparse weights, which cannot be cut")
    for node in graph.node:
        _refuse_node(node)
    made = {name for node in graph.node for name in node.output}
    for value in [*graph.input, *graph.output]:
        if not value.type.HasField("tensor_type"):
            raise ModelError(f"{value.name} is no tensor")
    for value in graph.output:
        if value.name not in made:
            raise ModelError(f"the output {value.name} is computed by no node")


def _refuse_node(node: NodeProto) -> None:
    """Raise a ModelError for a node whose part would not compute the same, or not be understood here."""
    if any(attribute.type in {attribute.GRAPH, attribute.GRAPHS} for attribute in node.attribute):
        raise ModelError(f"this model has control flow ({node.op_type}), which cannot be cut")
    if node.domain not in _STANDARD_DOMAINS:
        raise ModelError(f"the operator {node.op_type} of {node.domain} is not one of ONNX's own")
    if node.op_type in _RANDOM:
        raise ModelError(f"{node.op_type} is random: the parts would not compute what the whole does")
    if any(attribute.t.data_location == TensorProto.EXTERNAL for attribute in node.attribute):
        raise ModelError("this model keeps constants in other files; export it as one file")


def survey(model: ModelProto, *, size_px: int) -> Survey:
    """Return what the graph's parts cost for one picture; `size_px` stands for sides that the graph leaves free."""
    tensors = tensors_of(model, size_px=size_px)
    constants = _constants(model)
    order = tuple(_ordered(model, constants))
    flops = tuple(_flops(node, tensors) for node in order)
    return Survey(model=model, order=order, constants=constants, tensors=tensors, flops=flops)


def _constants(model: ModelProto) -> dict[str, NodeProto]:
    """Return the nodes whose value follows from the weights alone, by output; a part that needs one has its own."""
    known = {weight.name for weight in model.graph.initializer}
    outputs = {value.name for value in model.graph.output}
    constants: dict[str, NodeProto] = {}
    for node in model.graph.node:
        if all(name in known for name in node.input if name) and not outputs.intersection(node.output):
            known.update(node.output)
            constants |= {name: node for name in node.output if name}
    return constants


def _ordered(model: ModelProto, constants: dict[str, NodeProto]) -> list[NodeProto]:
    """Return the nodes that compute, each as late as its first user allows, but questions about a shape at once.

    Exporters write branches level by level, with everything alive at once; here a branch is finished before the next
    is begun. Source: post-order depth-first search from the outputs.
    """
    makers = {name: node for node in model.graph.node for name in node.output if name and name not in constants}
    asking: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        if node.op_type in _ABOUT_SHAPE and key(node) in makers:
            asking.setdefault(node.input[0], []).append(node)
    order: dict[str, NodeProto] = {}
    for value in model.graph.input:
        order |= {key(question): question for question in asking.get(value.name, ())}
    waiting = [makers[value.name] for value in reversed(model.graph.output)]
    while waiting:
        node = waiting[-1]
        needed = [makers[name] for name in node.input if name in makers and key(makers[name]) not in order]
        if needed and key(node) not in order:
            waiting.extend(reversed(needed))
            continue
        waiting.pop()
        order.setdefault(key(node), node)
        for question in (question for name in node.output for question in asking.get(name, ())):
            order.setdefault(key(question), question)
    return list(order.values())


def key(node: NodeProto) -> str:
    """Return the name of the node's first output that has one: no two nodes share it."""
    return next(name for name in node.output if name)


def _flops(node: NodeProto, tensors: dict[str, Tensor]) -> int:
    """Return the node's FLOPs for one picture, 0 for a kind that is not counted."""
    if node.op_type not in {"Conv", "ConvTranspose", "Gemm", "MatMul"}:
        return 0
    left, weight, output = (tensors[name].shape for name in (node.input[0], node.input[1], node.output[0]))
    match node.op_type:
        case "Conv":
            return 2 * prod(output) * prod(weight[1:])
        case "ConvTranspose":
            return 2 * prod(left) * prod(weight[1:])
        case "Gemm":
            is_transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
            return 2 * prod(output) * left[0 if is_transposed else 1]
        case _:
            return 2 * prod(output) * left[-1]
