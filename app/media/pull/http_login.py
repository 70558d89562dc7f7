"""The answer to a server that asks who we are: Basic and Digest."""

import hashlib
import re
import secrets
from base64 import b64encode
from typing import Final
from urllib.parse import unquote

from app.media.pull.source_url import SourceUrl

_PART: Final = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,]+))')
_DIGESTS: Final = {"md5": hashlib.md5, "sha-256": hashlib.sha256}


def authorization(source: SourceUrl, challenges: list[str], *, path: str) -> str | None:
    """The value of the Authorization header for a GET of `path`; None when no challenge can be met.

    Digest goes before Basic, which shows the password to whoever listens. Source: RFC 7616 sections 3.4 and 3.3.
    """
    user, password = unquote(source.user), unquote(source.password)
    if not user:
        return None
    schemes = {challenge.partition(" ")[0].lower(): challenge.partition(" ")[2] for challenge in challenges}
    if "digest" in schemes:
        asked = {name.lower(): quoted or bare for name, quoted, bare in _PART.findall(schemes["digest"])}
        answer = _digest(asked, user=user, password=password, path=path)
        if answer is not None:
            return answer
    if "basic" in schemes:
        return "Basic " + b64encode(f"{user}:{password}".encode()).decode()
    return None


def _digest(asked: dict[str, str], *, user: str, password: str, path: str) -> str | None:
    algorithm = asked.get("algorithm", "MD5")
    digest = _DIGESTS.get(algorithm.lower())
    if digest is None or not {"realm", "nonce"} <= set(asked):
        return None

    def hashed(text: str) -> str:
        return digest(text.encode()).hexdigest()

    secret, request = hashed(f"{user}:{asked['realm']}:{password}"), hashed(f"GET:{path}")
    parts = {"username": user, "realm": asked["realm"], "nonce": asked["nonce"], "uri": path}
    plain = {"algorithm": algorithm}
    if "auth" in re.split(r"\s*,\s*", asked.get("qop", "")):
        client = secrets.token_hex(8)
        parts["cnonce"], parts["response"] = (
            client,
            hashed(f"{secret}:{asked['nonce']}:00000001:{client}:auth:{request}"),
        )
        plain |= {"qop": "auth", "nc": "00000001"}
    else:
        parts["response"] = hashed(f"{secret}:{asked['nonce']}:{request}")
    if "opaque" in asked:
        parts["opaque"] = asked["opaque"]
    quoted = [f'{name}="{value}"' for name, value in parts.items()]
    return "Digest " + ", ".join(quoted + [f"{name}={value}" for name, value in plain.items()])
