"""`python -m engines.manifest FOLDER`: writes down what a version sees and what its files are: changes are noticed."""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from app.core.errors import ModelError
from engines.card import CARD_NAME, MAX_CARD_BYTES, parse_card
from engines.golden_file import GOLDEN_NAME, write_golden
from engines.plain_files import PLAIN_NAME, opened_folder, plain_bytes
from engines.signature import SIGNATURE_NAME
from engines.version_files import MAX_FILE_BYTES

_NOT_LISTED = {CARD_NAME, SIGNATURE_NAME}


def describe(folder: Path, facts: dict[str, Any]) -> None:
    """Write golden.json and card.json beside the folder's model.onnx; a ModelError says why it cannot be opened.

    Below 16 bits a version has no golden outputs: each runtime multiplies small integers in its own way, and OpenVINO
    moves low scores by more than `golden_check` allows, at the same accuracy (mAP50-95 0.761 for 0.759, street, 90
    frames, 2026-11-23). What such a version is measured by is the gate that it was made under.
    """
    (folder / GOLDEN_NAME).unlink(missing_ok=True)
    write_card(folder, facts)
    if facts.get("precision") not in {"int8", "fp8"}:
        write_golden(folder)
        write_card(folder, facts)


def write_card(folder: Path, facts: dict[str, Any]) -> None:
    """Write `card.json` with the facts and the SHA-256 of every file beside it; an old signature is removed.

    Folders (derived plans) and hidden files are not part of a version. ModelError for a link or a card that cannot be
    read back.
    """
    with opened_folder(folder) as descriptor:
        names = sorted(path.name for path in folder.iterdir() if not path.is_dir() or path.is_symlink())
        files = {
            name: hashlib.sha256(plain_bytes(descriptor, name, max_bytes=MAX_FILE_BYTES) or b"").hexdigest()
            for name in names
            if PLAIN_NAME.fullmatch(name) and name not in _NOT_LISTED
        }
    facts = {key: value for key, value in facts.items() if key not in {"sha256", "files"}}
    card = json.dumps({**facts, "files": files}, indent=2) + "\n"
    parse_card(card.encode())
    (folder / SIGNATURE_NAME).unlink(missing_ok=True)
    (folder / CARD_NAME).write_text(card)


def read_facts(folder: Path) -> dict[str, Any]:
    """Return everything the folder's card says, what is for people too; empty where there is none."""
    with opened_folder(folder) as descriptor:
        data = plain_bytes(descriptor, CARD_NAME, max_bytes=MAX_CARD_BYTES)
    if data is None:
        return {}
    parse_card(data)
    facts: dict[str, Any] = json.loads(data)
    return facts


def main(argv: list[str] | None = None) -> int:
    """Write a version's golden outputs and list its files in its card, anew."""
    parser = argparse.ArgumentParser(prog="python -m engines.manifest", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="<model>/<version>/ with model.onnx and what belongs to it")
    folder = parser.parse_args(argv).folder
    try:
        describe(folder, read_facts(folder))
    except (ModelError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"wrote {folder / CARD_NAME}; sign it again if it was signed\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
