"""A minute of the scenario `outbox`: what an outage leaves behind, with the real outbox and a virtual clock."""

import asyncio
from pathlib import Path

from load_tests.outbox import simulate


def test_an_outage_at_a_thousand_events_a_second_loses_none_and_repeats_only_under_the_same_id(tmp_path: Path) -> None:
    account = asyncio.run(simulate(tmp_path, before_s=5, outage_s=50, after_s=5))
    assert account.told == 60_000
    assert (account.lost, account.strange, account.disordered_streams, account.dead) == (0, 0, 0, 0)
    assert account.duplicated > 0, "answers were lost, so events must have come twice"
    assert 0 < account.tried_while_down < 1000


def test_the_account_of_an_outage_notices_one_lost_event(tmp_path: Path) -> None:
    lost = frozenset({f"{0:032x}:0:17"})
    assert asyncio.run(simulate(tmp_path, before_s=1, outage_s=2, after_s=1, loses=lost)).lost == 1
