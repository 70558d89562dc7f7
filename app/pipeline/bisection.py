"""A batch that fails, cut in halves until those who broke it stand alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

from app.core.errors import InternalError, UnavailableError

A = TypeVar("A")
B = TypeVar("B")

POISONED: Final = 3
"""So many broken items of one batch are surely found. With more of them some neighbours may fail as well: a batch in
which everything fails would otherwise hold its lane for twice as many tries as it has items."""


@dataclass(frozen=True, slots=True)
class Broken:
    """What an item ended in."""

    error: BaseException


Work: TypeAlias = Callable[[list[A]], Sequence[B]]


@dataclass(frozen=True, slots=True)
class Ended(Generic[B]):
    """One answer or error per item, in order, and after how many calls of the work."""

    results: tuple[B | Broken, ...]
    tries: int


def most_tries(items: int) -> int:
    """Calls of the work that a batch of so many items may cost: one, and two a halving for each that is broken."""
    return 1 + 2 * POISONED * (items - 1).bit_length()


def run_apart(work: Work[A, B], items: Sequence[A]) -> Ended[B]:
    """Every item's answer from `work`, which gives one per item, in order, or raises for the whole batch.

    UnavailableError, and what is not an Exception, says that the engine is gone: nothing is tried again, and whoever
    has no answer yet gets it. So with an answer of the wrong length, which is the work's fault: InternalError.
    """
    results: list[B | Broken] = [Broken(InternalError())] * len(items)
    pending = [(0, len(items))]
    tries = 0
    while pending:
        begin, end = pending.pop()
        tries += 1
        try:
            answers = work(list(items[begin:end]))
        except UnavailableError as error:
            _fill(results, [*pending, (begin, end)], error)
            break
        except Exception as error:  # noqa: BLE001  whatever it is, whoever caused it is looked for
            if end - begin > 1 and tries + len(pending) + 2 <= most_tries(len(items)):
                middle = (begin + end) // 2
                pending += [(middle, end), (begin, middle)]
            else:
                _fill(results, [(begin, end)], error)
        except BaseException:  # noqa: BLE001  a thread that ended here would leave its callers waiting
            _fill(results, [*pending, (begin, end)], UnavailableError())
            break
        else:
            if len(answers) != end - begin:
                _fill(results, [*pending, (begin, end)], InternalError())
                break
            results[begin:end] = answers
    return Ended(tuple(results), tries)


def _fill(results: list[B | Broken], parts: Sequence[tuple[int, int]], error: BaseException) -> None:
    for begin, end in parts:
        results[begin:end] = [Broken(error)] * (end - begin)
