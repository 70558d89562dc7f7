import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.ledger import Ledger, LedgerError
from app.core.result import FrameResult, Status, Summary


def ended(seq: int, status: Status = Status.RESULT, reason: str | None = None) -> FrameResult:
    return FrameResult(stream_id="s", epoch=0, seq=seq, event_id=f"s:0:{seq}", status=status, reason=reason)


def balance(summary: Summary) -> int:
    return (
        summary.answered + sum(summary.dropped.values()) + sum(summary.errors.values()) + summary.in_flight
    ) - summary.captured


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(Status)), max_size=60))
def test_the_account_balances_at_every_step(steps: list[tuple[bool, Status]]) -> None:
    ledger = Ledger()
    for seq, (is_settled, status) in enumerate(steps):
        ledger.capture(seq)
        outcomes = [ended(seq, status, "why")] * is_settled
        for outcome in outcomes:
            ledger.settle(outcome)
        assert balance(ledger.summary(stream_id="s", epoch=0)) == 0


def test_each_status_has_its_bucket() -> None:
    ledger = Ledger()
    for seq in range(4):
        ledger.capture(seq)
    ledger.settle(ended(0))
    ledger.settle(ended(1, Status.DROPPED, "sampled"))
    ledger.settle(ended(2, Status.ERROR, "undecodable"))
    summary = ledger.summary(stream_id="s", epoch=0)
    assert (summary.answered, summary.dropped, summary.errors) == (1, {"sampled": 1}, {"undecodable": 1})
    assert (summary.captured, summary.in_flight) == (4, 1)


def test_a_frame_settled_twice_is_caught() -> None:
    ledger = Ledger()
    ledger.capture(0)
    ledger.settle(ended(0))
    with pytest.raises(LedgerError):
        ledger.settle(ended(0))


def test_a_frame_that_was_never_captured_is_caught() -> None:
    with pytest.raises(LedgerError):
        Ledger().settle(ended(3))


def test_a_frame_captured_twice_is_caught() -> None:
    ledger = Ledger()
    ledger.capture(0)
    with pytest.raises(LedgerError):
        ledger.capture(0)
