"""A plan comes back only for what it was built for, whole, and by whom it was built."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import ModelError
from app.settings import ROOT
from engines.plan_key import PlanCache, PlanTarget, Profile, plan_key

TARGET = PlanTarget(tensorrt="11.4.0.106", compute_capability=(9, 0), device="NVIDIA H200", driver_cuda=13000)
SMALL: Profile = ((1, 3, 320, 320), (4, 3, 640, 640), (8, 3, 1280, 1280))
LARGE: Profile = ((1, 3, 1024, 1024), (1, 3, 1024, 1024), (8, 3, 1024, 1024))
PLAN = bytes(range(256)) * 40


def key_of(
    *,
    onnx: str = "a" * 64,
    target: PlanTarget = TARGET,
    profiles: tuple[Profile, ...] = (SMALL, LARGE),
    flags: tuple[str, ...] = ("TF32", "workspace=1073741824"),
) -> str:
    return plan_key(onnx, target, profiles=profiles, flags=flags)


KEY = key_of()
OTHERS = {
    "another model": key_of(onnx="b" * 64),
    "another TensorRT": key_of(target=replace(TARGET, tensorrt="11.4.1")),
    "another compute capability": key_of(target=replace(TARGET, compute_capability=(8, 9))),
    "another GPU": key_of(target=replace(TARGET, device="NVIDIA H100")),
    "another driver": key_of(target=replace(TARGET, driver_cuda=13010)),
    "other profiles": key_of(profiles=(SMALL,)),
    "profiles in another order": key_of(profiles=(LARGE, SMALL)),
    "other flags": key_of(flags=("TF32",)),
}


def test_each_part_of_the_key_tells_plans_apart() -> None:
    assert len({KEY, *OTHERS.values()}) == 1 + len(OTHERS)


def test_flags_have_no_order_and_the_key_is_the_same_in_every_process() -> None:
    assert key_of(flags=("workspace=1073741824", "TF32", "TF32")) == KEY
    assert KEY == "3ec274ee03e76cb61c5b846628ecb6c483d6cfb0e0a9e14e88952c5aed3ba03d"


@given(st.lists(st.text(max_size=8), max_size=4), st.lists(st.text(max_size=8), max_size=4))
def test_different_flags_never_share_a_key(first: list[str], second: list[str]) -> None:
    is_same = key_of(flags=tuple(first)) == key_of(flags=tuple(second))
    assert is_same == (set(first) == set(second))


@pytest.fixture
def folder(tmp_path: Path):
    return tmp_path / "plans"


def test_a_plan_comes_back_as_it_was_put(folder: Path) -> None:
    cache = PlanCache(folder)
    assert cache.get(KEY) is None
    cache.put(KEY, PLAN)
    assert cache.get(KEY) == PLAN
    assert PlanCache(folder).get(KEY) == PLAN
    cache.put(KEY, PLAN[::-1])
    assert cache.get(KEY) == PLAN[::-1]
    assert [path.suffix for path in folder.iterdir()] == [".plan"]


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_a_plan_built_for_something_else_does_not_come_back(other: str, folder: Path) -> None:
    cache = PlanCache(folder)
    cache.put(KEY, PLAN)
    assert cache.get(other) is None
    (folder / f"{KEY}.plan").rename(folder / f"{other}.plan")
    assert cache.get(other) is None


@pytest.mark.parametrize("at", [0, 20, 90, 147, 200, -1])
def test_a_plan_with_one_flipped_bit_does_not_come_back(at: int, folder: Path) -> None:
    cache = PlanCache(folder)
    cache.put(KEY, PLAN)
    path = folder / f"{KEY}.plan"
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    assert cache.get(KEY) is None
    cache.put(KEY, PLAN)
    assert cache.get(KEY) == PLAN


@pytest.mark.parametrize("length", [0, 10, 147, -1])
def test_a_truncated_plan_does_not_come_back(length: int, folder: Path) -> None:
    cache = PlanCache(folder)
    cache.put(KEY, PLAN)
    path = folder / f"{KEY}.plan"
    path.write_bytes(path.read_bytes()[:length])
    assert cache.get(KEY) is None


def make_writable_by_all(path: Path) -> None:
    path.chmod(0o666)


def make_link(path: Path) -> None:
    path.rename(path.parent / "moved")
    path.symlink_to(path.parent / "moved")


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("change", [make_writable_by_all, make_link, make_folder, make_pipe])
def test_a_file_that_another_may_have_put_there_is_not_run(change: Callable[[Path], None], folder: Path) -> None:
    cache = PlanCache(folder)
    cache.put(KEY, PLAN)
    change(folder / f"{KEY}.plan")
    assert cache.get(KEY) is None


def test_a_folder_that_is_a_link_is_not_used(folder: Path) -> None:
    cache = PlanCache(folder)
    cache.put(KEY, PLAN)
    folder.rename(folder.parent / "elsewhere")
    folder.symlink_to(folder.parent / "elsewhere")
    assert cache.get(KEY) is None
    with pytest.raises(ModelError, match="cannot be kept"):
        cache.put(KEY, PLAN)


FILLS_THE_DISK = """
import resource, signal, sys
from pathlib import Path
from app.core.errors import ModelError
from app.settings import ROOT
from engines.plan_key import PlanCache

resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    PlanCache(Path(sys.argv[1])).put(sys.argv[2], bytes(1 << 20))
except ModelError as error:
    print(error.detail)
"""
"""In a process of its own: the limit holds for whatever a process writes, pytest's output among it."""


def test_a_full_disk_is_an_error_that_leaves_no_half_file_and_the_old_plan(folder: Path) -> None:
    cache = PlanCache(folder)
    cache.put(KEY, b"small")
    command = [sys.executable, "-c", FILLS_THE_DISK, str(folder), KEY]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "disk is full" in done.stdout
    assert cache.get(KEY) == b"small"
    assert [path.name for path in folder.iterdir()] == [f"{KEY}.plan"]


def test_a_folder_that_cannot_be_made_is_an_error_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be kept") as caught:
        PlanCache(tmp_path / "absent" / "plans").put(KEY, PLAN)
    assert str(tmp_path) not in caught.value.detail


def test_plans_that_nobody_asks_for_are_removed_and_other_files_stay(folder: Path) -> None:
    cache, other = PlanCache(folder), next(iter(OTHERS.values()))
    assert cache.clear() == 0
    cache.put(KEY, PLAN)
    cache.put(other, PLAN)
    (folder / f"{KEY}.plan.7.7.part").write_bytes(b"half")
    (folder / "notes.txt").write_text("a person's")
    assert cache.clear(keep=[other]) == 2
    assert (cache.get(KEY), cache.get(other)) == (None, PLAN)
    assert cache.clear() == 1
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("key", ["", "../" + "a" * 61, "A" * 64, "a" * 65, "a" * 63 + "\n"])
def test_a_key_is_a_hash_and_never_a_path(key: str, folder: Path) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        PlanCache(folder).get(key)
