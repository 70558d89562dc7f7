"""Kubernetes manifests as plain dicts, read from YAML of several documents."""

import json
import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from app.core.errors import InvalidRequestError

Manifest = Mapping[str, Any]
# PyYAML lets what a tagged or odd scalar raises (`!!int ""`, 2001-99-99, `!!bool a`) and too deep nesting through.
_UNREADABLE = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError)


def read_manifests(text: str, *, name: str) -> list[Manifest]:
    """Return every object of a YAML text in order, those inside a `List` too; `name` is what errors call the text.

    Empty documents are left out. InvalidRequestError when it is no YAML, holds no object, or one without kind or name.
    """
    documents = [document for document in read_yaml(text, name=name) if document is not None]
    found = [manifest for document in documents for manifest in _objects(document, name)]
    if not found:
        raise InvalidRequestError(f"{name} holds no manifest")
    return found


def read_yaml(text: str, *, name: str) -> list[Any]:
    """Return every document of a YAML text; InvalidRequestError, in one line, when it is no YAML."""
    try:
        documents = list(yaml.safe_load_all(text))
        json.dumps(documents, default=str)  # what has no JSON is no manifest: numbers without end, loops of anchors
    except _UNREADABLE as error:
        raise InvalidRequestError(f"{name} is not YAML: {_first_line(error)}") from None
    return documents


def section(value: object, *path: str) -> Mapping[str, Any]:
    """Return the mapping at a path of keys; empty where there is none."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def entries(value: object) -> list[Mapping[str, Any]]:
    """Return the mappings of a list; empty where there is no list."""
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def whole(value: object) -> int | None:
    """Return a whole number as it is; None for anything else, true and false and what has over 64 bits among it."""
    is_whole = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    return value if isinstance(value, int) and is_whole else None


def shown(value: object) -> str:
    """A value in a few characters, whatever it is."""
    try:
        return reprlib.repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return "a huge number"


def title(manifest: Manifest) -> str:
    """How sentences call an object: its kind and name."""
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def _objects(document: object, name: str) -> Iterator[Manifest]:
    if not isinstance(document, Mapping) or document.get("kind") != "List":
        yield _checked(document, name)
        return
    items = document.get("items") or []
    if not isinstance(items, list):
        raise InvalidRequestError(f"{name} holds a List whose items are no list")
    yield from (_checked(item, name) for item in items)


def _checked(document: object, name: str) -> Manifest:
    if not isinstance(document, Mapping) or not isinstance(document.get("kind"), str):
        raise InvalidRequestError(f"{name} holds a document without kind")
    if not isinstance(section(document, "metadata").get("name"), str):
        raise InvalidRequestError(f"{name} holds a {document['kind']!a} without metadata.name")
    return document


def _first_line(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem} in line {error.problem_mark.line + 1}"
    return next(iter(str(error).splitlines()), type(error).__name__)
