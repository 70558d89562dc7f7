"""The sender against a model of its owner: whatever happens, each frame ends once."""

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.bodies import BodyBudget
from app.api.sending import StreamSender
from app.pipeline.stream_host import Offer
from tests.api.sender_parts import LIMITS, frame


@dataclass
class Owner:
    """An owner as the seam describes it: captures what grows, ends in order, forgets what had no end when it dies."""

    last_seq: int = -1
    ended: list[int] = field(default_factory=list)
    open: list[int] = field(default_factory=list)

    def offer(self, offers: list[Offer], *, after_seq: int) -> bool:
        if after_seq > self.last_seq:
            return False
        for offer in offers:
            assert offer.seq is not None
            if offer.seq > self.last_seq:
                self.last_seq = offer.seq
                self.open.append(offer.seq)
        return True

    def end(self) -> list[int]:
        ended, self.open = self.open[:2], self.open[2:]
        self.ended += ended
        return ended

    def die(self) -> None:
        self.open.clear()
        self.last_seq = self.ended[-1] if self.ended else -1


class TrustingSender(StreamSender):
    """The planted bug: it never says which frames must be known before the next ones."""

    @property
    def after_seq(self) -> int:
        return -1


class LosingSender(StreamSender):
    """The planted bug: the first frame without an end is not offered to the next owner."""

    def offer_again(self) -> None:
        super().offer_again()
        if self._waiting:
            self._waiting.popleft()


STEPS = st.lists(
    st.sampled_from(["take", "take", "leap", "repeat", "offer", "offer", "lost", "end", "die", "vanish"]), max_size=80
)


def play(steps: list[str], sender: StreamSender) -> None:  # noqa: C901  one arm a step
    """A run of the sender between a client and owners that die; at the end everything comes to its end, once."""
    owner = Owner()
    sender.open(last_seq=-1, told=-1, window=6)
    sent: list[int] = []
    granted = sender.grant()
    n_messages = 0

    def offer() -> bool:
        after_seq = sender.after_seq
        if not (offers := sender.batch()):
            return False
        if owner.offer(offers, after_seq=after_seq):
            sender.accepted(window=6)
        else:
            sender.offer_again()
        return True

    def tell(ended: list[int]) -> None:
        nonlocal granted
        for seq in ended:
            sender.settle(seq)
        granted += sender.grant()

    for step in steps:
        match step:
            case "take" | "leap" if granted > n_messages:
                sent.append((sent[-1] if sent else -1) + (1 if step == "take" else 7))
                sender.take(frame(sent[-1]))
                n_messages += 1
            case "repeat" if sent and granted > n_messages:
                sender.take(frame(sent[len(sent) // 2]))
                n_messages += 1
                granted += sender.grant()
            case "offer":
                offer()
            case "lost":  # the call failed: nobody knows whether it arrived
                sender.batch()
                sender.offer_again()
            case "end":
                tell(owner.end())
            case "die":
                owner.die()
                sender.offer_again()
            case "vanish":  # another takes over, and nobody says so
                owner.die()
        assert len(sender._held) <= 6
    if sender.awaited is not None and owner.last_seq < sender.awaited:
        sender.offer_again()
    while offer():
        pass
    while owner.open:
        tell(owner.end())
    assert Counter(owner.ended) == Counter(sent), "a frame was lost, or ended twice"
    assert owner.ended == sorted(owner.ended)
    assert sender.is_idle
    assert sender.surplus == 0
    assert granted - n_messages == 6, "credits leak"


@settings(max_examples=400, deadline=None)
@given(STEPS)
def test_whatever_happens_each_frame_ends_once_in_order_and_its_credit_comes_back(steps: list[str]) -> None:
    budget = BodyBudget(1000)
    play(steps, StreamSender(budget, LIMITS))
    assert budget.held == 0


def test_the_check_sees_a_sender_that_loses_a_frame() -> None:
    with pytest.raises(AssertionError, match="lost"):
        play(["take", "take", "offer", "die"], LosingSender(BodyBudget(1000), LIMITS))
    with pytest.raises(AssertionError, match="lost"):
        play(["take", "offer", "vanish", "take", "offer"], TrustingSender(BodyBudget(1000), LIMITS))
