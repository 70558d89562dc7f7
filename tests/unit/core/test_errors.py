import pickle

import pytest

from app.core import errors


def _subclasses(kind: type[errors.SightlineError]) -> list[type[errors.SightlineError]]:
    return [kind, *(deeper for child in kind.__subclasses__() for deeper in _subclasses(child))]


EVERY_ERROR = [kind for kind in _subclasses(errors.SightlineError) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", EVERY_ERROR)
def test_every_error_survives_pickle_with_its_words(kind: type[errors.SightlineError]) -> None:
    copy = pickle.loads(pickle.dumps(kind("words")))  # noqa: S301  our own bytes
    assert (type(copy), copy.detail, str(copy)) == (kind, "words", "words")


@pytest.mark.parametrize("kind", [errors.OverloadedError, errors.UnavailableError])
def test_the_time_to_wait_survives_pickle(kind: type[errors.OverloadedError]) -> None:
    error = kind("busy", 7.5)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    assert copy.retry_after_s in {7.5, 1.0}
    assert copy.__dict__["retry_after_s"] == 7.5


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in EVERY_ERROR[1:] if kind is not errors.InternalError]
    assert len(codes) == len(set(codes))
    assert "internal" not in codes


def test_the_tree_in_the_docstring_names_every_error() -> None:
    assert all(kind.__name__ in (errors.__doc__ or "") for kind in EVERY_ERROR)
    assert all(str(int(kind.status)) in (errors.__doc__ or "") for kind in EVERY_ERROR)
