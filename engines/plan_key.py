"""TensorRT plans kept beside the model that they were built from, each under the key of all that it depends on.

Equal keys mean a plan that may be run, anything else means building anew: a plan is tied to the model, TensorRT's
version, the GPU's model and what the build was told. Source: TensorRT 11.4, support matrix.
"""

import errno
import hashlib
import json
import logging
import os
import re
import stat
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import get_ident
from typing import TypeAlias

from app.core.errors import ModelError
from engines.plain_files import opened_folder

LOG = logging.getLogger("sightline")
_MAGIC = b"sightline plan 1\n"
_KEY = re.compile(r"[0-9a-f]{64}")
_HEADER_BYTES = len(_MAGIC) + 2 * 65
_MAX_BYTES = 2**34
_SUFFIX, _UNFINISHED = ".plan", ".part"

Shape: TypeAlias = tuple[int, ...]
Profile: TypeAlias = tuple[Shape, Shape, Shape]
"""The smallest, best and largest shape of the input under one optimisation profile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTarget:
    """Where a plan runs: `compute_capability` is (major, minor), `driver_cuda` the driver's, 13000 for 13.0."""

    tensorrt: str
    compute_capability: tuple[int, int]
    device: str
    driver_cuda: int


def plan_key(onnx_sha256: str, target: PlanTarget, *, profiles: Sequence[Profile], flags: Collection[str]) -> str:
    """Return the key, 64 hexadecimal digits.

    Profiles count in their order, because a plan numbers them; flags (`name` or `name=value`) in none.
    """
    content = {"onnx": onnx_sha256, **asdict(target), "profiles": profiles, "flags": sorted(set(flags))}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class PlanCache:
    """A folder of plans by key, each behind a header with its key and its SHA-256.

    A plan is a program that runs on the GPU. The hash finds damage, not malice, so a file counts only if this process's
    user owns it and nobody else may write it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> bytes | None:
        """Return the plan of that key; None where there is none, or one that is broken, foreign or not our own."""
        name = _name(key)
        try:
            content = self._content(name)
        except FileNotFoundError:
            return None
        except (OSError, ModelError) as error:
            LOG.warning("a cached plan is not used and is built anew: %s", error)
            return None
        plan = content[_HEADER_BYTES:]
        if content[:_HEADER_BYTES] != _header(key, plan):
            LOG.warning("a cached plan is not used and is built anew: its header does not fit it")
            return None
        return plan

    def put(self, key: str, plan: bytes) -> None:
        """Keep the plan; ModelError, and no half file, where the folder does not take it."""
        name = _name(key)
        unfinished = f"{name}.{os.getpid()}.{get_ident()}{_UNFINISHED}"
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            with self._opened() as folder:
                try:
                    _write(folder, unfinished, _header(key, plan), plan)
                    os.replace(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
                    os.fsync(folder)
                except OSError:
                    _remove(folder, unfinished)
                    raise
        except OSError as error:
            is_full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
            raise ModelError(
                "the disk is full: the plan is not kept" if is_full else "the plan cannot be kept"
            ) from error

    def clear(self, *, keep: Collection[str] = ()) -> int:
        """Remove every plan but those of the keys to keep, and what a killed build left; returns how many files.

        Plans of other drivers, TensorRT versions and options stay for ever otherwise: nobody asks for their keys.
        """
        kept = {_name(key) for key in keep}
        try:
            with self._opened() as folder, os.scandir(folder) as entries:
                names = [entry.name for entry in entries]
                gone = [name for name in names if name.endswith((_SUFFIX, _UNFINISHED)) and name not in kept]
                for name in gone:
                    _remove(folder, name)
                return len(gone)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise ModelError("the folder of plans cannot be cleared") from error

    def _content(self, name: str) -> bytes:
        """Return a file's bytes; ModelError where they may be another's."""
        with self._opened() as folder:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ModelError("it is not a file")
            if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise ModelError("others may have written it")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(_MAX_BYTES)
        finally:
            os.close(descriptor)

    def _opened(self) -> AbstractContextManager[int]:
        """Lend the folder's descriptor; a link in its place is not followed."""
        return opened_folder(self._folder.parent, self._folder.name)


def _name(key: str) -> str:
    """Return the file's name."""
    if not _KEY.fullmatch(key):
        raise ValueError("a plan's key is 64 hexadecimal digits")
    return key + _SUFFIX


def _header(key: str, plan: bytes) -> bytes:
    return _MAGIC + f"{key}\n{hashlib.sha256(plan).hexdigest()}\n".encode()


def _write(folder: int, name: str, *parts: bytes) -> None:
    """Write a new file that only this user may read, down to the disk."""
    descriptor = os.open(
        name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder
    )
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(descriptor)


def _remove(folder: int, name: str) -> None:
    """Remove the file if it is there."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
