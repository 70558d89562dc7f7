"""A part of a cut model that can be held at its work, by files, from another process."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from app.core.errors import ModelError
from engines.sub_model import SubModel, Tensors

GATE = "gate"


class HeldPart:
    """A part of `size`, held in two ways.

    While `gate` exists, it holds the batch with which all parts would be at work at once: the last part the first batch
    that it gets, the one before it the second, and so on, each until all hold one. Where a part waits for the answer of
    the next before it takes another batch they never do, and the hold ends in a ModelError after `patience_s`. While
    `stall-<rank>` exists, it holds any batch, and says so by `stalled-<rank>`.
    """

    def __init__(self, part: SubModel, *, rank: int, size: int, folder: Path, patience_s: float = 20.0) -> None:
        self._part, self._rank, self._size, self._folder = part, rank, size, folder
        self._patience_s = patience_s
        self._batches = 0

    def run(self, tensors: Tensors) -> dict[str, Any]:
        if (self._folder / GATE).exists():
            self._batches += 1
            if self._batches == self._size - self._rank:
                self._hold()
        stall = self._folder / f"stall-{self._rank}"
        while stall.exists():
            (self._folder / f"stalled-{self._rank}").touch()
            time.sleep(0.01)
        return self._part.run(tensors)

    def _hold(self) -> None:
        (self._folder / f"held-{self._rank}").touch()
        deadline_s = time.monotonic() + self._patience_s
        while held(self._folder) != list(range(self._size)):
            if time.monotonic() > deadline_s:
                raise ModelError("the parts are not at work at once")
            time.sleep(0.01)


def held(folder: Path) -> list[int]:
    """The ranks of the parts that hold a batch because of the gate, or did."""
    return sorted(int(path.name.removeprefix("held-")) for path in folder.glob("held-*"))


def release(folder: Path) -> None:
    """Take all gates and stalls away, and what the parts said."""
    names: Iterable[Path] = (path for kind in ("gate", "held-*", "stall-*", "stalled-*") for path in folder.glob(kind))
    for path in names:
        path.unlink(missing_ok=True)
