"""An upload on disk that can be read while it is still growing."""

import os
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Final

from app.core.errors import DeadlineError, InvalidRequestError, OverloadedError, SightlineError, TooLargeError

DEFAULT_STALL_S: Final = 30.0


class Spool:
    """The bytes of one upload in an unlinked temporary file: one thread writes, others read behind it.

    `max_bytes` bounds the file. A reader that waits `stall_s` seconds without a single new byte gets a DeadlineError.
    The disk space is given back by `close`, at the latest when the last reader is gone.
    """

    def __init__(self, *, max_bytes: int, stall_s: float = DEFAULT_STALL_S, directory: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - closed by close() or the finalizer
        weakref.finalize(self, self._file.close)
        self._max_bytes = max_bytes
        self._stall_s = stall_s
        self._changed = threading.Condition()
        self._n_bytes = 0
        self._is_finished = False
        self._error: SightlineError | None = None

    @property
    def n_bytes(self) -> int:
        """How much has arrived."""
        return self._n_bytes

    @property
    def is_finished(self) -> bool:
        """Whether the upload is complete."""
        return self._is_finished

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append; raises TooLargeError over `max_bytes`, and whatever `abort` was given once it was called."""
        with self._changed:
            if self._error is not None:
                raise self._error
            if self._n_bytes + len(chunk) > self._max_bytes:
                self._fail(TooLargeError(f"the upload is over {self._max_bytes} bytes"))
            view = memoryview(chunk)
            while view:
                try:
                    n_written = os.pwrite(self._file.fileno(), view, self._n_bytes)
                except OSError:
                    self._fail(OverloadedError("there is no room for the upload"))
                view = view[n_written:]
                self._n_bytes += n_written
            self._changed.notify_all()

    def finish(self) -> None:
        """Say that nothing more will come: readers meet the end of the file."""
        with self._changed:
            self._is_finished = True
            self._changed.notify_all()

    def abort(self, error: SightlineError | None = None) -> None:
        """Wake every reader with `error`; nothing happens when the upload is already complete or broken."""
        with self._changed:
            if self._error is None and not self._is_finished:
                self._error = error or InvalidRequestError("the upload was broken off")
            self._changed.notify_all()

    def close(self) -> None:
        """Free the disk; readers that are left get an error."""
        with self._changed:
            self._error = self._error or InvalidRequestError("the upload was discarded")
            self._file.close()
            self._changed.notify_all()

    def reader(self) -> "SpoolReader":
        """A reader at the first byte; each has its own position."""
        return SpoolReader(self)

    def read_at(self, position: int, size: int) -> bytes:
        """Up to `size` bytes from `position`, as soon as there is one; b"" at the end of a complete upload."""
        with self._changed:
            self._wait_for(position + 1)
            return os.pread(self._file.fileno(), max(0, min(size, self._n_bytes - position)), position)

    def wait_until_finished(self) -> int:
        """The length in bytes of the complete upload."""
        with self._changed:
            self._wait_for(self._max_bytes + 1)
            return self._n_bytes

    def _wait_for(self, n_bytes: int) -> None:
        """Block until that much is there or the upload is complete; every new byte restarts the stall clock."""
        while self._error is None and self._n_bytes < n_bytes and not self._is_finished:
            if not self._changed.wait(self._stall_s):
                self._error = DeadlineError(f"no byte of the upload came for {self._stall_s:g} s")
        if self._error is not None:
            raise self._error

    def _fail(self, error: SightlineError) -> None:
        self._error = error
        self._changed.notify_all()
        raise error


class SpoolReader:
    """A file-like, read-only view of a Spool that blocks for bytes still to come."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._position = 0

    @property
    def is_growing(self) -> bool:
        """Whether more bytes may come."""
        return not self._spool.is_finished

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, at least one unless the end is reached; all that is left for a negative `size`."""
        if size < 0:
            size = max(0, self._spool.wait_until_finished() - self._position)
        data = self._spool.read_at(self._position, size) if size else b""
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; only a move relative to the end waits, for the end of the upload."""
        base = 0
        if whence == os.SEEK_CUR:
            base = self._position
        elif whence == os.SEEK_END:
            base = self._spool.wait_until_finished()
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """The position of the next byte."""
        return self._position

    def close(self) -> None:
        """Nothing to free: the bytes belong to the Spool."""
