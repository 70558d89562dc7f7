"""Resume tokens: where a client goes on in its stream after a cut, signed, so that nobody can make one up."""

import base64
import hmac
import json
import time
from collections.abc import Awaitable, Callable
from typing import Final

from app.core.errors import InvalidParameterError

LIFETIME_S: Final = 24 * 3600
_VERSION: Final = "v1"
_MAX_CHARACTERS: Final = 512
_REFUSED: Final = "resume: not a token of this stream, or it is older than a day"
"""One sentence whatever is wrong: who tries tokens learns nothing from the answer."""


def make_token(*, stream_id: str, seq: int, secret: bytes, now_s: float) -> str:
    """A token of who has every event up to the end of frame `seq`; valid for a day from `now_s`, in Unix seconds."""
    content = {"stream": stream_id, "seq": seq, "expires": int(now_s) + LIFETIME_S}
    signed = f"{_VERSION}.{_text(json.dumps(content, separators=(',', ':')).encode())}"
    return f"{signed}.{_signature(signed, secret)}"


def read_token(token: str, *, stream_id: str, secret: bytes, now_s: float) -> int:
    """The `seq` that the token was made with.

    InvalidParameterError, always the same, for one that was forged or changed, is of another stream or has expired.
    """
    # The text is what is signed, not what it decodes to: base64 has several spellings of the same bytes.
    signed, _, signature = token.rpartition(".")
    is_ours = len(token) <= _MAX_CHARACTERS and token.isascii()
    if not is_ours or not hmac.compare_digest(signature, _signature(signed, secret)):
        raise InvalidParameterError(_REFUSED)
    content = json.loads(base64.urlsafe_b64decode(signed.partition(".")[2] + "=="))
    if content["stream"] != stream_id or content["expires"] <= now_s:
        raise InvalidParameterError(_REFUSED)
    return int(content["seq"])


class ResumeTokens:
    """Tokens under the secret that all replicas share; it is asked for once."""

    def __init__(self, secret: Callable[[], Awaitable[bytes]], *, clock: Callable[[], float] = time.time) -> None:
        self._ask = secret
        self._secret: bytes | None = None
        self._clock = clock

    async def make(self, stream_id: str, *, seq: int) -> str:
        """A token for now; UnavailableError while the secret cannot be had."""
        return make_token(stream_id=stream_id, seq=seq, secret=await self._known(), now_s=self._clock())

    async def read(self, token: str, *, stream_id: str) -> int:
        """The token's `seq`; InvalidParameterError as `read_token`, UnavailableError as `make`."""
        return read_token(token, stream_id=stream_id, secret=await self._known(), now_s=self._clock())

    async def _known(self) -> bytes:
        if self._secret is None:
            self._secret = await self._ask()
        return self._secret


def _signature(signed: str, secret: bytes) -> str:
    return _text(hmac.digest(secret, f"sightline resume {signed}".encode(), "sha256"))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
