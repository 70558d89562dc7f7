"""Trains the demo model from nothing: draws the data, trains, evaluates on unseen seeds, exports ONNX and its card."""

import argparse
import csv
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "demo_model"
# Read when Ultralytics is imported: no network, no installing, no files outside the build folder.
os.environ.update(YOLO_OFFLINE="1", YOLO_AUTOINSTALL="False", YOLO_CONFIG_DIR=str(WORK), MPLCONFIGDIR=str(WORK))
# One thread: two took 6 s of CPU per iteration in place of 0.8 s when the machine was shared (2 cores, 2026-11-23).
os.environ.setdefault("OMP_NUM_THREADS", "1")
WORK.mkdir(parents=True, exist_ok=True)

import torch  # noqa: E402
from ultralytics import YOLO  # noqa: E402

from engines.demo_model import torchvision_nms as _torchvision_nms  # noqa: E402, F401 - before Ultralytics
from engines.demo_model.dataset import Recipe, describe, draw  # noqa: E402
from engines.demo_model.export import write_model  # noqa: E402
from engines.demo_model.network import HERE, StreetTrainer  # noqa: E402

MIN_MAP50, MIN_MAP50_95 = 0.95, 0.75
_THREADS, _PROCESSES = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One training run; the card of the committed model says which one made it."""

    input_px: int = 416
    train_first_seed: int = 1000
    train_seeds: int = 500
    train_frames_per_seed: int = 4
    val_first_seed: int = 900_000
    val_seeds: int = 100
    val_frames_per_seed: int = 3
    epochs: int = 15
    hours: float = 0.0  # above 0: as many epochs as fit, `epochs` is ignored
    batch: int = 16

    def command(self) -> str:
        """The command line that trains like this."""
        length = f"--hours {self.hours}" if self.hours else f"--epochs {self.epochs}"
        return f"python -m engines.demo_model.train {length} --train-seeds {self.train_seeds}"


def data_file(plan: Plan) -> Path:
    """Draw both splits, unless they lie there already; returns Ultralytics' data file."""
    folder = WORK / f"data_{plan.train_seeds}"
    for name, first, seeds, frames in (
        ("train", plan.train_first_seed, plan.train_seeds, plan.train_frames_per_seed),
        ("val", plan.val_first_seed, plan.val_seeds, plan.val_frames_per_seed),
    ):
        recipe = Recipe(first_seed=first, seeds=seeds, frames_per_seed=frames, input_px=plan.input_px)
        print(name, "objects:", draw(folder / name, recipe, processes=_PROCESSES), flush=True)
    return describe(folder, train="train", val="val")


def _fix_threads(_: Any) -> None:
    """Ultralytics sets a number of its own."""
    torch.set_num_threads(_THREADS)


def train(plan: Plan, data: Path, *, name: str) -> Path:
    """Train from random weights; returns the checkpoint of the averaged weights."""
    overrides = {
        "model": str(HERE / "street.yaml"),
        "data": str(data),
        "imgsz": plan.input_px,
        "epochs": plan.epochs,
        "time": plan.hours or None,
        "batch": plan.batch,
        "device": "cpu",
        "workers": 2,
        "cache": "ram",
        "project": str(WORK / "runs"),
        "name": name,
        "exist_ok": True,
        "pretrained": False,
        "amp": False,
        "plots": False,
        "val": False,
        "optimizer": "AdamW",
        "lr0": 0.0025,
        "lrf": 0.01,
        "cos_lr": True,
        "warmup_epochs": 1.0,
        "warmup_bias_lr": 0.01,
        "weight_decay": 0.01,
        "mosaic": 0.0,  # frames come in any number, so each is shown as it is
        "hsv_h": 0.01,
        "hsv_s": 0.3,
        "hsv_v": 0.25,
        "translate": 0.08,
        "scale": 0.25,
        "erasing": 0.0,
        "auto_augment": None,
        "seed": 7,
        "deterministic": False,
    }
    trainer = StreetTrainer(overrides=overrides)
    trainer.add_callback("on_train_start", _fix_threads)
    trainer.train()
    return Path(trainer.last)


def training_record(checkpoint: Path) -> tuple[int, float]:
    """(epochs, seconds) that made a checkpoint, from Ultralytics' log beside it."""
    with (checkpoint.parents[1] / "results.csv").open() as log:
        last = list(csv.DictReader(log))[-1]
    return int(last["epoch"]), float(last["time"])


def evaluate(checkpoint: Path, plan: Plan, data: Path) -> dict[str, Any]:
    """Ultralytics' own validation on the unseen seeds, letterboxed to a square as the service does it."""
    torch.set_num_threads(_THREADS)
    found = YOLO(str(checkpoint)).val(
        data=str(data),
        imgsz=plan.input_px,
        batch=16,
        rect=False,
        device="cpu",
        plots=False,
        project=str(WORK / "runs"),
        name="val",
        exist_ok=True,
    )
    by_class = zip(found.box.ap_class_index, found.box.ap50, found.box.ap, strict=True)
    return {
        "mAP50": round(float(found.box.map50), 4),
        "mAP50_95": round(float(found.box.map), 4),
        "by_class": {
            found.names[at]: {"AP50": round(float(ap50), 4), "AP50_95": round(float(ap), 4)}
            for at, ap50, ap in by_class
        },
        "precision": round(float(found.box.mp), 4),
        "recall": round(float(found.box.mr), 4),
    }


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m engines.demo_model.train", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "engines" / "models" / "street" / "1.0.0")
    parser.add_argument("--epochs", type=int, default=Plan().epochs)
    parser.add_argument("--hours", type=float, default=Plan().hours, help="train this long, in place of --epochs")
    parser.add_argument("--train-seeds", type=int, default=Plan().train_seeds)
    parser.add_argument("--name", default="street", help="of the run's folder under build/demo_model/runs")
    parser.add_argument("--checkpoint", type=Path, help="do not train: evaluate and export this")
    parser.add_argument("--note", default="", help="a sentence for the card")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the whole way; 1 when the quality is below the bar, and then nothing is written over the model."""
    arguments = _arguments(argv)
    plan = Plan(epochs=arguments.epochs, hours=arguments.hours, train_seeds=arguments.train_seeds)
    started_s = time.monotonic()
    data = data_file(plan)
    drawn_s = time.monotonic()
    checkpoint = arguments.checkpoint or train(plan, data, name=arguments.name)
    epochs, train_s = training_record(checkpoint)
    before_evaluation_s = time.monotonic()
    quality = evaluate(checkpoint, plan, data)
    durations = {
        "draw_s": round(drawn_s - started_s, 1),
        "train_s": round(train_s, 1),
        "evaluate_s": round(time.monotonic() - before_evaluation_s, 1),
    }
    print(json.dumps({**quality, **durations}, indent=2), flush=True)
    is_good = quality["mAP50"] >= MIN_MAP50 and quality["mAP50_95"] >= MIN_MAP50_95
    target = arguments.out if is_good else WORK / "below_the_bar"
    made = {
        "plan": {**asdict(plan), "epochs": epochs},
        "command": plan.command(),
        "durations": durations,
        "note": arguments.note,
    }
    write_model(checkpoint, target, input_px=plan.input_px, quality=quality, made=made)
    print(("wrote " if is_good else "BELOW THE BAR, wrote ") + os.path.relpath(target, ROOT), flush=True)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
