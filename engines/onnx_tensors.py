"""Puts the weights that an ONNX file keeps elsewhere inside it, so that no runtime opens a file for them.

A runtime that is given a model's bytes looks for such weights relative to where the process happens to stand, or at an
address in its own memory, wherever the file says. Source: onnx/onnx.proto; onnxruntime pull request 26776.
"""

from collections.abc import Mapping

from app.core.errors import ModelError
from engines.protobuf_wire import bytes_field, enum_in, fields, message_in, text_in, values

_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 9, 13, 14
_EXTERNAL = 1
_KEY, _VALUE = 1, 2
_MAX_DEPTH = 64
"""Graphs within graphs; protobuf's own parsers stop at 100 messages."""
_PARTS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
"""Which fields of which message lead to tensors."""


def with_tensors_inside(model: bytes, files: Mapping[str, bytes]) -> bytes:
    """Return the model with every tensor's values in it, taken from `files` by their names; unchanged if they are.

    ModelError for a tensor that names anything else than one of `files`, or a range that the file does not have.
    """
    whole = memoryview(model)
    try:
        filled = _within(whole, "model", files, depth=0)
        return model if filled is whole else bytes(filled)
    except (ValueError, IndexError, TypeError, KeyError) as error:
        raise ModelError("this file is not an ONNX model") from error


def _within(message: memoryview, kind: str, files: Mapping[str, bytes], *, depth: int) -> bytes | memoryview:
    """Return the message with all tensors below it filled; itself, not a copy, where there was nothing to do."""
    if depth > _MAX_DEPTH:
        raise ValueError("graphs nested too deep")
    if kind == "tensor":
        return _filled(message, files)
    parts: list[bytes | memoryview] = []
    is_changed = False
    for number, value, whole in fields(message):
        below = _PARTS[kind].get(number)
        if below is None or isinstance(value, int):
            parts.append(whole)
            continue
        content = _within(value, below, files, depth=depth + 1)
        is_changed |= content is not value
        parts.extend([whole] if content is value else bytes_field(number, content))
    return b"".join(parts) if is_changed else message


def _filled(tensor: memoryview, files: Mapping[str, bytes]) -> bytes | memoryview:
    """Return the tensor with its values inside."""
    if all(enum_in(value) != _EXTERNAL for number, value, _ in fields(tensor) if number == _DATA_LOCATION):
        return tensor
    where: dict[str, str] = {}
    parts: list[bytes | memoryview] = []
    for number, value, whole in fields(tensor):
        if number == _EXTERNAL_DATA:
            entry = values(message_in(value))
            where[text_in(entry[_KEY])] = text_in(entry.get(_VALUE, memoryview(b"")))
        elif number not in {_RAW_DATA, _DATA_LOCATION}:
            parts.append(whole)
    return b"".join([*parts, *bytes_field(_RAW_DATA, _range(where, files))])


def _range(where: Mapping[str, str], files: Mapping[str, bytes]) -> memoryview:
    """Return the bytes that a tensor's `location`, `offset` and `length` name."""
    content = files.get(where.get("location", ""))
    if content is None:
        raise ModelError("this model keeps its weights in other files that its card does not list")
    start = int(where.get("offset", "0"))
    length = int(where.get("length", len(content) - start))
    if start < 0 or length < 0 or start + length > len(content):
        raise ModelError("this model names weights beyond the end of the file that should hold them")
    return memoryview(content)[start : start + length]
