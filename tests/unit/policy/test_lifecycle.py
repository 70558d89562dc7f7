from itertools import product

import pytest

from app.core.errors import ConflictError
from app.policy.lifecycle import GONE, NEXT, ROUTED, USABLE, Phase, transition

LEGAL = """
UNLOADED LOADING
LOADING WARM, LOADING FAILED, LOADING DRAINING
WARM CANARY, WARM PRIMARY, WARM DRAINING
CANARY PRIMARY, CANARY DRAINING
PRIMARY CANARY, PRIMARY DRAINING
DRAINING UNLOADED, DRAINING FAILED, DRAINING CANARY, DRAINING PRIMARY, DRAINING WARM
FAILED LOADING
"""
PAIRS = {(Phase(pair.split()[0]), Phase(pair.split()[1])) for pair in LEGAL.strip().replace("\n", ", ").split(", ")}


@pytest.mark.parametrize(("phase", "to"), sorted(PAIRS))
def test_every_legal_step_leads_there(phase: Phase, to: Phase) -> None:
    assert transition(phase, to) is to


@pytest.mark.parametrize(("phase", "to"), sorted(set(product(Phase, Phase)) - PAIRS))
def test_every_other_step_is_a_conflict(phase: Phase, to: Phase) -> None:
    with pytest.raises(ConflictError, match=f"{phase} cannot become {to}"):
        transition(phase, to)


def test_what_answers_is_never_dropped_without_draining() -> None:
    assert all(NEXT[phase].isdisjoint(GONE) for phase in USABLE)


def test_a_phase_is_routed_usable_or_gone_as_the_table_says() -> None:
    assert ROUTED < USABLE
    assert USABLE.isdisjoint(GONE)
    assert set(Phase) - USABLE - GONE == {Phase.LOADING, Phase.DRAINING}
