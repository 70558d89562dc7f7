"""What a picture's header says, whatever its format."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from app.media.upright import swaps_axes

Body: TypeAlias = bytes | memoryview
"""The encoded bytes, borrowed from the request."""


class ImageFormat(StrEnum):
    """The still formats that are read."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """Facts read from the header alone.

    `width_px` and `height_px` are as stored, before `orientation` (EXIF 1 to 8) is applied; `n_components` counts alpha
    and, for a palette, the colours it expands to. `n_scans` is counted for multi-scan JPEGs only. `transparent_level`
    is the grey sample that a PNG declares transparent.
    """

    format: ImageFormat
    width_px: int
    height_px: int
    orientation: int = 1
    n_components: int = 3
    bit_depth: int = 8
    has_alpha: bool = False
    is_progressive: bool = False
    is_arithmetic: bool = False
    is_animated: bool = False
    n_scans: int = 1
    transparent_level: int | None = None

    @property
    def upright_size_px(self) -> tuple[int, int]:
        """`(width_px, height_px)` after `orientation` is applied."""
        return (self.height_px, self.width_px) if swaps_axes(self.orientation) else (self.width_px, self.height_px)

    @property
    def bytes_per_pixel(self) -> int:
        """What one pixel fills when unpacked; never less than the three bytes of the result."""
        return max(3, self.n_components * (2 if self.bit_depth > 8 else 1))  # noqa: PLR2004 - bits of a byte
