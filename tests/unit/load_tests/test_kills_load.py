"""What callers saw of a fault, from what became of each request."""

import pytest

from load_tests.kills_load import Seen, Still, seen_of


def still(due_s: float, first: str = "result", last: str | None = None, *, node: str = "one") -> Still:
    return Still(node=node, due_s=due_s, first=first, first_s=due_s + 0.5, last=last or first, last_s=due_s + 1.0)


def test_nothing_was_seen() -> None:
    seen = seen_of([still(at) for at in (1.0, 2.0, 3.0)], struck_s=1.0)
    assert (seen.requests, seen.failed, seen.outage_s, seen.recovered_s) == (3, 0, 0.0, 0.0)
    assert seen_of([], struck_s=0.0) == Seen(
        requests=0, failed=0, failed_at_both=0, untyped={}, outage_s=0.0, outage_at_both_s=0.0, recovered_s=0.0
    )


def test_a_door_that_was_closed_is_told_by_itself_and_by_when_requests_were_due() -> None:
    told = [
        still(0.0),
        still(1.0, "no answer: ConnectionRefusedError", "result"),
        still(1.5, node="two"),
        still(2.0, "unavailable", "unavailable"),
        still(2.5, node="two"),
        still(3.0),
    ]
    seen = seen_of(told, struck_s=0.5)
    assert (seen.failed, seen.failed_at_both) == (2, 1)
    assert seen.untyped == {"no answer: ConnectionRefusedError": 1}
    assert seen.outage_s == pytest.approx(2.0)  # from 1.0 until the result of what was due at 3.0
    assert seen.outage_at_both_s == pytest.approx(0.5)  # from 2.0 until somebody was answered at 2.5
    assert seen.recovered_s == pytest.approx(2.0)


def test_a_door_that_stays_closed_is_out_until_the_last_request() -> None:
    assert seen_of([still(0.0), still(1.0, "x", "result"), still(4.0, "x", "result")], struck_s=0.0).outage_s == 3.0
