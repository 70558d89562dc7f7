"""A model cut into parts, as it lies in a folder: `split.json` and one ONNX file each; read without `onnx`."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from app.core.errors import ModelError

INDEX_NAME = "split.json"
_MAX_BYTES = 1 << 20
_SCHEMA = 1
_FILE = re.compile(r"part-\d{1,4}\.onnx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part. It takes the tensors `takes`, computes `gives`, and passes on `carries`, which later parts need.

    `flops` and `received_bytes`, all that comes to it from the part before, are for one picture.
    """

    file: str
    sha256: str
    flops: int
    received_bytes: int
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    carries: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """All parts in order, and the SHA-256 of the model that they were cut from."""

    whole_sha256: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        """Raise a ModelError unless every part gets what it takes from those before it."""
        there = set(self.inputs)
        for part in self.parts:
            if not _FILE.fullmatch(part.file):
                raise ModelError(f"{INDEX_NAME} names a file that is no part")
            if not there.issuperset((*part.takes, *part.carries)):
                raise ModelError(f"{part.file} needs tensors that no part before it passes on")
            there = {*part.gives, *part.carries}
        if not self.parts or not there.issuperset(self.outputs):
            raise ModelError(f"the parts in {INDEX_NAME} do not give the model's outputs")

    def write(self, folder: Path) -> None:
        """Write the index into the folder of the parts."""
        content = {"schema": _SCHEMA, **asdict(self)}
        (folder / INDEX_NAME).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def read(self, rank: int, folder: Path) -> bytes:
        """Return the bytes of part number `rank`, which are what the index describes; a ModelError otherwise."""
        part = self.parts[rank]
        try:
            data = (folder / part.file).read_bytes()
        except OSError as error:
            raise ModelError(f"there is no readable {part.file}") from error
        if hashlib.sha256(data).hexdigest() != part.sha256:
            raise ModelError(f"{part.file} is not the file that {INDEX_NAME} describes: the SHA-256 differs")
        return data


def read_parts(folder: Path) -> Parts:
    """Return the parts that lie in the folder; a ModelError says what is wrong with their index."""
    path = folder / INDEX_NAME
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError(f"{INDEX_NAME} is larger than {_MAX_BYTES} bytes")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f"there is no readable {INDEX_NAME}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{INDEX_NAME} is not JSON") from error
    if not isinstance(content, dict) or content.get("schema") != _SCHEMA:
        raise ModelError(f"{INDEX_NAME} is not of schema {_SCHEMA}")
    parts = content.get("parts")
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise ModelError(f'"parts" in {INDEX_NAME} must be a list of objects')
    return Parts(
        whole_sha256=_text(content, "whole_sha256"),
        inputs=_names(content, "inputs"),
        outputs=_names(content, "outputs"),
        parts=tuple(map(_part, parts)),
    )


def _part(content: Mapping[str, object]) -> Part:
    return Part(
        file=_text(content, "file"),
        sha256=_text(content, "sha256"),
        flops=_count(content, "flops"),
        received_bytes=_count(content, "received_bytes"),
        takes=_names(content, "takes"),
        gives=_names(content, "gives"),
        carries=_names(content, "carries"),
    )


def _text(content: Mapping[str, object], key: str) -> str:
    value = content.get(key)
    if not isinstance(value, str):
        raise ModelError(f'"{key}" in {INDEX_NAME} must be a text')
    return value


def _count(content: Mapping[str, object], key: str) -> int:
    value = content.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ModelError(f'"{key}" in {INDEX_NAME} must be a whole number')
    return value


def _names(content: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = content.get(key)
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(name, str) for name in value):
        raise ModelError(f'"{key}" in {INDEX_NAME} must be a list of names')
    return tuple(value)
