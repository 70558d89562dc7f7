"""Who vouches for a model's version: Ed25519 signatures over the bytes of its card, in a file of their own.

The card holds the hash of every other file, so one signature covers the version. Source: RFC 8032; the file holds the
64 bytes that `openssl pkeyutl -sign -rawin` writes, and openssl can check what is written here. `cryptography` is
imported only where it is needed: models are made in an environment without it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core.errors import ModelError

SIGNATURE_NAME = "card.json.sig"
MAX_SIGNATURE_BYTES = 64
_MAX_KEY_BYTES = 1 << 14


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A public key whose signatures are believed: `name` is its file's, `public` its 32 bytes."""

    name: str
    public: bytes


def load_keys(paths: Iterable[Path]) -> tuple[TrustedKey, ...]:
    """Return the public keys in PEM files; ModelError for a file that holds something else."""
    return tuple(TrustedKey(name=path.stem, public=_public(path)) for path in paths)


def signer_of(card: bytes, signature: bytes | None, *, keys: Sequence[TrustedKey]) -> str:
    """Return the name of the key that signed the card; ModelError when none of `keys` did."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if signature is None:
        raise ModelError("this version is not signed, and only signed versions are served here")
    for key in keys:
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature, card)
        except InvalidSignature:
            continue
        return key.name
    raise ModelError("the signature of this version is not by a trusted key, or its card was changed")


def _public(path: Path) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(_pem(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ModelError(f"{path.name} is not a public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ModelError(f"{path.name} is not an Ed25519 key")
    return key.public_bytes_raw()


def signature_of(card: bytes, key: Path) -> bytes:
    """Return the signature over the card by the private key in a PEM file without a password."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(_pem(key), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ModelError(f"{key.name} is not a private key in PEM without a password") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ModelError(f"{key.name} is not an Ed25519 key")
    return private.sign(card)


def _pem(path: Path) -> bytes:
    """Return a key file's bytes."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise ModelError(f"there is no readable key file {path.name}") from error
