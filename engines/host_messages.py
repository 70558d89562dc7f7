"""What a model's process and its owner say to each other: one JSON list a datagram, read as if by a stranger."""

import json
import logging
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

from app.core.errors import InternalError, SightlineError
from app.core.model import Head, ModelSpec
from engines.opening import Kind

MAX_BYTES: Final = 131_072
"""A specification with the names of some thousand classes fits; a socket's buffer holds it."""
_MAX_SIZE: Final = 1 << 24
"""No dimension of a canvas or a row is larger."""
_MAX_DIMENSIONS: Final = 8
_MAX_TEXT: Final = 16_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the process is to open, as `engines.opening.open_engine` takes it; a path is absolute.

    The process reads the file itself: with `sha256` it serves what its owner has checked, or nothing.

    `memory_bytes` caps its address space.
    """

    model: str | None
    kind: Kind
    streams: int | None
    threads_per_stream: int
    max_batch: int
    memory_bytes: int | None
    sha256: str | None = None

    @property
    def path(self) -> Path | None:
        """Where the model lies."""
        return None if self.model is None else Path(self.model)

    def encode(self) -> bytes:
        """As one datagram."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, datagram: bytes) -> Self:
        """The job that its owner sent."""
        return cls(**json.loads(datagram))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The engine is open and warm. `row_shape` is that of one canvas's row, `runtime` what computes it."""

    spec: ModelSpec
    streams: int
    row_shape: tuple[int, ...]
    runtime: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An error of ours by its code, with its words for the caller."""

    code: str
    detail: str

    @classmethod
    def of(cls, error: SightlineError) -> Self:
        """The message for an error."""
        return cls(code=error.code, detail=error.detail[:_MAX_TEXT])

    @property
    def error(self) -> SightlineError:
        """The error; an InternalError where no class has the code."""
        kind = _errors().get(self.code)
        return InternalError() if kind is None else kind(self.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A line of the process's log, and the traceback with it."""

    level: int
    text: str


Message: TypeAlias = Ready | Failed | Logged


def encode(message: Message) -> bytes:
    """The message as one datagram."""
    return json.dumps([type(message).__name__, asdict(message)]).encode()


def decode(datagram: bytes) -> Message:
    """The message in a datagram; ValueError for anything that is not one."""
    try:
        name, values = json.loads(datagram)
        match name:
            case "Ready":
                return _ready(values)
            case "Failed":
                return Failed(code=_text(values["code"]), detail=_text(values["detail"]))
            case "Logged":
                level = _size(values["level"])
                return Logged(level=min(level, logging.CRITICAL), text=_text(values["text"]))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError("not a message") from error
    raise ValueError("not a message")


def _ready(values: dict[str, Any]) -> Ready:
    row_shape = tuple(_size(size) for size in values["row_shape"])
    if not 1 <= len(row_shape) <= _MAX_DIMENSIONS:
        raise ValueError("a row has a few dimensions")
    return Ready(
        spec=_spec(values["spec"]),
        streams=_size(values["streams"]),
        row_shape=row_shape,
        runtime=_text(values["runtime"]),
    )


def _spec(values: dict[str, Any]) -> ModelSpec:
    scale = values["scale"]
    if not isinstance(scale, float) or not isfinite(scale):
        raise ValueError("a scale is a finite number")
    return ModelSpec(
        name=_text(values["name"]),
        version=_text(values["version"]),
        labels=tuple(_text(label) for label in values["labels"]),
        head=Head(values["head"]),
        input_width_px=_size(values["input_width_px"]),
        input_height_px=_size(values["input_height_px"]),
        max_batch=None if values["max_batch"] is None else _size(values["max_batch"]),
        scale=scale,
        channel_order=_text(values["channel_order"]),
    )


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"{value!r} is no text")


def _size(value: object) -> int:
    if type(value) is int and 0 < value <= _MAX_SIZE:
        return value
    raise ValueError(f"{value!r} is no size")


def _errors() -> dict[str, type[SightlineError]]:
    """Every class of error by its code."""
    found: dict[str, type[SightlineError]] = {}
    waiting = [SightlineError]
    while waiting:
        kind = waiting.pop()
        found.setdefault(kind.code, kind)
        waiting += kind.__subclasses__()
    return {**found, InternalError.code: InternalError}
