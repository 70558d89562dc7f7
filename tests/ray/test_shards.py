"""A model in three parts on a gang of three replicas, on a real cluster."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.serve.handle import DeploymentHandle

from app.core.errors import ModelError, SightlineError, UnavailableError
from app.core.frame import Detections
from app.core.model import Head
from app.core.outcome import Failed
from app.pipeline.detector import Detector
from app.pipeline.serving import ServingParameters
from deployments.faults import peel
from engines.model_file import read_model_file
from engines.onnxruntime_engine import OnnxRuntimeEngine
from engines.split import split
from engines.tiny_yolo import tiny_yolo
from tests.builders import make_input, make_rgb
from tests.gangs import ANSWER_S
from tests.held_part import GATE, held, release
from tests.small_cluster import Cluster

pytest_plugins = ("tests.ray_fixtures", "tests.logical_gpus")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
SIZE = 3
SIDE_PX = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and its parts."""
    folder = tmp_path_factory.mktemp("model")
    data = tiny_yolo(Head.YOLOV8, size_px=SIDE_PX).SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    split(data, parts=SIZE).write(folder)
    return folder


@pytest.fixture(scope="module")
def caller(small_cluster: Cluster, folder: Path) -> DeploymentHandle[Any]:
    """A Caller of one gang."""
    return deploy(small_cluster, folder)


@pytest.fixture(autouse=True)
def released(folder: Path) -> Iterator[None]:
    """Nothing stays held for the next test."""
    yield
    release(folder)


def deploy(cluster: Cluster, folder: Path) -> DeploymentHandle[Any]:
    args = {"model": str(folder / "model.onnx"), "parts": str(folder), "gangs": "1"}
    return cluster.deploy("tests.gangs:build", replicas={}, **args)


@pytest.fixture
def whole(folder: Path) -> Iterator[OnnxRuntimeEngine]:
    """The model in one piece."""
    engine = OnnxRuntimeEngine(read_model_file(folder / "model.onnx"), streams=1)
    yield engine
    engine.close()


def ask(response: Any, *, timeout_s: float = 40.0) -> Any:
    """What came back; raises our own error, or TimeoutError for a call that hangs."""
    try:
        return response.result(timeout_s=timeout_s)
    except TimeoutError:
        raise
    except Exception as error:  # noqa: BLE001  Ray's wrappers are taken off
        raise peel(error) from None


def members(caller: DeploymentHandle[Any]) -> list[dict[str, Any]]:
    """Who the gang is that answers now, by rank."""
    leader = ask(caller.who.remote())
    return [leader, *(ask(caller.who.remote(leader["gang"], rank)) for rank in range(1, SIZE))]


def test_each_member_has_one_rank_and_a_gpu_of_its_own(caller: DeploymentHandle[Any]) -> None:
    found = members(caller)
    assert [member["rank"] for member in found] == list(range(SIZE))
    assert len({member["gang"] for member in found}) == 1
    assert len({member["pid"] for member in found}) == SIZE
    assert {member["devices"] for member in found} <= {"0", "1", "2", "3"}
    assert len({member["devices"] for member in found}) == SIZE


def test_callers_reach_the_first_rank_only(caller: DeploymentHandle[Any]) -> None:
    assert {member["rank"] for member in ask(caller.leaders.remote(30))} == {0}


@pytest.mark.parametrize("batch", [1, 3])
def test_the_gang_computes_the_bits_of_the_whole(
    caller: DeploymentHandle[Any], whole: OnnxRuntimeEngine, batch: int
) -> None:
    pixels = [make_rgb(width_px=SIDE_PX, height_px=SIDE_PX, seed=seed) for seed in range(batch)]
    np.testing.assert_array_equal(ask(caller.infer.remote(pixels)), whole.infer(pixels))


def test_detections_are_those_of_one_detector(caller: DeploymentHandle[Any], whole: OnnxRuntimeEngine) -> None:
    inputs = [make_input(seq=seq, size_px=SIDE_PX) for seq in range(8)]
    expected = asyncio.run(Detector(whole, parameters=ServingParameters(slo_s=30.0)).detect(inputs))
    found = ask(caller.detect.remote(inputs))
    assert sum(len(detections.score) for detections in found) > 0
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.ref == theirs.ref
        np.testing.assert_array_equal(mine.xyxy, theirs.xyxy)
        np.testing.assert_array_equal(mine.score, theirs.score)
        np.testing.assert_array_equal(mine.label, theirs.label)


def test_an_error_of_a_later_member_is_ours(caller: DeploymentHandle[Any]) -> None:
    with pytest.raises(ModelError, match=r"part-1\.onnx was not given"):
        ask(caller.misuse.remote())


def test_a_call_for_a_member_that_is_gone_fails_at_once(caller: DeploymentHandle[Any]) -> None:
    begun_s = time.monotonic()
    with pytest.raises(UnavailableError):
        ask(caller.who.remote("no-such-gang", 1))
    assert time.monotonic() - begun_s < 5


def test_all_parts_are_at_work_at_once(caller: DeploymentHandle[Any], folder: Path) -> None:
    (folder / GATE).touch()
    found = ask(caller.detect.remote([make_input(seq=seq, size_px=SIDE_PX) for seq in range(2 * SIZE)]))
    assert [type(outcome) for outcome in found] == [Detections] * (2 * SIZE)
    assert held(folder) == list(range(SIZE))


@dataclass(slots=True)
class Calls:
    """Detects one picture after the other until told to stop; `slowest_s` is the longest that a call took."""

    caller: DeploymentHandle[Any]
    ends: list[type] = field(default_factory=list)
    unexpected: list[BaseException] = field(default_factory=list)
    slowest_s: float = 0.0
    is_over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.is_over.is_set():
            begun_s = time.monotonic()
            try:
                self.ends.append(end_of(self.caller.detect.remote([make_input(size_px=SIDE_PX)])))
            except Exception as error:  # noqa: BLE001  the test tells whatever went wrong
                self.unexpected.append(error)
            self.slowest_s = max(self.slowest_s, time.monotonic() - begun_s)
            time.sleep(0.02)


def end_of(response: Any) -> type:
    """How the one picture of a call ended: Detections, or one of our errors."""
    try:
        (outcome,) = ask(response, timeout_s=60)
    except SightlineError as error:
        return type(error)
    return type(outcome.error) if isinstance(outcome, Failed) else type(outcome)


def until(is_done: Callable[[], bool], *, what: str, within_s: float) -> None:
    deadline_s = time.monotonic() + within_s
    while not is_done():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.1)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def restarted(caller: DeploymentHandle[Any], whole: OnnxRuntimeEngine) -> Iterator[list[dict[str, Any]]]:
    """The gang as it is. After the block, which harms it: all of it is gone, and a new one computes the same bits."""
    before = members(caller)
    yield before
    until(lambda: not any(is_alive(member["pid"]) for member in before), what="the gang lives on", within_s=40)
    pixels = [make_rgb(width_px=SIDE_PX, height_px=SIDE_PX)]
    np.testing.assert_array_equal(ask(caller.infer.remote(pixels), timeout_s=90), whole.infer(pixels))
    after = members(caller)
    assert {member["gang"] for member in before}.isdisjoint({member["gang"] for member in after})
    assert [member["rank"] for member in after] == list(range(SIZE))
    assert len({member["devices"] for member in after}) == SIZE


@pytest.mark.parametrize("rank", range(SIZE))
def test_what_is_in_a_member_that_dies_ends_as_unavailable_and_the_gang_starts_anew(
    caller: DeploymentHandle[Any], whole: OnnxRuntimeEngine, folder: Path, rank: int
) -> None:
    with restarted(caller, whole) as before:
        (folder / f"stall-{rank}").touch()
        inside = [caller.detect.remote([make_input(seq=seq, size_px=SIDE_PX)]) for seq in range(SIZE + 1)]
        until((folder / f"stalled-{rank}").exists, what="nothing came to the member", within_s=10)
        os.kill(before[rank]["pid"], signal.SIGKILL)
        begun_s = time.monotonic()
        assert [end_of(response) for response in inside] == [UnavailableError] * (SIZE + 1)
        assert time.monotonic() - begun_s < ANSWER_S
        release(folder)


def test_callers_of_a_gang_that_restarts_get_answers_or_unavailable_and_none_hangs(
    caller: DeploymentHandle[Any], whole: OnnxRuntimeEngine
) -> None:
    calls = [Calls(caller) for _ in range(3)]
    threads = [threading.Thread(target=call.run) for call in calls]
    with restarted(caller, whole) as before:
        for thread in threads:
            thread.start()
        until(lambda: all(call.ends for call in calls), what="nothing answers", within_s=20)
        os.kill(before[1]["pid"], signal.SIGKILL)
    counts = [len(call.ends) for call in calls]
    until(
        lambda: all(len(call.ends) > 5 + count for call, count in zip(calls, counts, strict=True)),
        what="the new gang does not answer all",
        within_s=20,
    )
    for call, thread in zip(calls, threads, strict=True):
        call.is_over.set()
        thread.join(timeout=60)
    assert [error for call in calls for error in call.unexpected] == []
    assert {end for call in calls for end in call.ends} == {Detections, UnavailableError}
    assert {call.ends[-1] for call in calls} == {Detections}
    assert max(call.slowest_s for call in calls) < 50


def test_a_member_that_hangs_is_given_up_with_its_gang(
    caller: DeploymentHandle[Any], whole: OnnxRuntimeEngine, folder: Path
) -> None:
    with restarted(caller, whole) as before:
        (folder / "stall-1").touch()
        assert end_of(caller.detect.remote([make_input(size_px=SIDE_PX)])) is UnavailableError
        until(lambda: not is_alive(before[1]["pid"]), what="the member hangs on", within_s=40)
        release(folder)
