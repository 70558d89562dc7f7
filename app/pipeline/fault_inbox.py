"""Where planted faults lie between the one who planted them and the engines, in one process."""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from app.core.errors import InvalidParameterError, NotFoundError, OverloadedError
from app.pipeline.faults import MAX_EXPIRES_S, PlantedFault
from app.policy.fault_plan import Fault

F = TypeVar("F", bound=Fault)
MAX_PLANTED: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    fault: Fault
    end_s: float
    is_spent: bool = False


class FaultInbox:
    """Faults by id, each with an end. Safe for threads; `clock` gives monotonic seconds.

    Engines ask for `active` faults of their kind, and `take` those that strike once.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()

    def put(self, fault: Fault, *, expires_s: float, fault_id: str | None = None) -> PlantedFault:
        """Plant it, under a new id if none is given.

        InvalidParameterError for a time that is none, OverloadedError when too many are planted.
        """
        if not 0 < expires_s <= MAX_EXPIRES_S:
            raise InvalidParameterError(f"expires_s must lie above 0 and not above {MAX_EXPIRES_S:g}")
        with self._lock:
            self._forget()
            if len(self._entries) >= MAX_PLANTED:
                raise OverloadedError(f"{MAX_PLANTED} faults are planted; remove one first")
            fault_id = fault_id or secrets.token_hex(8)
            self._entries[fault_id] = _Entry(fault=fault, end_s=self._clock() + expires_s)
            return self._shown(fault_id, self._entries[fault_id])

    def remove(self, fault_id: str) -> PlantedFault:
        """Take it back, as it was; NotFoundError when none has that id any more."""
        with self._lock:
            self._forget()
            entry = self._entries.pop(fault_id, None)
            if entry is None:
                raise NotFoundError("no fault with that id is planted")
            return self._shown(fault_id, entry)

    def planted(self) -> list[PlantedFault]:
        """Those that are planted now, oldest first."""
        with self._lock:
            self._forget()
            return [self._shown(fault_id, entry) for fault_id, entry in self._entries.items()]

    def active(self, kind: type[F]) -> F | None:
        """The newest planted fault of this kind, None when there is none."""
        with self._lock:
            self._forget()
            found = [entry.fault for entry in self._entries.values() if isinstance(entry.fault, kind)]
            return found[-1] if found else None

    def take(self, kind: type[F]) -> F | None:
        """The oldest fault of this kind that has not struck yet; it strikes now and never again, though it is shown."""
        with self._lock:
            self._forget()
            for fault_id, entry in self._entries.items():
                if isinstance(entry.fault, kind) and not entry.is_spent:
                    self._entries[fault_id] = replace(entry, is_spent=True)
                    return entry.fault
            return None

    def _forget(self) -> None:
        now_s = self._clock()
        self._entries = {fault_id: entry for fault_id, entry in self._entries.items() if now_s < entry.end_s}

    def _shown(self, fault_id: str, entry: _Entry) -> PlantedFault:
        return PlantedFault(fault_id=fault_id, fault=entry.fault, expires_in_s=entry.end_s - self._clock())


class LocalFaults:
    """The port to the faults of engines in this process."""

    def __init__(self, inbox: FaultInbox) -> None:
        self._inbox = inbox

    async def inject(self, fault: Fault, *, expires_s: float) -> PlantedFault:
        """Plant the fault for `expires_s` seconds."""
        return self._inbox.put(fault, expires_s=expires_s)

    async def remove(self, fault_id: str) -> PlantedFault:
        """Take it back."""
        return self._inbox.remove(fault_id)

    async def planted(self) -> list[PlantedFault]:
        """Those that are planted now."""
        return self._inbox.planted()
