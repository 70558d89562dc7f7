"""Where FFmpeg's bytes come from: a file, a growing upload or any open file, one face for all."""

import os
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from app.core.errors import NotFoundError, SightlineError
from app.media.spool import Spool, SpoolReader

_HEAD_BYTES: Final = 12
_ISO_BOXES: Final = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"})


class SeekableFile(Protocol):
    """What an open binary file offers."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """The new position."""

    def tell(self) -> int:
        """The position."""

    def close(self) -> None:
        """Give the handle back."""


VideoSource: TypeAlias = Spool | Path | str | SeekableFile


class DemuxInput:
    """The file object that PyAV reads.

    It never raises: PyAV would keep the exception for the next call of the same thread, perhaps another video's. What
    went wrong stands in `error`, and FFmpeg sees the end of the file.

    While an upload grows, only ISO files (MP4, MOV) are seekable: their index may stand at the end. Every other demuxer
    would seek there for an index it can do without, and so wait for the whole upload.
    """

    def __init__(self, source: VideoSource) -> None:
        self._owns = isinstance(source, Spool | Path | str)
        self._file = _opened(source)
        self.error: SightlineError | None = None
        self.is_growing = isinstance(self._file, SpoolReader) and self._file.is_growing
        self.head = self._head()

    @property
    def is_iso(self) -> bool:
        """Whether it begins like an MP4 or MOV."""
        return self.head[4:8] in _ISO_BOXES

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, never more: FFmpeg's buffer has no room."""
        if self.error is not None:
            return b""
        try:
            return self._file.read(size)[:size]
        except SightlineError as error:
            self.error = error
        except (OSError, ValueError):
            self.error = NotFoundError("the file can no longer be read")
        return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """The new position, or -1 where it cannot be had: FFmpeg asks for the size that way, and need not know it."""
        is_endless = whence == os.SEEK_END and isinstance(self._file, SpoolReader) and self._file.is_growing
        if is_endless or self.error is not None:
            return -1
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, SightlineError):
            return -1

    def tell(self) -> int:
        """The position."""
        return self._file.tell()

    def seekable(self) -> bool:
        """Whether FFmpeg may jump."""
        return self.is_iso or not self.is_growing

    def read_at(self, position: int, size: int) -> bytes:
        """Up to `size` bytes from `position`."""
        return self.read(size) if self.seek(position) == position else b""

    def size_bytes(self) -> int:
        """The length of the whole, once it is there; 0 where it is not known."""
        try:
            return max(0, self._file.seek(0, os.SEEK_END))
        except SightlineError as error:
            self.error = error
        except (OSError, ValueError):
            pass
        return 0

    def close(self) -> None:
        """Close what was opened here; a file object of the caller stays open."""
        if self._owns:
            self._file.close()

    def _head(self) -> bytes:
        head = b""
        while len(head) < _HEAD_BYTES and (more := self.read(_HEAD_BYTES - len(head))):
            head += more
        self.seek(0)
        return head


def _opened(source: VideoSource) -> SeekableFile:
    if isinstance(source, Spool):
        return source.reader()
    if isinstance(source, Path | str):
        try:
            return Path(source).open("rb")
        except OSError as error:
            raise NotFoundError("the video file cannot be opened") from error
    return source
