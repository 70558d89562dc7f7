"""Resume tokens: what is read is what was made, and nothing else is read at all."""

import asyncio
import base64
import random
import string

import pytest

from app.api.resume import LIFETIME_S, ResumeTokens, make_token, read_token
from app.core.errors import InvalidParameterError
from tests.fakes import ManualClock

SECRET = bytes(range(32))
NOW_S = 1_795_000_000.0


def made(*, stream_id: str = "s1", seq: int = 41, secret: bytes = SECRET) -> str:
    return make_token(stream_id=stream_id, seq=seq, secret=secret, now_s=NOW_S)


def read(token: str, *, stream_id: str = "s1", now_s: float = NOW_S) -> int:
    return read_token(token, stream_id=stream_id, secret=SECRET, now_s=now_s)


def refusal(token: str, *, stream_id: str = "s1", now_s: float = NOW_S) -> str:
    with pytest.raises(InvalidParameterError) as caught:
        read(token, stream_id=stream_id, now_s=now_s)
    return caught.value.detail


@pytest.mark.parametrize("seq", [-1, 0, 41, 2**63 - 1])
def test_a_token_says_where_it_was_made(seq: int) -> None:
    assert read(made(seq=seq)) == seq


def test_a_token_goes_into_a_url_as_it_is() -> None:
    assert set(made()) <= set(string.ascii_letters + string.digits + "-_.")


def test_a_token_lives_for_a_day() -> None:
    assert read(made(), now_s=NOW_S + LIFETIME_S - 1) == 41
    assert "older than a day" in refusal(made(), now_s=NOW_S + LIFETIME_S)


def test_forged_foreign_and_expired_tokens_are_refused_in_the_same_words() -> None:
    forged = made(secret=bytes(32))
    answers = {refusal(forged), refusal(made(stream_id="s2")), refusal(made(), now_s=NOW_S + 10 * LIFETIME_S)}
    assert len(answers) == 1


@pytest.mark.parametrize("token", ["", ".", "..", "v1", "v1..", "é.é.é", "v1." + "A" * 10_000, "\0", "v1.e30.e30"])
def test_what_is_no_token_is_refused(token: str) -> None:
    refusal(token)


def test_no_token_of_ten_thousand_changed_ones_is_read() -> None:
    chance = random.Random(7)
    token = made()
    alphabet = string.ascii_letters + string.digits + "-_.=+/ "
    accepted = []
    for _ in range(10_000):
        changed = list(token)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(changed))
            match chance.randrange(4):
                case 0:
                    changed[at] = chance.choice(alphabet)
                case 1:
                    changed.insert(at, chance.choice(alphabet))
                case 2:
                    del changed[at]
                case _:
                    changed = changed[:at] + changed[at:][::-1]
        text = "".join(changed)
        accepted += [text] * (text != token and is_read(text))
    assert accepted == []


def test_every_other_spelling_of_the_last_character_is_refused() -> None:
    """The last character of 32 bytes in base64 holds two bits that a decoder throws away."""
    token = made()
    assert [last for last in string.ascii_letters + string.digits + "-_" if is_read(token[:-1] + last)] == [token[-1]]
    same = [
        last
        for last in string.ascii_letters + string.digits + "-_"
        if base64.urlsafe_b64decode(token.rsplit(".", 1)[1][:-1] + last + "=")
        == base64.urlsafe_b64decode(token.rsplit(".", 1)[1] + "=")
    ]
    assert len(same) == 4  # the positive control: comparing decoded signatures would take four tokens for one


def is_read(token: str) -> bool:
    try:
        read(token)
    except InvalidParameterError:
        return False
    return True


def test_the_shared_secret_is_asked_for_once() -> None:
    asked = []

    async def secret() -> bytes:
        asked.append(1)
        return SECRET

    async def scenario() -> int:
        tokens = ResumeTokens(secret, clock=ManualClock(NOW_S))
        token = await tokens.make("s1", seq=3)
        assert token == made(seq=3)
        return await tokens.read(token, stream_id="s1")

    assert asyncio.run(scenario()) == 3
    assert asked == [1]
