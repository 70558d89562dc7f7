"""Who an outbox file belongs to: a lock that the system lets go when its process dies, however it dies."""

import fcntl
import os
from pathlib import Path

SUFFIX = ".outbox"


class OutboxLock:
    """The right to one outbox file, held until `close`.

    The lock is a file of its own: SQLite locks byte ranges of the outbox itself, and the system drops these as soon
    as anything else in the process closes that file.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def taken(cls, path: Path) -> "OutboxLock | None":
        """The lock for the outbox at `path`; None while another process has it."""
        descriptor = os.open(_lock_of(path), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return cls(path, descriptor)

    @classmethod
    def left(cls, path: Path) -> "OutboxLock | None":
        """The lock for an outbox that is there and whose process has gone, else None."""
        if (lock := cls.taken(path)) is None or path.exists():
            return lock
        lock.remove()  # another process has just taken it over; what is left is a lock without an outbox
        return None

    def close(self) -> None:
        """Leave the file to whoever comes next."""
        os.close(self._descriptor)

    def remove(self) -> None:
        """Delete the outbox, and the lock last: whoever gets the lock finds either all or nothing."""
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        _lock_of(self.path).unlink(missing_ok=True)
        self.close()


def outboxes(folder: Path) -> list[Path]:
    """The outbox files in the folder, whosever they are, the oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}"), key=_age)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + "-lock")
