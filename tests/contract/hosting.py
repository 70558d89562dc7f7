"""A mad engine in a process of its own, and what it is to see."""

import time
from pathlib import Path

from app.core.frame import Pixels
from app.core.ports import RawOutput
from app.vision.example import example_picture
from engines.hosted import HostedEngine, HostLimits, open_hosted_engine
from engines.reference import ReferenceEngine
from engines.restarts import RestartLimits
from tests.contract.mad_host import SIDE_PX

MAD = "tests.contract.mad_host"
LIMITS = HostLimits(load_s=20.0, call_s=0.5, close_s=3.0, restarts=RestartLimits(max_restarts=2, first_s=0.05))


def open_mad(model: Path | None = None, *, limits: HostLimits = LIMITS, streams: int = 2) -> HostedEngine:
    return open_hosted_engine(model, limits=limits, module=MAD, streams=streams, max_batch=2)


def canvas(red: int = 0) -> Pixels:
    """The example, with a first pixel that asks the mad engine for something."""
    picture = example_picture(width_px=SIDE_PX, height_px=SIDE_PX).copy()
    picture[0, 0, 0] = red
    return picture


def rows_here(*pixels: Pixels) -> RawOutput:
    return ReferenceEngine(width_px=SIDE_PX, height_px=SIDE_PX).infer(pixels)


def seconds_since(begun_s: float) -> float:
    return time.monotonic() - begun_s
