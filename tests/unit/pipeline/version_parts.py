"""Engines of several versions that a test holds back and lets go, and what is sent to them."""

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app.core.frame import ModelInput
from app.core.ports import RawOutput
from app.core.routing import Route
from app.pipeline.detector import Detector
from app.pipeline.serving import ServingParameters
from tests.builders import make_input
from tests.fakes import FakeEngine


class VersionEngine(FakeEngine):
    """Its one object is `edge_px` high. A call enters, and stays until `gate` is open."""

    def __init__(self, version: str, *, edge_px: float = 10.0, size_px: int = 64, streams: int = 1) -> None:
        super().__init__(size_px=size_px, streams=streams)
        self.spec = replace(self.spec, version=version)
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.is_broken = False
        self._edge_px = edge_px

    def infer(self, pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        self.entered.release()
        assert self.gate.wait(10)
        assert not self.is_closed
        rows = super().infer(pixels)
        rows[:, :, 2] = 20.0
        rows[:, :, 3] = self._edge_px
        return rows


def route_to(
    version: str, *, epoch: int = 1, shadow: str | None = None, size_px: int = 64, model: str = "test"
) -> Route:
    return Route(model=model, version=version, epoch=epoch, width_px=size_px, height_px=size_px, shadow=shadow)


def sent_to(version: str, *, seq: int = 0, epoch: int = 1, shadow: str | None = None) -> ModelInput:
    return replace(make_input(seq=seq), route=route_to(version, epoch=epoch, shadow=shadow))


def detector_of(*engines: VersionEngine, parameters: ServingParameters | None = None) -> Detector:
    """One stage that holds all of them, the first one first."""
    detector = Detector(engines[0], parameters=parameters or ServingParameters())
    for engine in engines[1:]:
        detector.add(engine)
    return detector
