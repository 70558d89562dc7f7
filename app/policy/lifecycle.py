"""The life of one version of a model: which phase may follow which. Source: CONTRACT.md §2; MISSION.md row 46.

| from     | to                                                                                        |
|----------|-------------------------------------------------------------------------------------------|
| UNLOADED | LOADING (asked for)                                                                       |
| LOADING  | WARM (every replica has it), FAILED (one cannot load it), DRAINING (no longer asked for)  |
| WARM     | CANARY, PRIMARY (routed), DRAINING (no longer asked for, or one replica cannot load it)   |
| CANARY   | PRIMARY (it has the largest weight), DRAINING (in no route table any more)                |
| PRIMARY  | CANARY (another has the largest weight), DRAINING                                         |
| DRAINING | UNLOADED, FAILED (nobody holds it any more), CANARY, PRIMARY (routed again), WARM (asked) |
| FAILED   | LOADING (asked for again)                                                                 |

What has answered frames drains before it is unloaded, FAILED or not: there may be frames under way to it.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from app.core.errors import ConflictError


class Phase(StrEnum):
    """Where a version stands."""

    LOADING = "LOADING"
    WARM = "WARM"
    CANARY = "CANARY"
    PRIMARY = "PRIMARY"
    DRAINING = "DRAINING"
    UNLOADED = "UNLOADED"
    FAILED = "FAILED"


NEXT: Final[Mapping[Phase, frozenset[Phase]]] = MappingProxyType(
    {
        Phase.UNLOADED: frozenset({Phase.LOADING}),
        Phase.LOADING: frozenset({Phase.WARM, Phase.FAILED, Phase.DRAINING}),
        Phase.WARM: frozenset({Phase.CANARY, Phase.PRIMARY, Phase.DRAINING}),
        Phase.CANARY: frozenset({Phase.PRIMARY, Phase.DRAINING}),
        Phase.PRIMARY: frozenset({Phase.CANARY, Phase.DRAINING}),
        Phase.DRAINING: frozenset({Phase.UNLOADED, Phase.FAILED, Phase.CANARY, Phase.PRIMARY, Phase.WARM}),
        Phase.FAILED: frozenset({Phase.LOADING}),
    }
)
ROUTED: Final = frozenset({Phase.CANARY, Phase.PRIMARY})
"""Named by the route table."""
USABLE: Final = frozenset({Phase.WARM, *ROUTED})
"""May answer a frame that asks for this version."""
GONE: Final = frozenset({Phase.UNLOADED, Phase.FAILED})
"""No replica is to hold it."""


def transition(phase: Phase, to: Phase) -> Phase:
    """`to`, where that may follow `phase`; to stay is no transition. Otherwise ConflictError."""
    if to not in NEXT[phase]:
        raise ConflictError(f"a version that is {phase} cannot become {to}")
    return to
