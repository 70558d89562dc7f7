"""Reads plain files below a folder by their bare names: never through a link, never twice."""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.core.errors import ModelError

PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""A file's name without any separator; it cannot be `.` or `..` and is not hidden."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe in a file's place would block for ever


@contextmanager
def opened_folder(root: Path, *names: str) -> Iterator[int]:
    """Lend the descriptor of the folder `names` below `root`, of which none may be a link; OSError where there is none.

    A descriptor stays with its folder, whatever is renamed or linked in its place meanwhile.
    """
    folder = os.open(root, _FOLDER)
    try:
        for name in names:
            below = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = below
        yield folder
    finally:
        os.close(folder)


def plain_bytes(folder: int, name: str, *, max_bytes: int) -> bytes | None:
    """Return the file's bytes, None where there is none; ModelError for a link, a larger file or what is no file."""
    try:
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        is_link = error.errno == errno.ELOOP
        raise ModelError(f"{name} is a link, not a file" if is_link else f"{name} cannot be read") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ModelError(f"{name} is not a plain file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise ModelError(f"{name} cannot be read") from error
    finally:
        os.close(descriptor)
    if len(data) > max_bytes:
        raise ModelError(f"{name} is larger than {max_bytes} bytes")
    return data
