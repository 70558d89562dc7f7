"""All files of one version of a model, read once and checked against its card before anything looks into them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.core.errors import ModelError
from engines.card import CARD_NAME, MAX_CARD_BYTES, Card, parse_card
from engines.plain_files import plain_bytes
from engines.signature import MAX_SIGNATURE_BYTES, SIGNATURE_NAME, TrustedKey, signer_of

MAX_FILE_BYTES = 2**31 - 1
"""Protobuf's own limit for one message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFiles:
    """`contents` are the bytes that were checked, by name: whoever works on them needs no file any more.

    `signer` is the trusted key's name, None where no keys are configured.
    """

    card: Card
    contents: Mapping[str, bytes]
    signer: str | None


def read_version(folder: int, model_name: str, *, trusted_keys: Sequence[TrustedKey] = ()) -> VersionFiles:
    """Return the model file and every file that the card lists; `folder` is an open descriptor.

    With `trusted_keys` the card must be signed by one of them and list the model. ModelError says what is wrong; no
    file is opened before the card's signature is known to be good.
    """
    manifest = plain_bytes(folder, CARD_NAME, max_bytes=MAX_CARD_BYTES)
    signer = None
    if trusted_keys:
        signature = plain_bytes(folder, SIGNATURE_NAME, max_bytes=MAX_SIGNATURE_BYTES)
        signer = signer_of(manifest or b"", signature, keys=trusted_keys)
    card = Card() if manifest is None else parse_card(manifest)
    if model_name not in card.files and (trusted_keys or card.files):
        raise ModelError(f"{CARD_NAME} does not list {model_name} among its files")
    contents = {}
    for name in dict.fromkeys((*card.files, model_name)):
        content = plain_bytes(folder, name, max_bytes=MAX_FILE_BYTES)
        if content is None:
            raise ModelError(f"there is no readable model file {name}")
        expected = card.files.get(name, card.sha256)
        if expected is not None and expected != hashlib.sha256(content).hexdigest():
            raise ModelError(f"{name} is not the file that its card describes: the SHA-256 differs")
        contents[name] = content
    return VersionFiles(card=card, contents=contents, signer=signer)
