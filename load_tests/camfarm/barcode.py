"""A pixel barcode of (stream, seq) in the frame's top left corner, with a checksum.

Four rows of 24 cells: 64 payload bits and their CRC-32, whitened so that any payload has both shades. A cell is
1/80 of the frame's width, so the code survives JPEG, H.264 and scaling (aspect kept) down to about 4 px a cell.
"""

import zlib

import numpy as np
import numpy.typing as npt

from load_tests.camfarm.errors import BarcodeError

_ROWS, _COLUMNS = 4, 24
_CELLS_ACROSS = 80  # cells in the width of the frame
_DARK, _LIGHT = 20, 235  # inside H.264's limited range
_WHITE = np.random.default_rng(20_260_101).integers(0, 2, _ROWS * _COLUMNS, dtype=np.uint8)
_MIN_CONTRAST = 40.0


def _bits(stream: int, seq: int) -> npt.NDArray[np.uint8]:
    payload = stream.to_bytes(4, "big") + seq.to_bytes(4, "big")
    code = payload + zlib.crc32(payload).to_bytes(4, "big")
    return np.unpackbits(np.frombuffer(code, np.uint8)) ^ _WHITE


def _edges(width_px: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    cell = width_px / _CELLS_ACROSS
    rows = np.rint(np.arange(_ROWS + 1) * cell).astype(np.int64)
    columns = np.rint(np.arange(_COLUMNS + 1) * cell).astype(np.int64)
    return rows, columns


def encode(rgb: npt.NDArray[np.uint8], *, stream: int, seq: int) -> None:
    """Draw the barcode into a frame (h, w, 3) in place; both numbers are 32-bit unsigned.

    ValueError when the frame is too small: narrower than 160 px or lower than the code.
    """
    height, width = rgb.shape[:2]
    rows, columns = _edges(width)
    if width < 2 * _CELLS_ACROSS or height < rows[-1]:
        message = f"a frame of {width}x{height} px has no room for the barcode"
        raise ValueError(message)
    shades = np.where(_bits(stream, seq), _LIGHT, _DARK).astype(np.uint8).reshape(_ROWS, _COLUMNS)
    drawn = shades.repeat(np.diff(rows), axis=0).repeat(np.diff(columns), axis=1)
    rgb[: drawn.shape[0], : drawn.shape[1]] = drawn[:, :, None]


def decode(frame: npt.NDArray[np.uint8]) -> tuple[int, int]:
    """(stream, seq) of a frame (h, w, 3) or its luma (h, w); BarcodeError when the code is absent or damaged."""
    height, width = frame.shape[:2]
    cell = width / _CELLS_ACROSS
    if height < _ROWS * cell or cell < 1:
        message = "the frame is too small for a barcode"
        raise BarcodeError(message)
    # The middle of each cell only: block filters and scaling smear the rims.
    rows = (np.arange(_ROWS)[:, None] + np.linspace(0.3, 0.7, 5)).ravel() * cell
    columns = (np.arange(_COLUMNS)[:, None] + np.linspace(0.3, 0.7, 5)).ravel() * cell
    corner = frame[np.ix_(rows.astype(np.int64), columns.astype(np.int64))].astype(np.float64)
    luma = corner if corner.ndim == 2 else corner.mean(axis=2)
    means = luma.reshape(_ROWS, 5, _COLUMNS, 5).mean(axis=(1, 3)).ravel()
    low, high = np.percentile(means, (15, 85))
    if high - low < _MIN_CONTRAST:
        message = "no barcode: the corner has no contrast"
        raise BarcodeError(message)
    bits = (means > (low + high) / 2).astype(np.uint8) ^ _WHITE
    code = np.packbits(bits).tobytes()
    if zlib.crc32(code[:8]).to_bytes(4, "big") != code[8:]:
        message = "the barcode's checksum does not match"
        raise BarcodeError(message)
    return int.from_bytes(code[:4], "big"), int.from_bytes(code[4:8], "big")
