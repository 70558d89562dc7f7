"""A reader's call to an owner that neither answers nor dies."""

import asyncio
from typing import Any

import pytest

from app.core.errors import UnavailableError
from deployments import streams
from deployments.streams import ServeStreams


class Owner:
    """A handle whose first `silent` calls never come back."""

    def __init__(self, *, silent: int) -> None:
        self.silent, self.asked = silent, 0
        self.events = self

    def options(self, **_: object) -> "Owner":
        return self

    async def remote(self, *_: object, **__: object) -> str:
        self.asked += 1
        if self.asked <= self.silent:
            await asyncio.Event().wait()
        return "events"


def read(owner: Owner) -> Any:
    store: Any = None
    handle: Any = owner
    return asyncio.run(ServeStreams(handle, store).events("s", position=0, wait_s=0.01))


def test_an_owner_that_says_nothing_is_asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_SILENCE_S", 0.02)
    owner = Owner(silent=2)
    assert read(owner) == "events"
    assert owner.asked == 3


def test_an_owner_that_never_says_anything_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_SILENCE_S", 0.02)
    monkeypatch.setattr(streams, "_PATIENCE_S", 0.1)
    with pytest.raises(UnavailableError, match="does not answer"):
        read(Owner(silent=99))
