"""`python -m engines.sign FOLDER --key KEY.pem`: vouches for a version as it lies there, files checked before.

A pair of keys: `openssl genpkey -algorithm ed25519 -out key.pem` and `openssl pkey -in key.pem -pubout -out key.pub`.
"""

import argparse
import sys
from pathlib import Path

from app.core.errors import ModelError
from engines.card import CARD_NAME, MAX_CARD_BYTES, parse_card
from engines.plain_files import opened_folder, plain_bytes
from engines.signature import SIGNATURE_NAME, signature_of
from engines.store import MODEL_NAME
from engines.version_files import read_version


def sign_version(folder: Path, *, key: Path) -> Path:
    """Write the signature of the version's card beside it and return its path.

    ModelError when the files are not those of the card, when it names no version, or when the key cannot be used.
    """
    with opened_folder(folder) as descriptor:
        data = plain_bytes(descriptor, CARD_NAME, max_bytes=MAX_CARD_BYTES)
        card = parse_card(data or b"{}")
        if data is None or MODEL_NAME not in card.files or card.name is None or card.version is None:
            raise ModelError(f"{CARD_NAME} must give name, version and files; python -m engines.manifest lists those")
        if read_version(descriptor, MODEL_NAME).card != card:
            raise ModelError(f"{CARD_NAME} changed meanwhile")
    path = folder / SIGNATURE_NAME
    path.write_bytes(signature_of(data, key))
    return path


def main(argv: list[str] | None = None) -> int:
    """Sign a version of a model."""
    parser = argparse.ArgumentParser(prog="python -m engines.sign", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="<model>/<version>/")
    parser.add_argument("--key", type=Path, required=True, help="an Ed25519 private key in PEM, without a password")
    arguments = parser.parse_args(argv)
    try:
        path = sign_version(arguments.folder, key=arguments.key)
    except (ModelError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"wrote {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
