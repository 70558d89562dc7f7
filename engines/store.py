"""The models there are: a folder laid out as `<model>/<version>/` with model.onnx, card.json and what the card lists.

An object store is served through a folder that it is mounted on: no library among our dependencies reads one
(smart_open comes with Ray, but without a client of S3, Azure or Google).
"""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core.errors import ModelError, NotFoundError
from engines.model_file import ModelFile, model_in
from engines.plain_files import opened_folder
from engines.signature import TrustedKey
from engines.version_files import read_version

LOG = logging.getLogger("sightline")
MODEL_NAME = "model.onnx"
_MODEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VERSION = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})")
_MAX_ENTRIES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVersion:
    """One version that lies in the store; nothing of it was read yet."""

    model: str
    version: str
    root: Path

    @property
    def folder(self) -> Path:
        """Where its files lie; made of names that the store itself listed."""
        return self.root / self.model / self.version

    @property
    def path(self) -> Path:
        """The model file."""
        return self.folder / MODEL_NAME

    @property
    def number(self) -> tuple[int, ...]:
        """The version in an order in which 1.10.0 comes after 1.9.0."""
        return tuple(int(part) for part in self.version.split("."))


def is_version(name: str) -> bool:
    """Return whether the name is that of a version: three numbers."""
    return _VERSION.fullmatch(name) is not None


class ModelStore:
    """The folder `root` and who may put models there: with `trusted_keys`, only what one of them signed is read.

    What a request names is looked up among the names that lie there, and never becomes part of a path. Below `root` no
    link is followed. The folder is read anew at each call, so that a version copied there is found.
    """

    def __init__(self, root: Path, *, trusted_keys: Sequence[TrustedKey] = ()) -> None:
        self._root = root
        self._keys = tuple(trusted_keys)

    def versions(self) -> tuple[StoredVersion, ...]:
        """Return what lies in the store, by name and number; ModelError when the folder cannot be read."""
        try:
            with opened_folder(self._root) as root:
                models = _folders(root, _MODEL)
                found = [
                    StoredVersion(model=model, version=version, root=self._root)
                    for model in models
                    for version in self._versions_of(model)
                ]
        except OSError as error:
            raise ModelError("the folder of models cannot be read") from error
        return tuple(sorted(found, key=lambda stored: (stored.model, stored.number)))

    def find(self, model: str, version: str) -> StoredVersion:
        """Return the version by its exact names; NotFoundError when none is listed under them."""
        for stored in self.versions():
            if (stored.model, stored.version) == (model, version):
                return stored
        raise NotFoundError("there is no such version of a model here")

    def read(self, stored: StoredVersion) -> ModelFile:
        """Return the version's model, every file of it checked; ModelError says what is wrong.

        What the card calls itself must be what its folders are called: a signed card serves under no other name.
        """
        try:
            with opened_folder(self._root, stored.model, stored.version) as folder:
                files = read_version(folder, MODEL_NAME, trusted_keys=self._keys)
        except OSError as error:
            raise ModelError(f"{stored.model} {stored.version} cannot be read") from error
        name, version = files.card.name or stored.model, files.card.version or stored.version
        if (name, version) != (stored.model, stored.version) or (self._keys and not files.card.version):
            raise ModelError("the card is of another model or version than the folder that it lies in")
        return model_in(files, stored.path)

    def _versions_of(self, model: str) -> list[str]:
        """Return the names of a model's versions."""
        with opened_folder(self._root, model) as folder:
            return list(_folders(folder, _VERSION))


def _folders(folder: int, name: re.Pattern[str]) -> Iterator[str]:
    """Yield the folders of such a name; links are passed over, with a word in the log."""
    with os.scandir(folder) as entries:
        for count, entry in enumerate(entries):
            if count >= _MAX_ENTRIES:
                LOG.warning("a folder of models holds more than %d entries; the rest is not looked at", _MAX_ENTRIES)
                return
            if not name.fullmatch(entry.name):
                continue
            if entry.is_symlink():
                LOG.warning("a link in the folder of models is not followed: %s", entry.name)
            elif entry.is_dir(follow_symlinks=False):
                yield entry.name
