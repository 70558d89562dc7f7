"""A version is taken whole and as its card describes it, or not at all."""

import json
import os
from pathlib import Path

import pytest

from app.core.errors import ModelError
from engines.model_file import read_model_file
from tests.unit.engines.versions import MODEL, read_folder, write_json, write_version


def test_every_file_of_the_card_is_read_once_and_handed_on(tmp_path: Path) -> None:
    folder = write_version(tmp_path, golden__json=b"[]", weights__bin=b"123")
    (folder / "notes.txt").write_text("not in the card, so not in the version")
    files = read_folder(folder)
    assert files.contents == {"model.onnx": MODEL, "golden.json": b"[]", "weights.bin": b"123"}
    file = read_model_file(folder / "model.onnx")
    assert file.beside == {"golden.json": b"[]", "weights.bin": b"123"}


@pytest.mark.parametrize("name", ["model.onnx", "golden.json"])
def test_a_changed_file_is_refused(name: str, tmp_path: Path) -> None:
    folder = write_version(tmp_path, golden__json=b"[]")
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"{name} is not the file"):
        read_folder(folder)


@pytest.mark.parametrize("name", ["model.onnx", "golden.json"])
def test_a_missing_file_is_refused(name: str, tmp_path: Path) -> None:
    folder = write_version(tmp_path, golden__json=b"[]")
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"no readable model file {name}"):
        read_folder(folder)


def test_a_model_that_the_card_does_not_list_is_refused(tmp_path: Path) -> None:
    folder = write_version(tmp_path, golden__json=b"[]")
    card = json.loads((folder / "card.json").read_text())
    del card["files"]["model.onnx"]
    write_json(folder / "card.json", card)
    with pytest.raises(ModelError, match=r"does not list model\.onnx"):
        read_folder(folder)


@pytest.mark.parametrize("name", ["model.onnx", "card.json", "golden.json"])
def test_a_link_in_a_files_place_is_refused_wherever_it_leads(name: str, tmp_path: Path) -> None:
    folder = write_version(tmp_path, golden__json=b"[]")
    (folder / name).rename(folder / "moved")
    (folder / name).symlink_to(folder / "moved")
    with pytest.raises(ModelError, match=f"{name} is a link"):
        read_folder(folder)


def test_a_pipe_or_a_folder_in_a_files_place_does_not_hold_the_reader_up(tmp_path: Path) -> None:
    folder = write_version(tmp_path)
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")
    with pytest.raises(ModelError, match="not a plain file"):
        read_folder(folder)
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").mkdir()
    with pytest.raises(ModelError, match=r"model\.onnx"):
        read_folder(folder)


@pytest.mark.parametrize(
    "name",
    [
        "../model.onnx",
        "/etc/passwd",
        "sub/model.onnx",
        "..",
        ".",
        "",
        ".hidden",
        "a\\b",
        "a\x00b",
        "card.json",
        "x" * 129,
    ],
)
def test_a_card_that_names_something_else_than_a_file_beside_it_is_refused(name: str, tmp_path: Path) -> None:
    write_json(tmp_path / "card.json", {"files": {name: "0" * 64}})
    with pytest.raises(ModelError, match="something else than a file"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"files": ["model.onnx"]}, '"files".*type'),
        ({"files": {"model.onnx": 3}}, "its SHA-256"),
        ({"files": {"model.onnx": "g" * 64}}, "its SHA-256"),
        ({"files": {f"{number}.bin": "0" * 64 for number in range(65)}}, "more than 64"),
        ({"precision": "fp17"}, '"precision".*one of fp32'),
        ({"quality": 0.9}, '"quality".*type'),
    ],
)
def test_a_broken_list_in_a_card_is_refused(card: dict[str, object], words: str, tmp_path: Path) -> None:
    write_json(tmp_path / "card.json", card)
    with pytest.raises(ModelError, match=words):
        read_folder(tmp_path)


def test_precision_and_quality_are_told(tmp_path: Path) -> None:
    folder = write_version(tmp_path)
    card = json.loads((folder / "card.json").read_text())
    quality = {"mAP50_95": 0.7, "evaluation": "words", "by_class": {"car": 1}}
    write_json(folder / "card.json", {**card, "precision": "int8", "quality": quality})
    assert read_folder(folder).card.quality == {"mAP50_95": 0.7}
    assert read_model_file(folder / "model.onnx").precision == "int8"


def test_a_card_from_before_the_list_of_files_is_still_read(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(MODEL)
    write_json(tmp_path / "card.json", {"name": "old", "precision": 0.9613, "mAP50": 0.97})
    file = read_model_file(tmp_path / "model.onnx")
    assert (file.spec.name, file.precision) == ("old", "fp32")
