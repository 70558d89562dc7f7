"""What the maker of a version writes is what a reader accepts, and a changed version is written down anew."""

import json
from pathlib import Path

import pytest

from app.core.errors import ModelError
from app.core.model import Head
from engines.card import parse_card
from engines.golden import golden_check
from engines.golden_file import read_golden
from engines.manifest import describe, main, read_facts, write_card
from engines.model_file import read_model_file
from engines.onnxruntime_engine import OnnxRuntimeEngine
from engines.tiny_yolo import tiny_yolo
from tests.unit.engines.versions import MODEL, read_folder

STREET = Path(__file__).parents[3] / "engines" / "models" / "street" / "1.0.0"


@pytest.fixture
def folder(tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(MODEL)
    return tmp_path


def test_a_described_version_is_accepted_and_keeps_its_facts(folder: Path) -> None:
    (folder / "labels.txt").write_text("kind0")
    (folder / "plans").mkdir()
    (folder / ".hidden").write_text("")
    describe(folder, {"name": "tiny", "version": "1.0.0", "precision": "fp32", "by": "hand", "sha256": "0" * 64})
    files = read_folder(folder)
    assert set(files.contents) == {"model.onnx", "labels.txt", "golden.json"}
    assert read_facts(folder)["by"] == "hand"
    assert files.card.sha256 is None


def test_golden_outputs_hold_for_the_model_that_they_are_of_and_for_no_other(folder: Path, tmp_path: Path) -> None:
    describe(folder, {})
    file = read_model_file(folder / "model.onnx")
    expected = read_golden(file.beside)
    assert expected
    golden_check(OnnxRuntimeEngine(file, streams=1), expected)
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "model.onnx"
    other.write_bytes(tiny_yolo(Head.YOLOV8, seed=1).SerializeToString())
    with pytest.raises(ModelError):
        golden_check(OnnxRuntimeEngine(read_model_file(other), streams=1), expected)


def test_describing_twice_writes_the_same(folder: Path) -> None:
    describe(folder, {"name": "tiny"})
    before = [(folder / name).read_bytes() for name in ("card.json", "golden.json")]
    assert main([str(folder)]) == 0
    assert [(folder / name).read_bytes() for name in ("card.json", "golden.json")] == before


def test_a_version_of_small_integers_has_no_golden_outputs(folder: Path) -> None:
    describe(folder, {})
    describe(folder, {"precision": "int8"})
    assert set(read_folder(folder).contents) == {"model.onnx"}


def test_a_changed_card_loses_its_signature(folder: Path) -> None:
    (folder / "card.json.sig").write_bytes(b"0" * 64)
    write_card(folder, {"name": "tiny"})
    assert not (folder / "card.json.sig").exists()


def test_what_a_reader_would_refuse_is_not_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError, match='"precision"'):
        write_card(folder, {"precision": "fp17"})
    (folder / "weights.bin").symlink_to("/etc/hostname")
    with pytest.raises(ModelError, match="is a link"):
        write_card(folder, {})
    assert not (folder / "card.json").exists()
    assert main([str(folder / "absent")]) == 1
    assert main([str(folder)]) == 1
    assert "is a link" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"{}x",
        b"{}",
        b"null",
        b"[1]",
        b'[{"label": "a"}]',
        b'[{"label": 1, "score": 0.5, "box": [1, 2, 3, 4]}]',
        b'[{"label": "a", "score": 0.5, "box": [1, 2, 3]}]',
        b'[{"label": "a", "score": 0.5, "box": ["x", 2, 3, 4]}]',
        b"[" * 100_000,
    ],
)
def test_broken_golden_outputs_are_refused(content: bytes) -> None:
    with pytest.raises(ModelError, match=r"golden\.json"):
        read_golden({"golden.json": content})


def test_without_golden_outputs_nothing_is_expected() -> None:
    assert read_golden({}) is None


def test_the_bundled_version_is_complete() -> None:
    card = parse_card((STREET / "card.json").read_bytes())
    assert (card.precision, set(card.files)) == ("fp32", {"model.onnx", "golden.json"})
    assert card.quality["mAP50_95"] >= 0.75
    assert set(card.files) == {path.name for path in STREET.iterdir()} - {"card.json", "plans"}
    file = read_model_file(STREET / "model.onnx")
    golden_check(OnnxRuntimeEngine(file, streams=1), read_golden(file.beside))
    assert json.loads(file.beside["golden.json"])
