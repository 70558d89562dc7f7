"""Signatures of webhooks, made and checked: `t=<seconds>,v1=<hex>`, one v1 for each key. Source: Stripe's scheme."""

import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Final

HEADER: Final = "Sightline-Signature"
TOLERANCE_S: Final = 300.0
"""How far the clocks may be apart, and how long a POST may be repeated by whoever overheard it."""

_MAX_CHARS: Final = 2048
_PART: Final = re.compile(r"(?P<name>[a-z0-9]{1,16})=(?P<value>[0-9a-f]{1,64})")
_TIME: Final = re.compile(r"[0-9]{1,12}")


def sign(body: bytes, *, keys: Sequence[bytes], now_s: float) -> str:
    """The header's value for a body: while keys are changed, signed with the old one and the new one."""
    stamp = str(int(now_s))
    return ",".join((f"t={stamp}", *(f"v1={_digest(stamp, body, key)}" for key in keys)))


def verify(
    signature: str, body: bytes, *, keys: Sequence[bytes], now_s: float, tolerance_s: float = TOLERANCE_S
) -> bool:
    """Whether one of the keys made one of the signatures of this very body, at most `tolerance_s` from now.

    `body` are the bytes as they came, before anything parses them. Parts of other names are passed over, so that a v2
    may stand beside v1. False for anything malformed, and for an empty key.
    """
    if len(signature) > _MAX_CHARS:
        return False
    parts = [match for part in signature.split(",") if (match := _PART.fullmatch(part.strip()))]
    stamps = [part["value"] for part in parts if part["name"] == "t"]
    if len(stamps) != 1 or not _TIME.fullmatch(stamps[0]) or not abs(now_s - int(stamps[0])) <= tolerance_s:
        return False
    given = [part["value"] for part in parts if part["name"] == "v1"]
    expected = [_digest(stamps[0], body, key) for key in keys if key]
    # Every pair is compared, each in constant time: the delay says nothing of the keys, nor which of them it was.
    matches = [hmac.compare_digest(one, other) for one in given for other in expected]
    return any(matches)


def _digest(stamp: str, body: bytes, key: bytes) -> str:
    return hmac.new(key, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
