"""A sender with small limits, and frames for it."""

from app.api.bodies import BodyBudget
from app.api.sending import SenderLimits, StreamSender
from app.api.sent_frame import SentFrame
from app.pipeline.stream_host import Offer

LIMITS = SenderLimits(early_frames=2, held_bytes=1000, surplus_frames=3, batch_frames=3, batch_bytes=100)


def frame(seq: int | None = None, *, n_bytes: int = 1, abs16: int | None = None) -> SentFrame:
    return SentFrame(offer=Offer(data=b"x" * n_bytes, seq=seq), abs16=abs16)


def opened(*, window: int = 4, last_seq: int = -1, told: int = -1, budget: BodyBudget | None = None) -> StreamSender:
    sender = StreamSender(budget or BodyBudget(10_000), LIMITS)
    sender.open(last_seq=last_seq, told=told, window=window)
    return sender


def seqs(offers: list[Offer]) -> list[int | None]:
    return [offer.seq for offer in offers]


def drained(sender: StreamSender) -> list[Offer]:
    offers: list[Offer] = []
    while batch := sender.batch():
        offers += batch
    return offers
