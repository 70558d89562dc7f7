"""Camera noise, repeatable by (seed, seq)."""

import cv2
import numpy as np
import numpy.typing as npt

_TILE_PX = 256
_PLAY_PX = 64


class Sensor:
    """The noise of one camera: a fixed grain field that is shifted anew for every frame."""

    def __init__(self, seed: int, *, width_px: int, height_px: int, sigma: float) -> None:
        rng = np.random.default_rng([seed, 601])
        luma = rng.normal(0, sigma, (_TILE_PX, _TILE_PX, 1))
        grain = np.rint(luma + rng.normal(0, sigma * 0.4, (_TILE_PX, _TILE_PX, 3))).clip(-60, 60).astype(np.int16)
        rows, columns = -(-(height_px + _PLAY_PX) // _TILE_PX), -(-(width_px + _PLAY_PX) // _TILE_PX)
        tiles = np.tile(grain, (rows, columns, 1))
        self._lighter = tiles.clip(0, None).astype(np.uint8)
        self._darker = (-tiles).clip(0, None).astype(np.uint8)
        self._seed = seed

    def expose(self, rgb: npt.NDArray[np.uint8], *, seq: int) -> None:
        """Add frame `seq`'s noise in place."""
        height, width = rgb.shape[:2]
        mixed = (seq * 2_654_435_761 + self._seed * 40_503 + 97) & 0xFFFFFFFF
        dx, dy = (mixed >> 7) % _PLAY_PX, (mixed >> 19) % _PLAY_PX
        window = np.s_[dy : dy + height, dx : dx + width]
        cv2.add(rgb, self._lighter[window], dst=rgb)
        cv2.subtract(rgb, self._darker[window], dst=rgb)
