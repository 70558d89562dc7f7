"""`python -m engines.quantize MODEL --precision fp16|int8|fp8 --out DIR`: a smaller version, if it is as good."""

import argparse
import hashlib
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx

from app.core.errors import ModelError
from app.core.frame import Pixels
from engines.accuracy import HELD_OUT_SEED, Accuracy, accuracy, check_accuracy, farm_frames
from engines.fp8_graph import to_fp8
from engines.manifest import describe, read_facts, write_card
from engines.model_file import ModelFile, read_model_file
from engines.onnxruntime_engine import OnnxRuntimeEngine
from engines.quantized_graph import to_fp16, to_int8
from engines.store import MODEL_NAME, is_version

CALIBRATION_SEED = 800_000
"""The first of the streets that are only calibrated on: nothing is trained or measured on them."""
PRECISIONS = ("fp16", "int8", "fp8")
_FRAMES_PER_STREET = 3
_TOOLS = ("onnx", "onnxruntime", "numpy", "opencv-python-headless")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is asked for; `precision` is one of PRECISIONS.

    `pictures` is a folder to calibrate with in place of `calibration_streets` of the camera farm, 3 pictures each.
    Accuracy is measured on `streets` others; a folder of pictures has no labels, and then it is not measured.
    """

    precision: str
    pictures: Path | None = None
    calibration_streets: int = 167
    streets: int = 100


def quantize(model: Path, out: Path, *, plan: Plan) -> dict[str, float]:
    """Write the version of smaller precision to `out`, a new folder; returns the figures of quality on its card.

    ModelError, and nothing is written, where it is not as good as the model that it is made from.
    """
    if out.exists():
        raise ModelError(f"{out.name} is there already, and versions are not changed")
    file = read_model_file(model)
    graph = _smaller(file, plan)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "version"  # the scratch folder itself is its maker's alone
        folder.mkdir()
        (folder / MODEL_NAME).write_bytes(graph.SerializeToString())
        facts = _facts(model, file, plan, named=out.name)
        write_card(folder, facts)
        quality = {} if plan.pictures is not None else _measured(folder / MODEL_NAME, file, plan)
        describe(folder, {**facts, "quality": quality})
        shutil.copytree(folder, out)
    return quality


def _smaller(file: ModelFile, plan: Plan) -> onnx.ModelProto:
    """Return the graph of the precision that is asked for."""
    match plan.precision:
        case "fp16":
            return to_fp16(file)
        case "int8":
            return to_int8(file, _calibration(file, plan))
        case _:
            return to_fp8(file, _calibration(file, plan))


def _measured(artefact: Path, file: ModelFile, plan: Plan) -> dict[str, float]:
    """Return the artefact's accuracy beside the original's; ModelError if they are too far apart."""
    found, reference = (_accuracy(each, plan) for each in (read_model_file(artefact), file))
    check_accuracy(found, reference)
    return {
        "mAP50": round(found.map50, 4),
        "mAP50_95": round(found.map50_95, 4),
        "mAP50_95_of_original": round(reference.map50_95, 4),
        "frames": found.frames,
        "objects": found.objects,
    }


def _accuracy(file: ModelFile, plan: Plan) -> Accuracy:
    engine = OnnxRuntimeEngine(file, streams=1)
    frames = farm_frames(
        file.spec, first_seed=HELD_OUT_SEED, streets=plan.streets, frames_per_street=_FRAMES_PER_STREET
    )
    return accuracy(engine, frames)


def _calibration(file: ModelFile, plan: Plan) -> Iterator[Pixels]:
    """Yield the pictures whose ranges become those of the activations."""
    if plan.pictures is not None:
        return _pictures(plan.pictures)
    frames = farm_frames(
        file.spec,
        first_seed=CALIBRATION_SEED,
        streets=plan.calibration_streets,
        frames_per_street=_FRAMES_PER_STREET,
    )
    return (frame.rgb for frame in frames)


def _pictures(folder: Path) -> Iterator[Pixels]:
    """Yield the pictures in a folder, in the order of their names; ModelError for a file that is none."""
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    if not paths:
        raise ModelError(f"there are no pictures in {folder.name}")
    for path in paths:
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if bgr is None:
            raise ModelError(f"{path.name} is not a picture")
        yield np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _facts(model: Path, file: ModelFile, plan: Plan, *, named: str) -> dict[str, Any]:
    """Return what the artefact's card says besides quality: the original's interface, and how it was made."""
    original = read_facts(model.parent)
    kept: dict[str, Any] = {key: original[key] for key in ("input", "head", "licence") if key in original}
    return {
        "name": file.spec.name,
        "version": named if is_version(named) else file.spec.version,
        "labels": list(file.spec.labels),
        **kept,
        "precision": plan.precision,
        "made_from": {"version": file.spec.version, "sha256": hashlib.sha256(file.data).hexdigest()},
        "calibration": _calibrated_with(plan),
        "command": f"python -m engines.quantize {model.name} --precision {plan.precision}",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _TOOLS}},
    }


def _calibrated_with(plan: Plan) -> dict[str, Any] | None:
    """Return where the ranges of the activations are from, for the card."""
    if plan.precision == "fp16":
        return None
    if plan.pictures is not None:
        return {"pictures": sum(path.is_file() for path in plan.pictures.iterdir())}
    streets = plan.calibration_streets
    return {"farm_first_seed": CALIBRATION_SEED, "streets": streets, "pictures": streets * _FRAMES_PER_STREET}


def main(argv: list[str] | None = None) -> int:
    """Write a version of smaller precision; 1, and nothing written, where it is not as good as the original."""
    parser = argparse.ArgumentParser(prog="python -m engines.quantize", description=main.__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--precision", choices=PRECISIONS, required=True)
    parser.add_argument("--out", type=Path, required=True, help="<model>/<version>/, not there yet")
    parser.add_argument("--pictures", type=Path, help="calibrate with these pictures; accuracy is not measured then")
    parser.add_argument("--calibration-streets", type=int, default=Plan(precision="int8").calibration_streets)
    parser.add_argument("--streets", type=int, default=Plan(precision="int8").streets, help="to measure accuracy on")
    arguments = parser.parse_args(argv)
    plan = Plan(
        precision=arguments.precision,
        pictures=arguments.pictures,
        calibration_streets=arguments.calibration_streets,
        streets=arguments.streets,
    )
    try:
        quality = quantize(arguments.model, arguments.out, plan=plan)
    except (ModelError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"wrote {arguments.out}: {quality or 'accuracy not measured'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
