"""The frames of one connection: in order, bounded, offered again when an owner dies, each credit given back once."""

import pytest

from app.api.bodies import BodyBudget
from app.api.sending import StreamSender
from app.api.sent_frame import SentFrame
from app.core.errors import OverloadedError
from app.core.outcome import DropReason
from app.pipeline.stream_host import Offer
from tests.api.sender_parts import LIMITS, drained, frame, opened, seqs


def test_frames_are_offered_once_and_in_order() -> None:
    sender = opened()
    for seq in (0, 1, 5):
        sender.take(frame(seq))
    assert seqs(drained(sender)) == [0, 1, 5]
    assert sender.batch() == []


def test_an_offer_has_a_bounded_number_of_frames_and_bytes_but_always_one() -> None:
    sender = opened(window=8)
    for seq, n_bytes in enumerate([1, 1, 1, 60, 60, 500]):
        sender.take(frame(seq, n_bytes=n_bytes))
    batches = []
    while batch := sender.batch():
        batches.append(seqs(batch))
    assert batches == [[0, 1, 2], [3], [4], [5]]


def test_a_frame_is_kept_until_its_end_was_told_and_offered_to_the_next_owner() -> None:
    sender = opened()
    for seq in range(4):
        sender.take(frame(seq))
    drained(sender)
    sender.settle(1)
    sender.offer_again()
    assert seqs(drained(sender)) == [2, 3]
    sender.settle(3)
    sender.offer_again()
    assert drained(sender) == []
    assert sender.is_idle


def test_an_end_settles_every_frame_before_it() -> None:
    sender = opened()
    for seq in (0, 2, 4):
        sender.take(frame(seq))
    drained(sender)
    sender.settle(4)
    assert sender.is_idle
    assert sender.ack() == 4


def test_a_frame_without_a_number_counts_on_from_the_newest_anywhere() -> None:
    sender = opened(last_seq=6, told=6)
    sender.take(frame())
    sender.take(frame())
    assert seqs(drained(sender)) == [7, 8]
    sender.settle(20)
    sender.take(frame())
    assert seqs(drained(sender)) == [21]


def test_sixteen_bits_are_unwrapped_around_the_newest_frame() -> None:
    sender = opened(last_seq=65_534, told=65_534)
    for abs16 in (65_535, 0, 1):
        sender.take(frame(abs16=abs16))
    assert seqs(drained(sender)) == [65_535, 65_536, 65_537]
    sender.take(frame(abs16=65_000))
    assert sender.repeated == 1


@pytest.mark.parametrize("again", [1, 2])
def test_a_repeat_is_passed_over_acknowledged_and_costs_no_credit(again: int) -> None:
    sender = opened()
    assert sender.grant() == 4
    for seq in (1, 2):
        sender.take(frame(seq))
    drained(sender)
    sender.settle(2)
    assert (sender.grant(), sender.ack()) == (2, 2)
    sender.take(frame(again))
    assert sender.repeated == 1
    assert sender.batch() == []
    assert (sender.grant(), sender.ack()) == (1, 2)
    assert sender.ack() is None


def test_a_late_frame_is_passed_over_and_a_leap_is_not() -> None:
    sender = opened()
    for seq in (3, 1_000_000, 4):
        sender.take(frame(seq))
    assert seqs(drained(sender)) == [3, 1_000_000]
    assert sender.repeated == 1


def test_frames_whose_end_the_client_has_are_passed_over_and_open_ones_are_held_again() -> None:
    sender = opened(last_seq=9, told=6)
    for seq in (6, 7, 8, 9):
        sender.take(frame(seq))
    assert seqs(drained(sender)) == [7, 8, 9]


def test_every_frame_over_the_window_goes_on_as_an_overload_without_its_picture() -> None:
    sender = opened(window=2)
    for seq in range(4):
        sender.take(frame(seq))
    offers = drained(sender)
    assert [(offer.seq, offer.dropped, len(offer.data)) for offer in offers] == [
        (0, None, 1),
        (1, None, 1),
        (2, DropReason.OVERLOADED, 0),
        (3, DropReason.OVERLOADED, 0),
    ]
    assert sender.surplus == 2


def test_a_sender_that_knows_no_bounds_is_refused() -> None:
    sender = opened(window=2)
    for seq in range(2 + LIMITS.surplus_frames):
        sender.take(frame(seq))
    with pytest.raises(OverloadedError):
        sender.take(frame(99))


def test_a_client_that_keeps_to_its_credits_never_has_a_surplus() -> None:
    sender = opened(window=3)
    credit, sent = sender.grant(), 0
    for _ in range(50):
        for _ in range(credit):
            sender.take(frame(sent))
            sent += 1
        drained(sender)
        sender.settle(sent - 2)  # one stays open
        credit = sender.grant()
    assert sender.surplus == 0
    assert sent > 50


def test_credits_come_back_after_a_surplus_too() -> None:
    sender = opened(window=2)
    granted = sender.grant()
    for seq in range(5):
        sender.take(frame(seq))
    drained(sender)
    sender.settle(4)
    granted += sender.grant()
    assert granted - 5 == 2  # the window again, as the client counts


def test_a_smaller_window_takes_back_no_credit_but_gives_none_until_it_fits() -> None:
    sender = opened(window=4)
    assert sender.grant() == 4
    sender.take(frame(0))
    sender.take(frame(1))
    drained(sender)
    sender.accepted(window=2)
    sender.settle(1)
    assert sender.grant() == 0
    sender.take(frame(2))
    drained(sender)
    sender.settle(2)
    assert sender.grant() == 1


def test_memory_is_bounded_for_one_connection_and_for_all_together() -> None:
    budget = BodyBudget(1500)
    ours, theirs = opened(window=50, budget=budget), opened(window=50, budget=budget)
    for seq in range(4):
        ours.take(frame(seq, n_bytes=400))
        theirs.take(frame(seq, n_bytes=400))
    assert budget.held == 1200
    assert (ours.surplus, theirs.surplus) == (2, 3)
    ours.release()
    theirs.release()
    assert budget.held == 0


def test_a_settled_frame_gives_its_memory_back() -> None:
    budget = BodyBudget(1000)
    sender = opened(budget=budget)
    sender.take(frame(0, n_bytes=700))
    assert budget.held == 700
    sender.settle(0)
    assert budget.held == 0
    sender.take(frame(1, n_bytes=700))
    assert sender.surplus == 0


def test_what_comes_before_the_stream_is_known_waits_numbered_when_it_is() -> None:
    sender = StreamSender(BodyBudget(1000), LIMITS)
    for _ in range(3):
        sender.take(frame())
    assert sender.batch() == []
    assert sender.grant() == 0
    sender.open(last_seq=4, told=4, window=10)
    assert [(offer.seq, offer.dropped) for offer in drained(sender)] == [
        (5, None),
        (6, None),
        (7, DropReason.OVERLOADED),
    ]
    assert sender.grant() == 10


def test_an_early_frame_that_has_ended_already_is_passed_over() -> None:
    budget = BodyBudget(1000)
    sender = StreamSender(budget, LIMITS)
    sender.take(frame(3))
    sender.take(frame(5))
    sender.open(last_seq=4, told=4, window=10)
    assert seqs(drained(sender)) == [5]
    assert (sender.repeated, budget.held) == (1, 1)


def test_after_the_stop_nothing_more_is_taken_and_what_is_held_goes_on() -> None:
    sender = opened()
    sender.take(frame(0))
    sender.stop()
    sender.take(frame(1))
    assert seqs(drained(sender)) == [0]
    assert sender.ignored == 1
    sender.settle(0)
    assert sender.is_idle
    assert sender.grant() == 0


def test_a_frame_that_its_sender_dropped_is_offered_as_such() -> None:
    sender = opened()
    sender.take(SentFrame(offer=Offer(seq=0, dropped=DropReason.SAMPLED)))
    assert [offer.dropped for offer in drained(sender)] == [DropReason.SAMPLED]
    assert sender.surplus == 0


def test_the_owner_is_asked_only_for_what_it_took() -> None:
    sender = opened()
    for seq in range(3):
        sender.take(frame(seq))
    sender.batch()
    assert sender.awaited is None
    sender.accepted(window=4)
    assert sender.awaited == 2
    sender.settle(1)
    assert sender.awaited == 2
    sender.offer_again()
    assert sender.awaited is None
    drained(sender)
    sender.accepted(window=4)
    sender.settle(2)
    assert sender.awaited is None


def test_a_reader_is_acknowledged_nothing() -> None:
    sender = opened()
    sender.settle(7)
    assert sender.ack() is None
