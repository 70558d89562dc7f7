"""Versions of a tiny model on disk, as their maker leaves them, and keys to sign them with."""

import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from app.core.model import Head
from engines.plain_files import opened_folder
from engines.signature import TrustedKey
from engines.tiny_yolo import tiny_yolo
from engines.version_files import VersionFiles, read_version

MODEL = tiny_yolo(Head.YOLOV8).SerializeToString()


def write_version(root: Path, *, model: str = "tiny", version: str = "1.0.0", **files: bytes) -> Path:
    """Write a version with its card; `files` are further ones, `__` in a name standing for a dot. Return its folder."""
    folder = root / model / version
    folder.mkdir(parents=True)
    contents = {"model.onnx": MODEL, **{name.replace("__", "."): content for name, content in files.items()}}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    listed = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    write_json(folder / "card.json", {"name": model, "version": version, "files": listed})
    return folder


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def read_folder(folder: Path, *, trusted_keys: tuple[TrustedKey, ...] = ()) -> VersionFiles:
    with opened_folder(folder) as descriptor:
        return read_version(descriptor, "model.onnx", trusted_keys=trusted_keys)


def write_keys(folder: Path, *, name: str = "release") -> tuple[Path, Path]:
    """Write a new pair of keys and return the private and the public file."""
    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public
