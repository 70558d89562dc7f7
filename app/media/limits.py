"""How much work one picture or video may ask for, whoever sent it."""

from dataclasses import dataclass

from app.core.errors import TooLargeError


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeLimits:
    """Bounds that hold before any decoder runs, so that a small file cannot ask for gigabytes or seconds.

    `max_pixels` bounds a still picture, `max_decoded_bytes` what it fills when unpacked at its own bit depth,
    `max_scans` the passes of a progressive JPEG and `max_scan_pixels` pixels times passes (a scan may hold no data and
    still cost one visit to every block). `max_video_pixels` bounds one video frame; a decoder keeps up to 16 of them.
    """

    max_pixels: int = 50_000_000
    max_decoded_bytes: int = 200_000_000
    max_scans: int = 100
    max_scan_pixels: int = 600_000_000  # 12 scans at max_pixels; encoders make 10
    max_video_pixels: int = 36_000_000  # 8192 x 4320, the largest 8K

    def check_still(self, width_px: int, height_px: int, *, bytes_per_pixel: int = 3, n_scans: int = 1) -> None:
        """Raise TooLargeError if the picture is over a limit."""
        n_pixels = width_px * height_px
        if n_pixels > self.max_pixels:
            raise TooLargeError(f"the picture is {width_px} x {height_px}; at most {self.max_pixels} pixels are read")
        if n_pixels * bytes_per_pixel > self.max_decoded_bytes:
            raise TooLargeError(f"the picture unpacks to {n_pixels * bytes_per_pixel} bytes; the limit is lower")
        if n_scans > self.max_scans or n_scans * n_pixels > self.max_scan_pixels:
            raise TooLargeError(f"the JPEG has {n_scans} scans of {width_px} x {height_px}, more work than is allowed")

    def check_video(self, width_px: int, height_px: int) -> None:
        """Raise TooLargeError if one frame of the video is over the limit."""
        if width_px * height_px > self.max_video_pixels:
            raise TooLargeError(
                f"the video is {width_px} x {height_px}; at most {self.max_video_pixels} pixels per frame are read"
            )


DEFAULT_LIMITS = DecodeLimits()
"""What holds when a caller names nothing else."""
