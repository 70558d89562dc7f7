"""The command for smaller precisions: what it writes is a version, and what it refuses leaves nothing."""

import json
from pathlib import Path

import cv2
import pytest

from app.core.errors import ModelError
from engines.model_file import read_model_file
from engines.quantize import PRECISIONS, Plan, main, quantize
from engines.store import ModelStore
from tests.builders import make_rgb
from tests.unit.engines.small_network import small_network
from tests.unit.engines.versions import write_version


@pytest.fixture
def model(tmp_path: Path):
    return write_version(tmp_path / "models", model__onnx=small_network().SerializeToString()) / "model.onnx"


@pytest.fixture
def pictures(tmp_path: Path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(3):
        cv2.imwrite(str(folder / f"{seed}.png"), make_rgb(width_px=90, height_px=70, seed=seed))
    return folder


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_written_is_a_version_of_the_store(precision: str, model: Path, pictures: Path) -> None:
    out = model.parents[1] / "1.0.1"
    arguments = [str(model), "--precision", precision, "--out", str(out), "--pictures", str(pictures)]
    assert main(arguments) == 0
    store = ModelStore(model.parents[2])
    file = store.read(store.find("tiny", "1.0.1"))
    original = read_model_file(model)
    assert (file.precision, file.spec.labels, file.spec.head) == (precision, original.spec.labels, original.spec.head)
    card = json.loads((out / "card.json").read_text())
    assert card["made_from"] == {"version": "1.0.0", "sha256": original.sha256}
    assert card["quality"] == {}
    assert card["calibration"] == {"fp16": None}.get(precision, {"pictures": 3})


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_a_model_that_has_nothing_to_quantise_is_refused(precision: str, tmp_path: Path, pictures: Path) -> None:
    model = write_version(tmp_path / "models") / "model.onnx"
    out = model.parents[1] / "1.0.1"
    with pytest.raises(ModelError, match="no convolutions"):
        quantize(model, out, plan=Plan(precision=precision, pictures=pictures))
    assert not out.exists()


def test_a_version_that_is_there_is_not_written_over(model: Path, pictures: Path) -> None:
    plan = Plan(precision="fp16", pictures=pictures)
    with pytest.raises(ModelError, match="versions are not changed"):
        quantize(model, model.parent, plan=plan)


def test_a_model_that_the_farm_cannot_measure_is_refused_and_nothing_written(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = model.parents[1] / "1.0.1"
    assert main([str(model), "--precision", "fp16", "--out", str(out)]) == 1
    assert "other labels" in capsys.readouterr().err
    assert not out.exists()


def test_pictures_that_are_none_are_refused(model: Path, pictures: Path) -> None:
    out = model.parents[1] / "1.0.1"
    (pictures / "notes.txt").write_text("no picture")
    with pytest.raises(ModelError, match=r"notes\.txt is not a picture"):
        quantize(model, out, plan=Plan(precision="int8", pictures=pictures))
    empty = pictures / "empty"
    empty.mkdir()
    with pytest.raises(ModelError, match="no pictures in empty"):
        quantize(model, out, plan=Plan(precision="int8", pictures=empty))
    assert not out.exists()
