import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.delivery.signature import sign, verify

OLD, NEW, FOREIGN = b"the old key", b"the new key", b"somebody's key"
BODY = b'{"event_id": "s:0:1"}\n'
NOW_S = 1_800_000_000.0


def test_the_signature_is_the_documented_one() -> None:
    expected = hmac.new(OLD, b"1800000000." + BODY, hashlib.sha256).hexdigest()
    assert sign(BODY, keys=[OLD], now_s=NOW_S + 0.9) == f"t=1800000000,v1={expected}"


@pytest.mark.parametrize("receiver_keys", [[OLD], [NEW], [OLD, NEW], [FOREIGN, NEW]])
def test_while_keys_are_changed_a_receiver_with_either_key_accepts(receiver_keys: list[bytes]) -> None:
    assert verify(sign(BODY, keys=[OLD, NEW], now_s=NOW_S), BODY, keys=receiver_keys, now_s=NOW_S)


@pytest.mark.parametrize("receiver_keys", [[], [FOREIGN], [b""], [b"", FOREIGN]])
def test_without_the_key_nothing_is_accepted(receiver_keys: list[bytes]) -> None:
    assert not verify(sign(BODY, keys=[OLD], now_s=NOW_S), BODY, keys=receiver_keys, now_s=NOW_S)


def test_an_empty_key_opens_nothing_even_where_it_was_signed_with() -> None:
    assert not verify(sign(BODY, keys=[b""], now_s=NOW_S), BODY, keys=[b""], now_s=NOW_S)


@pytest.mark.parametrize(("off_s", "is_accepted"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)])
def test_a_signature_holds_for_five_minutes(off_s: float, is_accepted: bool) -> None:  # noqa: FBT001
    assert verify(sign(BODY, keys=[OLD], now_s=NOW_S), BODY, keys=[OLD], now_s=NOW_S + off_s) == is_accepted


def test_a_clock_that_is_not_a_number_accepts_nothing() -> None:
    assert not verify(sign(BODY, keys=[OLD], now_s=NOW_S), BODY, keys=[OLD], now_s=float("nan"))


@pytest.mark.parametrize(
    "signature",
    ["", "t=1800000000", "v1=00", "t=1800000000,v1=", "t=,v1=00", "t=1800000000,t=1800000000,v1=00", "t=1e9,v1=00"],
)
def test_a_malformed_signature_is_refused(signature: str) -> None:
    assert not verify(signature, BODY, keys=[OLD], now_s=NOW_S)


def test_the_time_cannot_be_moved_under_a_good_signature() -> None:
    signature = sign(BODY, keys=[OLD], now_s=NOW_S - 600)
    fresh = signature.replace(str(int(NOW_S - 600)), str(int(NOW_S)))
    assert not verify(fresh, BODY, keys=[OLD], now_s=NOW_S)
    assert not verify(f"t={int(NOW_S)},{signature}", BODY, keys=[OLD], now_s=NOW_S)


def test_parts_of_other_names_may_stand_beside() -> None:
    assert verify(sign(BODY, keys=[OLD], now_s=NOW_S) + ", v2=abc,hello", BODY, keys=[OLD], now_s=NOW_S)


@given(body=st.binary(max_size=200), place=st.integers(0), bit=st.integers(0, 7))
def test_no_changed_bit_passes(body: bytes, place: int, bit: int) -> None:
    changed = bytearray(body + b"\n")
    changed[place % len(changed)] ^= 1 << bit
    assert not verify(sign(body + b"\n", keys=[OLD], now_s=NOW_S), bytes(changed), keys=[OLD], now_s=NOW_S)


@given(st.text(max_size=300))
def test_no_text_is_too_strange_to_be_refused(signature: str) -> None:
    assert not verify(signature, BODY, keys=[OLD], now_s=NOW_S)
