"""Kubernetes manifests as plain dicts, read from YAML of several documents."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from app.core.errors import InvalidRequestError

Manifest = Mapping[str, Any]


def read_manifests(text: str, *, name: str) -> list[Manifest]:
    """Return every object of a YAML text in order, those inside a `List` too; `name` is what errors call the text.

    Empty documents are left out. InvalidRequestError when it is no YAML, holds no object, or one without kind or name.
    """
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise InvalidRequestError(f"{name} is not YAML: {first_line(error)}") from None
    found = [manifest for document in documents for manifest in _objects(document, name)]
    if not found:
        raise InvalidRequestError(f"{name} holds no manifest")
    return found


def first_line(error: Exception) -> str:
    """What is wrong in a YAML text, and in which line, in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem} in line {error.problem_mark.line + 1}"
    return str(error).splitlines()[0]


def section(value: object, *path: str) -> Mapping[str, Any]:
    """Return the mapping at a path of keys; empty where there is none, since the API server checks types."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def entries(value: object) -> list[Mapping[str, Any]]:
    """Return the mappings of a list; empty where there is no list."""
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def title(manifest: Manifest) -> str:
    """How sentences call an object: its kind and name."""
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def _objects(document: object, name: str) -> Iterator[Manifest]:
    if not isinstance(document, Mapping) or not isinstance(document.get("kind"), str):
        raise InvalidRequestError(f"{name} holds a document without kind")
    if document["kind"] == "List":
        for item in document.get("items") or []:
            yield from _objects(item, name)
        return
    if not isinstance(section(document, "metadata").get("name"), str):
        raise InvalidRequestError(f"{name} holds a {document['kind']} without metadata.name")
    yield document
