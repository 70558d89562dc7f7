"""A camera on this machine as the JPEGs of its newest frames, each with the time when it came."""

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

from app.client.picture import Pixels, jpeg
from app.core.errors import ConflictError, NotFoundError, SightlineError, UnavailableError

SILENT_S: Final = 5.0
"""A camera that gives no frame for so long is given up."""
_STOP_S: Final = 2.0
"""A driver that does not come back from a call by then is left to its thread, which lets go of the camera after it."""


class Device(Protocol):
    """What of cv2.VideoCapture a camera needs."""

    def grab(self) -> bool:
        """Wait for the next frame and take it; False when there is none any more."""

    def retrieve(self) -> tuple[bool, Any]:
        """The frame that was taken, `(h, w, 3)` uint8, B first; False when it is broken."""

    def release(self) -> None:
        """Let go of the camera."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraShot:
    """One frame; `captured_at` is UTC in seconds, when it came from the driver."""

    jpeg: bytes
    captured_at: float


class Camera:
    """A camera that is opened once: `device` is its number, as OpenCV counts them, or its path, `/dev/video0`.

    A thread takes every frame from the driver, so that none grows old in there; who asks for a frame gets the next one
    that comes. Ask in one thread; close from any.
    """

    def __init__(
        self,
        device: int | str,
        *,
        open_device: Callable[[int | str], Device] | None = None,
        clock: Callable[[], float] = time.time,
        silent_s: float = SILENT_S,
    ) -> None:
        self.device = device
        self.passed_over = 0
        """Frames that came while nobody asked."""
        self.damaged = 0
        """Frames that could not be decoded."""
        self.error: SightlineError | None = None
        """What broke the camera off, once it has."""
        self._open_device = open_device or opened
        self._clock = clock
        self._silent_s = silent_s
        self._changed = threading.Condition()
        self._is_asked = self._is_over = False
        self._newest: tuple[Pixels, float] | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def open(self) -> None:
        """Take the camera. NotFoundError when there is none, ConflictError when it does not open: it is busy, say."""
        device = self._open_device(self.device)
        self._thread = threading.Thread(target=self._take_all, args=(device,), name="sightline-camera", daemon=True)
        self._thread.start()

    def shot(self) -> CameraShot | None:
        """The next frame; None when the camera was closed, or broke off: then `error` says why."""
        with self._changed:
            self._is_asked = True
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._newest is not None or self._is_over, timeout=self._silent_s):
                self._end(UnavailableError("the camera has given no frame for too long"))
            newest, self._newest, self._is_asked = self._newest, None, False
        return None if newest is None else CameraShot(jpeg=jpeg(newest[0], order="BGR"), captured_at=newest[1])

    def stop(self) -> None:
        """No frame comes any more, not the one that is asked for either; returns at once."""
        self._end(None)

    def close(self) -> None:
        """Stop, and wait until the camera is let go of. Twice is once."""
        self.stop()
        if self._thread is not None:
            self._thread.join(_STOP_S)

    def _end(self, error: SightlineError | None) -> None:
        with self._changed:
            if not self._is_over:
                self._is_over, self.error = True, error
            self._changed.notify_all()

    def _take_all(self, device: Device) -> None:
        """The thread: it alone touches the device, and lets go of it at its end."""
        try:
            with self._changed:  # the first frame is that of the first question
                self._changed.wait_for(lambda: self._is_asked or self._is_over)
            while not self._is_over and device.grab():
                self._look(device, came_at=self._clock())
            self._end(UnavailableError("the camera gives no frames any more; it may have been unplugged"))
        except Exception:  # noqa: BLE001  a driver's, whatever it is; its words are not for the caller
            self._end(UnavailableError("the camera's driver failed"))
        finally:
            with suppress(Exception):
                device.release()

    def _look(self, device: Device, *, came_at: float) -> None:
        with self._changed:
            if not self._is_asked or self._newest is not None:
                self.passed_over += 1
                return
        is_whole, pixels = device.retrieve()
        with self._changed:
            if is_whole and pixels is not None:
                self._newest = pixels, came_at
                self._changed.notify_all()
            else:
                self.damaged += 1


def opened(device: int | str) -> Device:
    """The device by OpenCV. NotFoundError when there is none, ConflictError when it does not open."""
    import cv2

    is_linux = sys.platform == "linux"
    path = Path(f"/dev/video{device}") if isinstance(device, int) else Path(device)
    if is_linux and not path.exists():  # OpenCV tells "absent" and "busy" apart for people only, on stderr
        raise NotFoundError(f"there is no camera {path}")
    capture = cv2.VideoCapture(device, cv2.CAP_V4L2 if is_linux and path.is_char_device() else cv2.CAP_ANY)
    if capture.isOpened():
        return capture
    capture.release()
    if is_linux:
        raise ConflictError(f"{path} does not open: another program has it, it is not yours to read, or is no camera")
    raise NotFoundError(f"there is no camera {device} that opens")
