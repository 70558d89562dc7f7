"""A video file as the JPEGs of its frames, upright and in full size, each with its true time."""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from app.client.picture import encoded
from app.core.errors import SightlineError
from app.core.frame import Frame
from app.core.outcome import End
from app.core.video import VideoSpec
from app.media.video import VideoReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One frame of a file; `pts_s` seconds from its start."""

    jpeg: bytes
    pts_s: float


class Clip:
    """A file that is read once. NotFoundError or UndecodableError from `open` when it is none that can be."""

    def __init__(self, file: Path) -> None:
        self.damaged = 0
        """Frames that were passed over, because they could not be decoded."""
        self.error: SightlineError | None = None
        """What broke the file off, once it has."""
        self._last_s = 0.0
        self._reader = VideoReader(
            file, stream_id=file.name, spec=VideoSpec(), model_width_px=0, model_height_px=0, is_full_size=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._reader.close()

    def open(self) -> int | None:
        """Read the header; about how many frames there are, for a progress bar."""
        return self._reader.open().n_frames

    def shot(self) -> Shot | None:
        """The next frame; None at the end."""
        for outcome in self._reader:
            if isinstance(outcome, Frame):
                self._last_s = self._last_s if outcome.ref.pts_s is None else outcome.ref.pts_s
                return Shot(jpeg=encoded(outcome.rgb), pts_s=self._last_s)
            if isinstance(outcome, End):
                self.error = outcome.error
                return None
            self.damaged += 1
        return None
