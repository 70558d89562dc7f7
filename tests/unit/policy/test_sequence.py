import random
from collections.abc import Callable
from collections.abc import Sequence as Many
from dataclasses import replace
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import InvalidRequestError
from app.policy.sequence import (
    MAX_REPLAY,
    WINDOW,
    Gap,
    InOrder,
    Late,
    Repeat,
    Restart,
    Sequence,
    TooLate,
    Verdict,
    advance,
    read_abs16,
    reset,
    resume,
    unwrap,
)

Unwrap: TypeAlias = Callable[[Sequence, int], int]
Advance: TypeAlias = Callable[[Sequence, int], tuple[Sequence, Verdict]]


def fed(numbers: Many[int], sequence: Sequence | None = None) -> tuple[Sequence, list[Verdict]]:
    """The sequence after these 16-bit numbers, and every verdict."""
    now, verdicts = sequence or Sequence(), []
    for abs16 in numbers:
        now, verdict = advance(now, unwrap(now, abs16))
        verdicts.append(verdict)
    return now, verdicts


@pytest.mark.parametrize(
    ("payload", "abs16"),
    [
        ("0000 0000", 0),
        ("1234 0001", 0x1235),
        ("0005 fffb", 0),
        ("0000 ffff", 65535),
        ("ffff 0001", 0),
        ("ffff 7fff", 32766),
        ("0000 8000", 32768),
        ("0102 0003 ffff", 0x0105),
    ],
)
def test_base_and_offset_are_big_endian_and_the_offset_is_signed(payload: str, abs16: int) -> None:
    assert read_abs16(bytes.fromhex(payload)) == abs16


@given(base_seq=st.integers(0, 65535), delta_offset=st.integers(-32768, 32767))
def test_every_base_and_offset_add_up_modulo_65536(base_seq: int, delta_offset: int) -> None:
    payload = base_seq.to_bytes(2, "big") + delta_offset.to_bytes(2, "big", signed=True)
    assert (read_abs16(payload) - base_seq - delta_offset) % 65536 == 0


@given(st.binary(max_size=3))
def test_a_message_that_is_too_short_is_a_typed_error(payload: bytes) -> None:
    with pytest.raises(InvalidRequestError, match=f"has {len(payload)} bytes"):
        read_abs16(payload)


@pytest.mark.parametrize("abs16", [-1, 65536])
def test_a_number_over_16_bits_is_refused(abs16: int) -> None:
    with pytest.raises(ValueError, match="16-bit"):
        unwrap(Sequence(), abs16)


def check_nearest(unwrap: Unwrap, last: int, offset: int) -> None:
    """A number from 32768 below the expected one to 32767 above it is found again from its 16 bits."""
    seq = last + 1 + offset
    assert unwrap(Sequence(last=last, seen=1), seq % 65536) == seq


@given(last=st.integers(32767, 2**63), offset=st.integers(-32768, 32767))
def test_sixteen_bits_give_the_number_nearest_to_the_expected_one(last: int, offset: int) -> None:
    check_nearest(unwrap, last, offset)


def test_the_check_finds_an_unwrapping_that_only_goes_forward_and_one_that_never_wraps() -> None:
    with pytest.raises(AssertionError):
        check_nearest(lambda now, abs16: (now.last or 0) + (abs16 - (now.last or 0)) % 65536, 100_000, -5)
    with pytest.raises(AssertionError):
        check_nearest(lambda now, abs16: (now.last or 0) // 65536 * 65536 + abs16, 65535, 0)


def test_the_numbers_go_on_where_16_bits_wrap() -> None:
    now, verdicts = fed([65534, 65535, 0, 1])
    assert verdicts == [InOrder(seq=65534), InOrder(seq=65535), InOrder(seq=65536), InOrder(seq=65537)]
    assert (now.epoch, now.last) == (0, 65537)


@pytest.mark.parametrize("start", [0, 30_000, 65_530])
def test_the_longest_gap_is_32767_numbers(start: int) -> None:
    assert fed([start, (start + 32768) % 65536])[1][1] == Gap(seq=start + 32768, first_missing=start + 1, count=32767)


def test_a_frame_that_fills_a_gap_is_late_once_and_then_a_repeat() -> None:
    _, verdicts = fed([65534, 2, 65535, 65535, 2, 3])
    assert verdicts[1:] == [
        Gap(seq=65538, first_missing=65535, count=3),
        Late(seq=65535),
        Repeat(seq=65535),
        Repeat(seq=65538),
        InOrder(seq=65539),
    ]


def test_what_lies_before_the_first_number_or_too_far_back_is_too_late() -> None:
    assert fed([0, 65535])[1][1] == TooLate(seq=-1)
    far = Sequence(last=10 * WINDOW, seen=1)
    assert advance(far, 9 * WINDOW) == (far, TooLate(seq=9 * WINDOW))
    assert advance(far, 9 * WINDOW + 1)[1] == Late(seq=9 * WINDOW + 1)


def test_a_jump_of_any_length_in_64_bits_keeps_the_memory_small() -> None:
    now, verdict = advance(Sequence(last=5, seen=0b111), 2**62)
    assert verdict == Gap(seq=2**62, first_missing=6, count=2**62 - 6)
    assert now.seen == 1


CUT_AT_THE_WRAP, _ = fed([65533, 65534])


@pytest.mark.parametrize(("abs16", "missing"), [(65535, 0), (0, 1), (9, 10)])
def test_the_first_frame_after_a_cut_at_the_wrap_restarts_and_tells_what_was_lost(abs16: int, missing: int) -> None:
    now, verdicts = fed([abs16, (abs16 + 1) % 65536], resume(CUT_AT_THE_WRAP, None))
    seq = 65535 + missing
    assert verdicts == [Restart(seq=seq, first_missing=65535, count=missing), InOrder(seq=seq + 1)]
    assert now.epoch == 0


def test_what_the_sender_repeats_after_a_cut_is_not_new_and_the_cut_lasts() -> None:
    _, verdicts = fed([65533, 65534, 65535], resume(CUT_AT_THE_WRAP, None))
    assert verdicts == [Repeat(seq=65533), Repeat(seq=65534), Restart(seq=65535, first_missing=65535, count=0)]


def test_a_frame_after_a_cut_that_fills_a_gap_is_no_reordering() -> None:
    gap, _ = fed([10, 13])
    now, verdicts = fed([12, 14], resume(gap, None))
    assert verdicts == [Restart(seq=12, first_missing=12, count=0), InOrder(seq=14)]
    assert now.epoch == 0


@pytest.mark.parametrize(("behind", "epoch"), [(MAX_REPLAY - 1, 0), (MAX_REPLAY, 1), (32_767, 1)])
def test_a_sender_that_went_far_back_in_a_cut_counts_anew(behind: int, epoch: int) -> None:
    before = Sequence(last=70_000, seen=(1 << WINDOW) - 1)
    now, verdict = advance(resume(before, None), 70_000 - behind)
    assert now.epoch == epoch
    assert isinstance(verdict, (Repeat, Restart)[epoch])
    assert verdict.seq == 70_000 - behind


def test_a_new_epoch_never_begins_below_0() -> None:
    now, verdicts = fed([60_000], resume(Sequence(last=5, seen=1), None))
    assert verdicts == [Restart(seq=60_000, first_missing=60_000, count=0)]
    assert (now.epoch, now.last) == (1, 60_000)


def test_a_reset_begins_an_epoch_with_any_number() -> None:
    now, verdicts = fed([60_000, 60_001], reset(CUT_AT_THE_WRAP))
    assert verdicts == [Restart(seq=60_000, first_missing=60_000, count=0), InOrder(seq=60_001)]
    assert (now.epoch, now.last) == (1, 60_001)


def test_before_any_frame_there_is_nothing_to_reset_or_resume() -> None:
    assert reset(Sequence()) == resume(Sequence(), None) == Sequence()
    assert reset(reset(CUT_AT_THE_WRAP)) == reset(CUT_AT_THE_WRAP)
    assert advance(Sequence(), 7)[1] == InOrder(seq=7)


@pytest.mark.parametrize(
    ("received", "persisted", "last"), [(5, 9, 9), (9, 5, 9), (7, 7, 7), (None, 4, 4), (4, None, 4), (None, None, None)]
)
def test_a_session_goes_on_from_the_higher_of_received_and_persisted(
    received: int | None, persisted: int | None, last: int | None
) -> None:
    assert resume(Sequence(last=received, seen=1), persisted).last == last


def test_no_number_up_to_the_persisted_one_is_taken_twice() -> None:
    now = resume(Sequence(last=5, seen=1), 70_000)
    assert [advance(now, seq)[1] for seq in (69_950, 70_000)] == [Repeat(seq=69_950), Repeat(seq=70_000)]
    assert advance(now, 70_003)[1] == Restart(seq=70_003, first_missing=70_001, count=2)


def journey(seed: int) -> list[int]:
    """64-bit numbers as a network delivers them: runs, gaps up to 32767, repeats, late ones; never too far back."""
    chance = random.Random(seed)
    highest = chance.choice([0, 65_000, 32_768, 2**40 - 20])
    sent = [highest]
    for _ in range(200):
        forward = highest + 1 + chance.choice([0, 0, 0, 0, 1, 5, chance.randrange(32_768)])
        back = max(sent[0], highest - chance.choice([0, 1, 3, chance.randrange(32_768)]))
        sent.append(chance.choice([forward, forward, forward, back]))
        highest = max(highest, sent[-1])
    return sent


def check_journey(advance: Advance, seed: int) -> None:
    """Every number is told for what it is, by a plain set of all that came, and gaps and late ones add up."""
    sent = journey(seed)
    cycles = sent[0] - sent[0] % 65536
    now, came, missing = Sequence(), set[int](), 0
    for number in sent:
        seq = number - cycles
        highest = max(came, default=seq - 1)
        now, verdict = advance(now, unwrap(now, number % 65536))
        match verdict:
            case InOrder():
                assert seq == highest + 1
            case Gap(first_missing=first_missing, count=count):
                assert (first_missing, first_missing + count) == (highest + 1, seq)
                assert count > 0
                missing += count
            case Repeat():
                assert seq in came
            case Late():
                assert seq < highest
                assert seq not in came
                missing -= 1
            case _:
                raise AssertionError(verdict)
        came.add(seq)
        assert (verdict.seq, now.last) == (seq, max(came))
    assert missing == max(came) - min(came) + 1 - len(came)


@given(st.integers(0, 2**32))
def test_no_number_is_lost_or_told_wrongly_on_the_way(seed: int) -> None:
    check_journey(advance, seed)


def forgets_late_ones(sequence: Sequence, seq: int) -> tuple[Sequence, Verdict]:
    now, verdict = advance(sequence, seq)
    return (sequence if isinstance(verdict, Late) else now), verdict


def moves_back(sequence: Sequence, seq: int) -> tuple[Sequence, Verdict]:
    now, verdict = advance(sequence, seq)
    return (replace(now, last=seq) if isinstance(verdict, Late) else now), verdict


def counts_one_too_many(sequence: Sequence, seq: int) -> tuple[Sequence, Verdict]:
    now, verdict = advance(sequence, seq)
    return now, (replace(verdict, count=verdict.count + 1) if isinstance(verdict, Gap) else verdict)


@pytest.mark.parametrize("planted", [forgets_late_ones, moves_back, counts_one_too_many])
def test_the_journey_finds_a_planted_fault(planted: Advance) -> None:
    check_journey(advance, 1)
    with pytest.raises(AssertionError):
        check_journey(planted, 1)


CUTS: dict[str, Callable[[Sequence], Sequence]] = {
    "none": lambda now: now,
    "resume": lambda now: resume(now, None),
    "persisted": lambda now: resume(now, 66_000),
    "reset": reset,
}


def check_cuts(advance: Advance, steps: Many[tuple[str, int]]) -> None:
    """Whatever is cut and comes: no frame is new twice, the memory is bounded, a cut never ends in a reordering."""
    now, new = Sequence(), set[tuple[int, int]]()
    for cut, abs16 in steps:
        now = CUTS[cut](now)
        was_cut = now.is_cut
        now, verdict = advance(now, unwrap(now, abs16))
        assert now.seen < 1 << WINDOW
        if isinstance(verdict, Repeat | TooLate):
            assert now.is_cut == was_cut
            continue
        assert isinstance(verdict, Restart) == was_cut
        assert not now.is_cut
        assert verdict.seq >= 0
        assert (now.epoch, verdict.seq) not in new
        new.add((now.epoch, verdict.seq))


@given(st.lists(st.tuples(st.sampled_from(list(CUTS)), st.integers(0, 40) | st.integers(0, 65535)), max_size=40))
def test_no_frame_is_new_twice_over_any_number_of_cuts(steps: list[tuple[str, int]]) -> None:
    check_cuts(advance, steps)


def counts_cuts_as_reordering(sequence: Sequence, seq: int) -> tuple[Sequence, Verdict]:
    return advance(replace(sequence, is_cut=False), seq)


def keeps_the_epoch(sequence: Sequence, seq: int) -> tuple[Sequence, Verdict]:
    now, verdict = advance(sequence, seq)
    return replace(now, epoch=0), verdict


@pytest.mark.parametrize("planted", [counts_cuts_as_reordering, keeps_the_epoch])
def test_the_check_of_cuts_finds_a_planted_fault(planted: Advance) -> None:
    steps = [("none", 5), ("none", 7), ("resume", 6), ("reset", 5)]
    check_cuts(advance, steps)
    with pytest.raises(AssertionError):
        check_cuts(planted, steps)
