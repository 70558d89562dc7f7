"""`python -m engines.split MODEL --parts K --out DIR`: cuts an ONNX model into parts that compute what the whole does.

The parts run one behind the other, each on a GPU of its own. Where they are cut: `engines/cuts.py` says what is made
small. Needs `onnx`, so it is run where models are made; who serves the parts reads `split.json` alone.
"""

import argparse
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper

from app.core.errors import ModelError
from engines.cuts import CutCosts, choose_cuts
from engines.model_file import DEFAULT_SIDE_PX
from engines.onnx_survey import Survey, key, read_graph, survey
from engines.parts import Part, Parts
from engines.sub_model import SubModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The index of a model's parts and their bytes, in order."""

    parts: Parts
    data: tuple[bytes, ...]

    def write(self, folder: Path) -> None:
        """Write the parts, then their index, so that an index never describes what is not there."""
        folder.mkdir(parents=True, exist_ok=True)
        for part, data in zip(self.parts.parts, self.data, strict=True):
            (folder / part.file).write_bytes(data)
        self.parts.write(folder)


def split(data: bytes, *, parts: int, size_px: int = DEFAULT_SIDE_PX, costs: CutCosts | None = None) -> Split:
    """Return the model of these bytes in so many parts; `size_px` stands for sides that the graph leaves free.

    Every part computes something that is counted (a convolution or a matrix product). ModelError when there are too few
    of these, or when the graph cannot be cut: control flow, operators that are not ONNX's own, weights elsewhere.
    """
    model = read_graph(data)
    found = survey(model, size_px=size_px)
    lives = found.lives()
    borders, flops = _borders(found, lives)
    if not 1 <= parts <= len(flops):
        raise ModelError(f"this model can be cut into 1 to {max(len(flops), 1)} parts, not {parts}")
    crossing = [_crossing_bytes(found, lives, border) for border in borders]
    cuts = [borders[cut] for cut in choose_cuts(flops, crossing, stages=parts, costs=costs or CutCosts())]
    made = [
        _part(found, lives, rank=rank, begin=begin, end=end)
        for rank, (begin, end) in enumerate(zip([0, *cuts], [*cuts, len(found.order)], strict=True))
    ]
    stored = {weight.name for weight in model.graph.initializer}
    index = Parts(
        whole_sha256=hashlib.sha256(data).hexdigest(),
        inputs=tuple(value.name for value in model.graph.input if value.name not in stored),
        outputs=tuple(value.name for value in model.graph.output),
        parts=tuple(part for part, _ in made),
    )
    return Split(parts=index, data=tuple(content for _, content in made))


def _borders(found: Survey, lives: dict[str, tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Return the places in the order worth cutting at, and the FLOPs between them.

    Between two nodes that are counted every place divides the work alike, so only the one where least passes is left:
    the fewest bytes, then tensors, then the last, as an activation belongs with its convolution and is computed in one
    go with it. A value that is no tensor or of unknown size cannot pass.
    """
    counted = [place for place, cost in enumerate(found.flops) if cost]
    if not counted:
        return [], [sum(found.flops)]
    borders, flops, done = [], [], 0
    for earlier, later in pairwise(counted):
        done += found.flops[earlier]
        places = [
            place
            for place in range(earlier + 1, later + 1)
            if all(name in found.tensors for name in _crossing(lives, place))
        ]
        if places:
            cheapest = min(
                places, key=lambda place: (_crossing_bytes(found, lives, place), len(_crossing(lives, place)), -place)
            )
            borders.append(cheapest)
            flops.append(done)
            done = 0
    return borders, [*flops, done + found.flops[counted[-1]]]


def _crossing(lives: dict[str, tuple[int, int]], border: int) -> list[str]:
    """Return the values that are there before the node at `border` and needed from it on."""
    return [name for name, (first, last) in lives.items() if first <= border <= last]


def _crossing_bytes(found: Survey, lives: dict[str, tuple[int, int]], border: int) -> int:
    return sum(found.tensors[name].bytes for name in _crossing(lives, border))


def _part(found: Survey, lives: dict[str, tuple[int, int]], *, rank: int, begin: int, end: int) -> tuple[Part, bytes]:
    """Return the part of the nodes `begin` to `end`, exclusive, and its checked ONNX."""
    nodes = found.order[begin:end]
    received = _crossing(lives, begin)
    sent = _crossing(lives, end)
    made = {name for node in nodes for name in node.output}
    used = {name for node in nodes for name in node.input}
    part = Part(
        file=f"part-{rank}.onnx",
        sha256="",
        flops=sum(found.flops[begin:end]),
        received_bytes=sum(found.tensors[name].bytes for name in received) if rank else 0,
        takes=tuple(name for name in received if name in used),
        gives=tuple(name for name in sent if name in made),
        carries=tuple(name for name in sent if name not in made),
    )
    data = _model(found, [*_constants(found, nodes), *nodes], part).SerializeToString()
    return replace(part, sha256=hashlib.sha256(data).hexdigest()), data


def _constants(found: Survey, nodes: Sequence[NodeProto]) -> Iterator[NodeProto]:
    """Yield the nodes that follow from the weights alone and that these nodes need, in the order of the graph."""
    needed: set[str] = set()
    waiting = [name for node in nodes for name in node.input]
    while waiting:
        maker = found.constants.get(waiting.pop())
        if maker is not None and key(maker) not in needed:
            needed.add(key(maker))
            waiting.extend(maker.input)
    return (node for node in found.model.graph.node if key(node) in needed)


def _model(found: Survey, nodes: Sequence[NodeProto], part: Part) -> ModelProto:
    """Return the part as a model: its own weights alone, the whole's inputs and outputs declared as they were."""
    whole = found.model
    used = {name for node in nodes for name in node.input}
    declared = {value.name: value for value in (*whole.graph.input, *whole.graph.output)}
    graph = helper.make_graph(
        nodes,
        f"{whole.graph.name}, {part.file}",
        [declared.get(name) or found.tensors[name].declaration() for name in part.takes],
        [declared.get(name) or found.tensors[name].declaration() for name in part.gives],
        [weight for weight in whole.graph.initializer if weight.name in used],
    )
    model = helper.make_model(
        graph, opset_imports=whole.opset_import, ir_version=whole.ir_version, producer_name=whole.producer_name
    )
    model.metadata_props.extend(whole.metadata_props)
    onnx.checker.check_model(model, full_check=True)
    return model


def largest_difference(data: bytes, made: Split, *, size_px: int = DEFAULT_SIDE_PX) -> float:
    """Return by how much the parts' outputs differ from the whole's on random inputs, in ONNX Runtime; 0.0: equal."""
    whole = read_graph(data)
    inputs = {}
    for value in whole.graph.input:
        if value.name not in made.parts.inputs:
            continue
        sizes = [
            size.dim_value or (size_px if place else 1) for place, size in enumerate(value.type.tensor_type.shape.dim)
        ]
        kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        inputs[value.name] = np.random.default_rng(0).random(sizes).astype(kind)
    names = (made.parts.inputs, made.parts.outputs)
    alone = Part(file="model", sha256="", flops=0, received_bytes=0, takes=names[0], gives=names[1], carries=())
    expected = SubModel(data, alone).run(inputs)
    tensors = dict(inputs)
    for part, content in zip(made.parts.parts, made.data, strict=True):
        tensors = SubModel(content, part).run(tensors)
    differences = [np.abs(expected[name].astype(np.float64) - tensors[name].astype(np.float64)) for name in expected]
    return max(float(difference.max(initial=0.0)) for difference in differences)


def _table(made: Split, costs: CutCosts) -> Iterator[str]:
    """Yield one line a part, its share of the FLOPs and what comes to it, and what the whole can gain at most."""
    whole_flops = sum(part.flops for part in made.parts.parts)
    yield f"{'part':14} {'FLOPs':>10} {'share':>7} {'receives':>12} {'tensors':>8} {'file':>12}"
    for part, data in zip(made.parts.parts, made.data, strict=True):
        count = len({*part.takes, *part.carries})
        share = part.flops / whole_flops if whole_flops else 1.0
        yield (
            f"{part.file:14} {part.flops / 1e9:8.3f} G {share:7.1%} {part.received_bytes / 1e6:9.3f} MB {count:8}"
            f" {len(data) / 1e6:9.3f} MB"
        )
    passed = [*(part.received_bytes for part in made.parts.parts), 0]
    slowest = max(
        part.flops + costs.flops_per_byte * sum(passed[rank : rank + 2]) for rank, part in enumerate(made.parts.parts)
    )
    if slowest:
        gain, rate = whole_flops / slowest, costs.flops_per_byte
        yield f"at most {gain:.2f} times the pictures/s of one GPU, if a byte costs {rate:g} FLOPs"


def main(arguments: Sequence[str] | None = None) -> int:
    """Cut, compare with the whole, write, and print a line a part."""
    parser = argparse.ArgumentParser(prog="python -m engines.split", description=__doc__)
    parser.add_argument("model", type=Path, help="an ONNX file that holds its own weights")
    parser.add_argument("--parts", type=int, required=True, metavar="K", help="how many parts: one a GPU")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write them into")
    parser.add_argument("--size-px", type=int, default=DEFAULT_SIDE_PX, help="sides that the graph leaves free")
    parser.add_argument("--flops-per-byte", type=float, default=CutCosts().flops_per_byte, help="what a byte costs")
    given = parser.parse_args(arguments)
    try:
        data = given.model.read_bytes()
        costs = CutCosts(flops_per_byte=given.flops_per_byte)
        made = split(data, parts=given.parts, size_px=given.size_px, costs=costs)
        difference = largest_difference(data, made, size_px=given.size_px)
        made.write(given.out)
    except (ModelError, OSError) as error:
        print(error.detail if isinstance(error, ModelError) else error, file=sys.stderr)  # noqa: T201
        return 1
    for line in _table(made, costs):
        print(line)  # noqa: T201
    print("equal to the whole, bit for bit" if difference == 0 else f"differs from the whole by up to {difference:g}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
