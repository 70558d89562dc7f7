"""Versions opened as the service opens them: in two sizes where that is wanted, and only where memory is left."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from app.core.errors import DeviceMemoryError, ModelError, UnavailableError
from app.core.model import Head
from app.pipeline.guarded_engine import GuardedEngine
from app.policy.ladder import Relief, Rung
from app.policy.vram_ledger import MIB
from engines.hosted import HostedEngine
from engines.ladder import EngineKind, EngineLadder, EngineOptions
from engines.tiny_yolo import tiny_yolo

NEED_MIB = 320
"""What a fake GPU's engine takes of its memory for one picture at a time."""
BACK_S = 20.0
SMALLER = Relief(rung=Rung.SMALLER_INPUT, input_ratio=0.5)


def ladder_of(kind: EngineKind, *, has_smaller: bool = False, vram_mib: int | None = None) -> EngineLadder:
    vram_bytes = None if vram_mib is None else vram_mib * MIB
    options = EngineOptions(kind=kind, streams=1, max_batch=1, has_smaller=has_smaller, vram_bytes=vram_bytes)
    return EngineLadder(options)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network that takes any size, for the fake GPU, whose rows come from a real one."""
    path = tmp_path / "any" / "1.0.0" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(tiny_yolo(Head.YOLOX, size_px=None).SerializeToString())
    card = {"head": {"kind": Head.YOLOX.value}, "input": {"width_px": 128, "height_px": 128}}
    path.with_name("card.json").write_text(json.dumps(card), encoding="utf-8")
    return path


def rows_of(engine: GuardedEngine, *sizes_px: int) -> list[int]:
    """How many rows it gives for canvases of these sizes."""
    canvases = [np.zeros((size_px, size_px, 3), np.uint8) for size_px in sizes_px]
    return [engine.infer([canvas], relief=SMALLER).rows.shape[1] for canvas in canvases]


@pytest.mark.parametrize("kind", ["onnxruntime", "fake-gpu"])
def test_both_sizes_are_answered_by_processes_of_their_own(kind: EngineKind, model: Path) -> None:
    engine = ladder_of(kind, has_smaller=True).open(model)
    assert engine.smaller is not None
    assert (engine.spec.input_width_px, engine.smaller.input_width_px) == (128, 64)
    assert rows_of(engine, 128, 64) == [16**2 + 8**2 + 4**2, 8**2 + 4**2 + 2**2]
    engine.close()


def test_a_model_that_takes_one_size_is_opened_all_the_same(model: Path) -> None:
    model.write_bytes(tiny_yolo(Head.YOLOX, size_px=128).SerializeToString())
    engine = ladder_of("onnxruntime", has_smaller=True).open(model)
    assert engine.smaller is None
    engine.close()


def test_where_it_is_not_wanted_there_is_one_size() -> None:
    engine = ladder_of("reference").open(None)
    assert engine.smaller is None
    engine.close()


def test_a_version_that_does_not_fit_beside_the_others_is_refused_until_one_is_given_back(model: Path) -> None:
    ladder = ladder_of("fake-gpu", vram_mib=NEED_MIB + 100)
    first = ladder.open(model)
    with pytest.raises(DeviceMemoryError, match=f"needs {NEED_MIB} MiB of GPU memory and 100 MiB are left"):
        ladder.open(model)
    first.close()
    ladder.open(model).close()


def test_a_load_that_fails_keeps_no_memory(model: Path) -> None:
    ladder = ladder_of("fake-gpu", vram_mib=NEED_MIB)
    for _ in range(2):
        with pytest.raises(ModelError, match="no readable model file"):
            ladder.open(model.with_name("other.onnx"))
    ladder.open(model).close()


def test_on_a_cpu_memory_of_a_gpu_is_nobody_s_concern() -> None:
    ladder = ladder_of("reference", vram_mib=1)
    assert ladder.meter() is None
    ladder.open(None).close()


def test_a_process_that_is_killed_under_load_is_called_again_as_soon_as_it_is_back() -> None:
    engine = ladder_of("reference").open(None)
    hosted = engine._slots[Rung.ONNX_CPU].engine()
    assert isinstance(hosted, HostedEngine)
    canvas = np.zeros((640, 640, 3), np.uint8)
    os.kill(hosted.pid or 0, signal.SIGKILL)
    due_s = time.monotonic() + BACK_S
    failures, n_answers = [], 0
    while n_answers < 20 and time.monotonic() < due_s:
        try:
            engine.infer([canvas])
            n_answers += 1
        except UnavailableError as error:
            failures.append(error.detail)
            time.sleep(0.01)
    assert n_answers == 20
    assert any("too many calls" in words for words in failures)  # the breaker was open, and did not stay so for 30 s
    assert engine.degraded is None
    engine.close()
