"""A model in parts computes what the whole does, bit for bit, and what cannot be cut is refused with words."""

import hashlib
import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from app.core.errors import ModelError
from app.core.model import Head
from app.settings import ROOT
from engines.cuts import CutCosts
from engines.onnx_sketch import Sketch
from engines.parts import Part, Parts, read_parts
from engines.split import Split, largest_difference, main, split
from engines.sub_model import SubModel, Tensors
from engines.tiny_yolo import tiny_yolo

STREET = (ROOT / "engines/models/street/1.0.0/model.onnx").read_bytes()
YOLO = tiny_yolo(Head.YOLOV8).SerializeToString()


@cache
def street(parts: int, flops_per_byte: float = 400.0) -> Split:
    """The bundled model in parts."""
    return split(STREET, parts=parts, costs=CutCosts(flops_per_byte=flops_per_byte))


def whole_part(made: Split) -> Part:
    """The uncut model as one part."""
    parts = made.parts
    return Part(file="model", sha256="", flops=0, received_bytes=0, takes=parts.inputs, gives=parts.outputs, carries=())


def composed(made: Split, inputs: Tensors) -> Tensors:
    """What the last part gives."""
    tensors = inputs
    for part, data in zip(made.parts.parts, made.data, strict=True):
        tensors = SubModel(data, part).run(tensors)
    return tensors


def assert_equal(data: bytes, made: Split, *, shape: tuple[int, ...], seed: int = 0) -> None:
    (name,) = made.parts.inputs
    inputs = {name: np.random.default_rng(seed).random(shape, np.float32)}
    expected = SubModel(data, whole_part(made)).run(inputs)
    found = composed(made, inputs)
    assert set(found) == set(expected)
    for output, values in expected.items():
        np.testing.assert_array_equal(found[output], values)


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_the_bundled_model_in_parts_computes_the_same_bits(parts: int) -> None:
    made = street(parts)
    assert len(made.data) == parts
    assert_equal(STREET, made, shape=(1, 3, 416, 416))


def test_the_bundled_model_in_parts_takes_any_batch() -> None:
    assert_equal(STREET, street(3), shape=(2, 3, 416, 416))


def random_network(seed: int, *, n_nodes: int, batch: int | None) -> bytes:
    """A network of convolutions, joins, pools and halves, whose skip connections reach any distance."""
    choose = random.Random(seed)
    sketch = Sketch(size_px=16, batch=batch, seed=seed)
    values = [sketch.conv("images", 8, kernel=3)]
    for _ in range(n_nodes):
        value, other = choose.choice(values[-3:]), choose.choice(values)
        kind = choose.randrange(5)
        grown = [
            lambda value=value: sketch.conv(value, 8, kernel=3),
            lambda value=value: sketch.conv(value, 8),
            lambda value=value, other=other: sketch.node("Add", value, other),
            lambda value=value, other=other: sketch.conv(sketch.concat([value, other]), 8),
            lambda value=value: sketch.concat(sketch.split(value, (3, 5))),
        ][kind]
        values.append(grown())
    output = sketch.reshape(sketch.conv(sketch.concat(values[-2:]), 4), (0, 4, -1))
    return sketch.model(output, shape=(4, 256), metadata={"task": "detect"}).SerializeToString()


def most_parts(data: bytes) -> int:
    """Into how many parts this model can be cut, by what it says when asked for too many."""
    with pytest.raises(ModelError) as refused:
        split(data, parts=1000)
    return int(re.search(r"1 to (\d+) parts", refused.value.detail)[1])


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 9), st.sampled_from([None, 2]), st.integers(2, 4))
def test_any_network_in_parts_computes_the_same_bits(seed: int, n_nodes: int, batch: int | None, parts: int) -> None:
    data = random_network(seed, n_nodes=n_nodes, batch=batch)
    made = split(data, parts=min(parts, most_parts(data)), costs=CutCosts(flops_per_byte=1.0))
    assert_equal(data, made, shape=(batch or 3, 3, 16, 16), seed=seed)


@pytest.mark.parametrize("head", Head)
def test_every_kind_of_head_can_be_cut(head: Head) -> None:
    data = tiny_yolo(head).SerializeToString()
    assert largest_difference(data, split(data, parts=3), size_px=64) == 0.0


def test_a_network_of_any_size_keeps_its_free_sides() -> None:
    data = tiny_yolo(Head.YOLOX, size_px=None).SerializeToString()
    made = split(data, parts=2, size_px=64)
    for side_px in (64, 96):
        assert_equal(data, made, shape=(2, 3, side_px, side_px))


def test_parts_that_differ_from_the_whole_are_noticed() -> None:
    made, other = (split(tiny_yolo(Head.YOLOV8, seed=seed).SerializeToString(), parts=2) for seed in (0, 1))
    assert largest_difference(YOLO, replace(made, data=(made.data[0], other.data[1]))) > 0.0


def test_each_part_is_a_valid_model_with_its_own_weights_alone_and_all_metadata() -> None:
    made = street(3)
    whole, parts = onnx.load_model_from_string(STREET), [onnx.load_model_from_string(data) for data in made.data]
    weights = [{weight.name for weight in part.graph.initializer} for part in parts]
    used = [{name for node in part.graph.node for name in node.input} for part in parts]
    for part, held, needed in zip(parts, weights, used, strict=True):
        onnx.checker.check_model(part, full_check=True)
        assert held <= needed
        assert list(part.metadata_props) == list(whole.metadata_props)
        assert list(part.opset_import) == list(whole.opset_import)
    assert set().union(*weights) == {weight.name for weight in whole.graph.initializer}
    assert sum(len(part.graph.node) for part in parts) == len(whole.graph.node)


def test_the_parts_share_the_work() -> None:
    made = street(2)
    flops = [part.flops for part in made.parts.parts]
    assert sum(flops) == sum(part.flops for part in street(4).parts.parts)
    assert sum(flops) == pytest.approx(3.01e9, rel=0.01)
    assert max(flops) < 0.55 * sum(flops)


def test_less_passes_where_bytes_are_dear() -> None:
    cheap, dear = (street(2, flops_per_byte=rate) for rate in (0.0, 1e6))
    received = [made.parts.parts[1].received_bytes for made in (cheap, dear)]
    assert received[1] < received[0]


def test_a_tensor_about_a_shape_passes_instead_of_the_tensor() -> None:
    sketch = Sketch(size_px=16)
    large = sketch.conv("images", 64, kernel=3)
    small = sketch.conv(sketch.node("AveragePool", large, kernel_shape=[16, 16]), 4)
    sizes = sketch.node("Gather", sketch.node("Shape", large), sketch.ints((2, 3)))
    wide = sketch.node("Expand", small, sketch.node("Concat", sketch.ints((1, 4)), sizes, axis=0))
    data = sketch.model(sketch.reshape(wide, (0, 4, -1)), shape=(4, 256), metadata={}).SerializeToString()
    made = split(data, parts=2)
    assert made.parts.parts[1].received_bytes == 4 * 64 + 8 * 4
    assert_equal(data, made, shape=(2, 3, 16, 16))


def model_of(
    nodes: Sequence[onnx.NodeProto], weights: Sequence[TensorProto] = (), *, output: str = "out"
) -> onnx.ModelProto:
    """A model of these nodes, `x` in and `out` out."""
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", 4])],
        list(weights),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


SQUARE = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
PRODUCTS = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("MatMul", ["y", "w"], ["out"])]


def controlled() -> onnx.ModelProto:
    branches = [
        helper.make_graph(
            [helper.make_node("Identity", ["y"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4])],
        )
        for name in ("yes", "no")
    ]
    truth = numpy_helper.from_array(np.array(True), "truth")
    choice = helper.make_node("If", ["truth"], ["out"], then_branch=branches[0], else_branch=branches[1])
    return model_of([PRODUCTS[0], choice], [SQUARE, truth])


def foreign() -> onnx.ModelProto:
    model = model_of([PRODUCTS[0], helper.make_node("Gelu", ["y"], ["out"], domain="com.microsoft")], [SQUARE])
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def chance() -> onnx.ModelProto:
    return model_of([PRODUCTS[0], helper.make_node("RandomNormalLike", ["y"], ["out"])], [SQUARE])


def elsewhere() -> onnx.ModelProto:
    weight = TensorProto()
    weight.CopyFrom(SQUARE)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../outside.bin")
    return model_of(PRODUCTS, [weight])


def contradicting() -> onnx.ModelProto:
    return model_of(PRODUCTS, [numpy_helper.from_array(np.eye(3, dtype=np.float32), "w")])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (controlled(), "control flow"),
        (foreign(), "not one of ONNX's own"),
        (chance(), "random"),
        (elsewhere(), "weights in other files"),
        (contradicting(), "contradict each other"),
        (model_of([helper.make_node("MatMul", ["y", "w"], ["out"])], [SQUARE]), "not a valid ONNX model"),
        (model_of([helper.make_node("Relu", ["x"], ["out"])]), "into 1 to 1 parts, not 2"),
        (model_of(PRODUCTS, [SQUARE], output="w"), "computed by no node"),
    ],
)
def test_what_cannot_be_cut_is_refused_with_words(model: onnx.ModelProto, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        split(model.SerializeToString(), parts=2)


@pytest.mark.parametrize("parts", [-1, 0, 4, 1000])
def test_a_number_of_parts_that_there_cannot_be_is_refused(parts: int) -> None:
    with pytest.raises(ModelError, match=f"can be cut into 1 to 3 parts, not {parts}"):
        split(YOLO, parts=parts)


def test_what_is_no_onnx_is_refused() -> None:
    with pytest.raises(ModelError, match="not an ONNX model"):
        split(b"\xff" * 100, parts=2)


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    made = split(YOLO, parts=3)
    made.write(tmp_path / "parts")
    found = read_parts(tmp_path / "parts")
    assert found == made.parts
    assert found.whole_sha256 == hashlib.sha256(YOLO).hexdigest()
    assert tuple(found.read(rank, tmp_path / "parts") for rank in range(3)) == made.data


def test_a_part_that_is_not_the_one_described_is_refused(tmp_path: Path) -> None:
    made = split(YOLO, parts=2)
    made.write(tmp_path)
    (tmp_path / "part-1.onnx").write_bytes(made.data[0])
    with pytest.raises(ModelError, match=r"part-1\.onnx is not the file"):
        read_parts(tmp_path).read(1, tmp_path)
    (tmp_path / "part-1.onnx").unlink()
    with pytest.raises(ModelError, match=r"no readable part-1\.onnx"):
        read_parts(tmp_path).read(1, tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "schema"),
        ({"parts": []}, "do not give"),
        ({"parts": [1]}, "list of objects"),
        ({"outputs": "output0"}, "list of names"),
        ({"outputs": ["other"]}, "do not give"),
        ({"inputs": []}, "no part before it"),
        ({"whole_sha256": 3}, "must be a text"),
        ({"part": {"file": "../part-1.onnx"}}, "no part"),
        ({"part": {"file": "/part-1.onnx"}}, "no part"),
        ({"part": {"flops": True}}, "whole number"),
        ({"part": {"takes": ["missing"]}}, "no part before it"),
    ],
)
def test_an_index_that_is_broken_or_hostile_is_refused(tmp_path: Path, change: dict, words: str) -> None:
    split(YOLO, parts=2).write(tmp_path)
    content = json.loads((tmp_path / "split.json").read_text())
    content["parts"][1] |= change.pop("part", {})
    (tmp_path / "split.json").write_text(json.dumps(content | change))
    with pytest.raises(ModelError, match=words):
        read_parts(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_an_index_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelError, match="no readable"):
        read_parts(tmp_path)
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(ModelError, match=r"JSON|schema"):
        read_parts(tmp_path)


def test_parts_that_do_not_follow_each_other_are_no_model() -> None:
    parts = split(YOLO, parts=2).parts
    with pytest.raises(ModelError):
        Parts(whole_sha256="", inputs=parts.inputs, outputs=parts.outputs, parts=parts.parts[::-1])


def test_a_part_without_its_tensors_says_so() -> None:
    made = split(YOLO, parts=2)
    with pytest.raises(ModelError, match=r"part-1\.onnx was not given"):
        SubModel(made.data[1], made.parts.parts[1]).run({})


def test_the_command_says_what_came_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.onnx").write_bytes(YOLO)
    command = [str(tmp_path / "model.onnx"), "--size-px", "64"]
    assert main([*command, "--parts", "2", "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["part", "part-0.onnx", "part-1.onnx", "at", "equal"]
    assert len(read_parts(tmp_path / "out").parts) == 2
    assert main([*command, "--parts", "9", "--out", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err == "this model can be cut into 1 to 3 parts, not 9\n"
    assert not (tmp_path / "none").exists()
    assert main([*command[1:], str(tmp_path / "no-model.onnx"), "--parts", "2", "--out", str(tmp_path / "none")]) == 1
