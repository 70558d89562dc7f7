"""Swaps in one process: none is noticed, and the account notices each fault that is planted."""

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.core.ports import RawOutput
from load_tests.swaps_in_process import Account, MarkEngine, run


class Neighbour(MarkEngine):
    """Says that it is one version, and answers as the next."""

    def __init__(self, number: int) -> None:
        super().__init__(number + 1)
        self.spec = MarkEngine(number).spec


class Stale(MarkEngine):
    """Answers for every picture what it would for a black one."""

    def infer(self, pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        return super().infer([pixel * 0 for pixel in pixels])


def account_of(engine: type[MarkEngine]) -> Account:
    swaps, _, _ = asyncio.run(run(4, engine))
    return swaps.account


def test_every_frame_is_answered_by_a_version_that_was_there() -> None:
    account = account_of(MarkEngine)
    assert account.answered == account.sent > 0
    assert (account.torn, dict(account.failed), account.races_won_late) == ([], {}, 0)


def test_a_version_that_answers_as_another_is_torn() -> None:
    assert "and sees" in account_of(Neighbour).torn[0]


def test_an_answer_to_another_picture_is_torn() -> None:
    assert "another picture" in account_of(Stale).torn[0]
