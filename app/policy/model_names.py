"""What models and their versions may be called: names that are safe in a path, a header and a metric."""

import re
from typing import Final, TypeAlias

from app.core.errors import InvalidParameterError

MODEL: Final = r"[a-z0-9][a-z0-9._-]{0,63}"
"""Source: Triton's traversal tests, CVE-2022-29216 and its kin: no separator, no leading dot, no capitals."""
_NUMBER: Final = "(?:0|[1-9][0-9]{0,8})"
VERSION: Final = rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}"
"""Source: Semantic Versioning 2.0.0, clause 2. No leading zeros: 1.0.0 and 01.0.0 would be two names of one version."""
_MODEL: Final = re.compile(MODEL)
_VERSION: Final = re.compile(VERSION)
_SHOWN: Final = 80
"""Characters of a wrong name that its error repeats."""

Order: TypeAlias = tuple[tuple[int, ...], str]


def checked_model(name: str) -> str:
    """The name; InvalidParameterError for one that no model may have."""
    if not _MODEL.fullmatch(name) or ".." in name:
        raise InvalidParameterError(f"model: {name[:_SHOWN]!r} is not of the form {MODEL} without two dots in a row")
    return name


def checked_version(version: str) -> str:
    """The version; InvalidParameterError where it is not three numbers with dots between them."""
    if not _VERSION.fullmatch(version):
        raise InvalidParameterError(f"version: {version[:_SHOWN]!r} is not three numbers such as 2.1.0")
    return version


def version_order(version: str) -> Order:
    """A key that sorts the oldest version first; what is not three numbers comes before them all, by its text."""
    is_numbers = _VERSION.fullmatch(version) is not None
    return (tuple(map(int, version.split("."))) if is_numbers else (), version)
