"""An event as it leaves the service: the same bytes for every reader, whatever carries them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WireEvent:
    """One event of one stream. `body` is its JSON, written once, without a newline; `kind` the last part of its schema.

    `seq` is the frame that it tells of, or that came before it (-1 before the first). `event_id` is the idempotency
    key: the same id means the same event.
    """

    event_id: str
    kind: str
    seq: int
    body: bytes
