"""A model file and its card become one specification, or an error that says what is wrong."""

import hashlib
import json
from pathlib import Path

import onnx
import pytest

from app.core.errors import ModelError
from app.core.model import Head
from engines.model_file import read_model_file
from engines.onnx_sketch import Sketch
from engines.tiny_yolo import tiny_yolo


def store(folder: Path, model: onnx.ModelProto, *, name: str = "model.onnx"):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def store_with_card(folder: Path, model: onnx.ModelProto, *, card: dict[str, object]):
    (folder / "card.json").write_text(json.dumps(card))
    return store(folder, model)


@pytest.mark.parametrize("head", [Head.YOLOV8, Head.YOLOV5, Head.END_TO_END])
def test_an_ultralytics_file_explains_itself(head: Head, tmp_path: Path) -> None:
    spec = read_model_file(store(tmp_path, tiny_yolo(head))).spec
    assert (spec.head, spec.labels) == (head, ("kind0", "kind1", "kind2"))
    assert (spec.input_width_px, spec.input_height_px, spec.max_batch) == (64, 64, None)
    assert (spec.scale, spec.channel_order) == (1 / 255, "rgb")


def test_a_yolox_file_is_fed_plain_bgr_bytes_and_numbers_its_classes(tmp_path: Path) -> None:
    spec = read_model_file(store(tmp_path, tiny_yolo(Head.YOLOX))).spec
    assert (spec.head, spec.labels) == (Head.YOLOX, ("class_0", "class_1", "class_2"))
    assert (spec.scale, spec.channel_order) == (1.0, "bgr")


def test_the_card_says_what_the_file_cannot(tmp_path: Path) -> None:
    model = tiny_yolo(Head.YOLOX, size_px=None)
    card = {
        "name": "harbour",
        "version": "2.1.0",
        "labels": ["ship", "buoy", "gull"],
        "head": {"kind": "yolox"},
        "sha256": hashlib.sha256(model.SerializeToString()).hexdigest(),
        "input": {"width_px": 320, "height_px": 256, "colour": "RGB", "range": [0, 1]},
        "mAP50": 0.9,
    }
    spec = read_model_file(store_with_card(tmp_path, model, card=card)).spec
    assert (spec.name, spec.version, spec.labels) == ("harbour", "2.1.0", ("ship", "buoy", "gull"))
    assert (spec.input_width_px, spec.input_height_px, spec.scale, spec.channel_order) == (320, 256, 1 / 255, "rgb")


def test_a_free_size_is_640_unless_the_export_says_otherwise(tmp_path: Path) -> None:
    model = tiny_yolo(Head.YOLOX, size_px=None)
    card = {"head": {"kind": "yolox"}}
    assert read_model_file(store_with_card(tmp_path, model, card=card)).spec.input_width_px == 640
    entry = model.metadata_props.add()
    entry.key, entry.value = "imgsz", "[384, 512]"
    spec = read_model_file(store_with_card(tmp_path, model, card=card)).spec
    assert (spec.input_height_px, spec.input_width_px) == (384, 512)


def test_name_and_version_come_from_the_folders(tmp_path: Path) -> None:
    spec = read_model_file(store(tmp_path / "street" / "1.2.3", tiny_yolo(Head.YOLOV8))).spec
    assert (spec.name, spec.version) == ("street", "1.2.3")
    spec = read_model_file(store(tmp_path / "loose", tiny_yolo(Head.YOLOV8), name="yolov8n.onnx")).spec
    assert (spec.name, spec.version) == ("yolov8n", "0.0.0")


def test_a_static_batch_is_told(tmp_path: Path) -> None:
    file = read_model_file(store(tmp_path, tiny_yolo(Head.YOLOV8, batch=4)))
    assert (file.static_batch, file.spec.max_batch) == (4, 4)


def test_another_file_than_the_card_describes_is_refused(tmp_path: Path) -> None:
    path = store_with_card(tmp_path, tiny_yolo(Head.YOLOV8), card={"sha256": "0" * 64})
    with pytest.raises(ModelError, match="SHA-256"):
        read_model_file(path)


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "one object"),
        ('{"name": 3}', '"name".*type'),
        ('{"labels": "car"}', '"labels".*type'),
        ('{"input": 640}', '"input".*type'),
        ('{"input": {"width_px": true}}', '"width_px".*type'),
        ('{"input": {"range": [0, 2]}}', '"range".*must be'),
        ('{"input": {"colour": "GRB"}}', '"colour".*must be'),
        ('{"head": "yolox"}', '"head".*type'),
        (" " * 2_000_000, "larger"),
    ],
)
def test_a_broken_card_is_refused(card: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(card)
    with pytest.raises(ModelError, match=words):
        read_model_file(tmp_path / "model.onnx")


def test_a_file_that_is_not_there_is_an_error_without_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no readable model file absent\.onnx") as caught:
        read_model_file(tmp_path / "absent.onnx")
    assert str(tmp_path) not in caught.value.detail


def test_a_classifier_is_refused_with_what_was_found(tmp_path: Path) -> None:
    sketch = Sketch(size_px=64)
    output = sketch.node("Flatten", sketch.node("GlobalAveragePool", sketch.conv("images", 10)))
    with pytest.raises(ModelError, match=r"\(\?, 10\)"):
        read_model_file(store(tmp_path, sketch.model(output, shape=(10,), metadata={})))


def test_a_canvas_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    model = tiny_yolo(Head.YOLOX, size_px=None)
    with pytest.raises(ModelError, match="99999 px"):
        read_model_file(store_with_card(tmp_path, model, card={"input": {"width_px": 99_999}}))


def test_free_sizes_without_class_names_are_refused(tmp_path: Path) -> None:
    model = tiny_yolo(Head.YOLOX)
    for size in model.graph.output[0].type.tensor_type.shape.dim:
        size.dim_param = "free"
    with pytest.raises(ModelError, match="names no classes"):
        read_model_file(store_with_card(tmp_path, model, card={"head": {"kind": "yolox"}}))


def test_an_end_to_end_model_without_class_names_is_refused(tmp_path: Path) -> None:
    model = tiny_yolo(Head.END_TO_END)
    kept = [entry for entry in model.metadata_props if entry.key != "names"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    with pytest.raises(ModelError, match="names no classes"):
        read_model_file(store(tmp_path, model))


@pytest.mark.parametrize("length", [0, 1, 100, 1000, -1])
def test_a_truncated_file_is_refused(length: int, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(tiny_yolo(Head.YOLOV8).SerializeToString()[:length])
    with pytest.raises(ModelError, match="not an ONNX model"):
        read_model_file(tmp_path / "model.onnx")


@pytest.mark.parametrize("side", ["input", "output"])
def test_a_model_of_dynamic_rank_is_refused(side: str, tmp_path: Path) -> None:
    model = tiny_yolo(Head.YOLOV8)
    tensors = {"input": model.graph.input, "output": model.graph.output}[side]
    tensors[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ModelError):
        read_model_file(store(tmp_path, model))


@pytest.mark.parametrize("shape", [(None, 1, 64, 64), (None, 3, 64), (3, 64, 64), (None, 3, 64, 64, 1), ()])
def test_an_input_of_another_shape_is_refused_with_what_was_found(
    shape: tuple[int | None, ...], tmp_path: Path
) -> None:
    model = tiny_yolo(Head.YOLOV8)
    pixels = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, shape)
    model.graph.input[0].CopyFrom(pixels)
    with pytest.raises(ModelError, match=r"one .* float32 picture; this one takes images"):
        read_model_file(store(tmp_path, model))


def test_a_path_that_is_a_link_is_followed_because_an_operator_wrote_it(tmp_path: Path) -> None:
    store(tmp_path / "street" / "1.2.3", tiny_yolo(Head.YOLOV8))
    (tmp_path / "current.onnx").symlink_to(tmp_path / "street" / "1.2.3" / "model.onnx")
    spec = read_model_file(tmp_path / "current.onnx").spec
    assert (spec.name, spec.version) == ("street", "1.2.3")
