"""A farm of make-believe street cameras: deterministic frames with exact ground truth.

`load_tests.camfarm.video` writes MP4; it is not imported here, so that the farm also works where PyAV is absent.
"""

from load_tests.camfarm import barcode
from load_tests.camfarm.actor import LABEL_NAMES, Label
from load_tests.camfarm.crossings import Crossing, Line, crossings
from load_tests.camfarm.detections import Faults, NoisyDetections, degraded
from load_tests.camfarm.errors import BarcodeError
from load_tests.camfarm.jpeg import encode_jpeg
from load_tests.camfarm.painter import Painter, Shot, render
from load_tests.camfarm.scene import Camera, Scene
from load_tests.camfarm.truth import FrameTruth, truth_only

__all__ = [
    "LABEL_NAMES",
    "BarcodeError",
    "Camera",
    "Crossing",
    "Faults",
    "FrameTruth",
    "Label",
    "Line",
    "NoisyDetections",
    "Painter",
    "Scene",
    "Shot",
    "barcode",
    "crossings",
    "degraded",
    "encode_jpeg",
    "render",
    "truth_only",
]
