"""Frame numbers: 16 bits from the wire to 64, and what each number says about the frames before it.

Source: MISSION.md row 89 and its settled reading 12; the number nearest to the expected one is taken as in RFC 3550.
"""

from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from app.core.errors import InvalidRequestError

CYCLE: Final = 1 << 16
WINDOW: Final = CYCLE // 2
"""So many numbers, up to the highest, are remembered: as far back as 16 bits can point."""
MAX_REPLAY: Final = 100
"""A sender that goes on after a cut may repeat this many frames; one that is further back counts anew.
Source: RFC 3550 appendix A.1, MAX_MISORDER."""
SEI_BYTES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """The numbers of one stream so far; `(epoch, number)` names a frame once.

    `last` is the highest number, None before the first frame of an epoch. Bit i of `seen` says whether `last - i` came.
    `is_cut`: the connection was lost, and no new frame has come since.
    """

    epoch: int = 0
    last: int | None = None
    seen: int = field(default=0, repr=False)
    is_cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InOrder:
    """The expected number, or the first of a stream."""

    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A new number that comes too early: `count` numbers from `first_missing` on are missing."""

    seq: int
    first_missing: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """A number that came before: the frame is not to be delivered again."""

    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """A number below the highest that had not come yet: the frame was reordered."""

    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TooLate:
    """A number below 0, or `WINDOW` or more below the highest: nobody knows whether it came before."""

    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """The first new frame after a cut, never a reordering; `count` numbers from `first_missing` on were lost in it.

    `count` is 0 in a new epoch: how many frames were lost cannot be known.
    """

    seq: int
    first_missing: int
    count: int


Verdict: TypeAlias = InOrder | Gap | Repeat | Late | TooLate | Restart


def read_abs16(payload: bytes) -> int:
    """The 16-bit number in an SEI message: `(base_seq + delta_offset) mod 2^16`.

    Bytes 0-1 are `base_seq`, u16, bytes 2-3 `delta_offset`, i16, both big endian; what follows is not read.
    InvalidRequestError when there are fewer than four.
    """
    if len(payload) < SEI_BYTES:
        raise InvalidRequestError(f"the sequence message has {len(payload)} bytes, expected {SEI_BYTES}")
    base_seq = int.from_bytes(payload[:2], "big")
    delta_offset = int.from_bytes(payload[2:4], "big", signed=True)
    return (base_seq + delta_offset) % CYCLE


def unwrap(sequence: Sequence, abs16: int) -> int:
    """The number that ends in these 16 bits and lies nearest to the expected one, from 32768 below to 32767 above it.

    Without a frame before, `abs16` itself. Below 0 for a frame from before number 0. A cut longer than 32767 frames (18
    minutes at 30 fps) cannot be told from a shorter one. ValueError when `abs16` is not a 16-bit number.
    """
    if not 0 <= abs16 < CYCLE:
        raise ValueError(f"{abs16} is not an unsigned 16-bit number")
    if sequence.last is None:
        return abs16
    expected = sequence.last + 1
    return expected + (abs16 - expected + WINDOW) % CYCLE - WINDOW


def advance(sequence: Sequence, seq: int) -> tuple[Sequence, Verdict]:
    """The sequence after a frame with this number (64 bits: from `unwrap`, or from the sender), and what it says.

    After a cut, a number `MAX_REPLAY` or more below the highest means that the sender counts anew: a new epoch begins,
    because frames of the old one would be taken for repeats. `Repeat` and `TooLate` leave the sequence as it was.
    """
    if sequence.last is None:
        first = Restart(seq=seq, first_missing=seq, count=0) if sequence.is_cut else InOrder(seq=seq)
        return Sequence(epoch=sequence.epoch, last=seq, seen=1), first
    if seq > sequence.last:
        return _ahead(sequence, seq, last=sequence.last)
    if sequence.is_cut and sequence.last - seq >= MAX_REPLAY:
        return advance(reset(sequence), seq if seq >= 0 else seq + CYCLE)
    return _behind(sequence, seq, last=sequence.last)


def reset(sequence: Sequence) -> Sequence:
    """A new epoch, in which the next frame sets the base; before any frame, the same sequence."""
    return sequence if sequence.last is None else Sequence(epoch=sequence.epoch + 1, is_cut=True)


def resume(sequence: Sequence, persisted: int | None) -> Sequence:
    """The sequence after a cut, from the higher of the received number and the persisted one of the same epoch.

    All numbers up to the persisted one count as received when it is the higher. Without either, the same sequence.
    """
    if persisted is not None and (sequence.last is None or persisted > sequence.last):
        return Sequence(epoch=sequence.epoch, last=persisted, seen=(1 << WINDOW) - 1, is_cut=True)
    return sequence if sequence.last is None else replace(sequence, is_cut=True)


def _ahead(sequence: Sequence, seq: int, *, last: int) -> tuple[Sequence, Verdict]:
    step = seq - last
    seen = (sequence.seen << min(step, WINDOW) | 1) & ((1 << WINDOW) - 1)
    moved = Sequence(epoch=sequence.epoch, last=seq, seen=seen)
    if sequence.is_cut:
        return moved, Restart(seq=seq, first_missing=last + 1, count=step - 1)
    return moved, InOrder(seq=seq) if step == 1 else Gap(seq=seq, first_missing=last + 1, count=step - 1)


def _behind(sequence: Sequence, seq: int, *, last: int) -> tuple[Sequence, Verdict]:
    if seq < 0 or last - seq >= WINDOW:
        return sequence, TooLate(seq=seq)
    bit = 1 << (last - seq)
    if sequence.seen & bit:
        return sequence, Repeat(seq=seq)
    verdict = Restart(seq=seq, first_missing=seq, count=0) if sequence.is_cut else Late(seq=seq)
    return replace(sequence, seen=sequence.seen | bit, is_cut=False), verdict
