"""The bounded place where decoded frames wait for their consumer; what it cannot hold it counts and tells."""

import socket
import threading
from collections import Counter, deque
from dataclasses import dataclass, replace

from app.core.frame import Pixels
from app.media.pull.messages import Filled, Message, Reason, Shed, encode
from app.media.pull.ring import SLOTS, FrameRing


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A frame, and what was lost directly before it."""

    frame: Filled
    rgb: Pixels
    shed: Counter[Reason]


class Handover:
    """Sends frames one by one from a thread of its own, each when a slot of the ring is free.

    The decoder never waits here: with `depth` frames waiting, the oldest gives way to the new one; with `is_patient`,
    for a source that waits too, it does. What was lost is told in its place between the frames, and the end of a
    connection after all of them.
    """

    def __init__(self, control: socket.socket, ring: FrameRing, *, depth: int, is_patient: bool) -> None:
        self._control = control
        self._ring = ring
        self._depth = depth
        self._is_patient = is_patient
        self._free = list(range(SLOTS))
        self._waiting: deque[_Waiting] = deque()
        self._shed: Counter[Reason] = Counter()
        self._last: Message | None = None
        self._changed = threading.Condition()
        threading.Thread(target=self._send, daemon=True).start()

    def offer(self, frame: Filled, rgb: Pixels) -> None:
        """The next frame; its slot is chosen when it leaves."""
        with self._changed:
            if self._is_patient:
                self._changed.wait_for(lambda: len(self._waiting) < self._depth)
            self._waiting.append(_Waiting(frame, rgb, self._shed))
            self._shed = Counter()
            if len(self._waiting) > self._depth:
                oldest = self._waiting.popleft()
                self._waiting[0].shed.update(oldest.shed)
                self._waiting[0].shed[Reason.SUPERSEDED] += 1
            self._changed.notify_all()

    def shed(self, count: int, reason: Reason) -> None:
        """So many frames will not come."""
        if count:
            with self._changed:
                self._shed[reason] += count
                self._changed.notify_all()

    def finish(self, last: Message) -> None:
        """Tell how the connection ended, after everything that came over it; returns when it is told."""
        with self._changed:
            self._last = last
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._last is None)

    def free(self, slot: int) -> None:
        """The owner has copied what lay in the slot."""
        with self._changed:
            self._free.append(slot)
            self._changed.notify_all()

    def _send(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._is_due)
                waiting = self._waiting.popleft() if self._waiting else None
                slot = self._free.pop() if waiting else 0
                shed = waiting.shed if waiting else self._shed
                last = None if waiting else self._last
                if waiting is None:
                    self._shed = Counter()
                self._changed.notify_all()
            for reason, count in shed.items():
                self._control.send(encode(Shed(count=count, reason=reason)))
            if waiting is not None:
                self._ring.write(slot, waiting.rgb)
                self._control.send(encode(replace(waiting.frame, slot=slot)))
            if last is not None:
                self._control.send(encode(last))
                with self._changed:
                    self._last = None
                    self._changed.notify_all()

    def _is_due(self) -> bool:
        if self._waiting:
            return bool(self._free)
        return bool(self._shed) or self._last is not None
