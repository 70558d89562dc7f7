"""What is true of one frame: boxes, classes, identities and how much of each actor is seen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from load_tests.camfarm.geometry import Lens
from load_tests.camfarm.scene import Camera, Scene, frame_numbers
from load_tests.camfarm.sighting import Sighting, sightings, standing

_RASTER_PX = 640  # visibility is counted at this width whatever the camera's, so that every size has the same truth
_SHIFT = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameTruth:
    """Ground truth of one frame, one row per actor in the image, by identity; arrays are read-only.

    `xyxy` (n, 4) float32 is the whole body's box in source pixels, clipped to the image, x2 y2 exclusive.
    `visibility` (n,) is the share of the whole silhouette that is seen: what is hidden and what lies outside the image
    both lower it. `in_frame` (n,) is the share inside the image, hidden or not; so `visibility / in_frame` is the share
    not hidden. Boxes of wholly hidden actors are listed, with visibility 0.
    """

    stream: int
    seq: int
    captured_at_s: float
    xyxy: npt.NDArray[np.float32]
    label: npt.NDArray[np.int32]
    identity: npt.NDArray[np.int64]
    visibility: npt.NDArray[np.float32]
    in_frame: npt.NDArray[np.float32]

    def __len__(self) -> int:
        """How many actors are in the image."""
        return len(self.label)


def silhouette(sighting: Sighting, *, scale: float) -> tuple[npt.NDArray[np.uint8], int, int]:
    """The body's mask of 0 and 1, cropped, at `scale` times the image's size, with its left and top in that raster."""
    x1, y1, x2, y2 = (part * scale for part in sighting.xyxy)
    left, top = int(np.floor(x1)), int(np.floor(y1))
    mask = np.zeros((int(np.ceil(y2)) - top + 1, int(np.ceil(x2)) - left + 1), np.uint8)
    fixed = np.rint((sighting.points_px * scale - (left + 0.5, top + 0.5)) * (1 << _SHIFT)).astype(np.int32)
    for polygon, is_outline in zip(sighting.polygons(fixed), sighting.is_outline, strict=True):
        if is_outline:
            cv2.fillPoly(mask, [polygon], 1, cv2.LINE_8, _SHIFT)
    return mask, left, top


def _shares(seen: Sequence[Sighting], lens: Lens) -> dict[int, tuple[float, float]]:
    """(visibility, in_frame) by identity; `seen` runs far to near."""
    scale = _RASTER_PX / lens.width_px
    taken = np.zeros((max(1, round(lens.height_px * scale)), _RASTER_PX), np.uint8)
    shares = {}
    for sighting in reversed(seen):
        mask, left, top = silhouette(sighting, scale=scale)
        x1, y1 = max(left, 0), max(top, 0)
        x2, y2 = min(left + mask.shape[1], taken.shape[1]), min(top + mask.shape[0], taken.shape[0])
        if x2 <= x1 or y2 <= y1:
            inside, visible = 0, 0
        else:
            part, under = mask[y1 - top : y2 - top, x1 - left : x2 - left], taken[y1:y2, x1:x2]
            inside = cv2.countNonZero(part)
            visible = cv2.countNonZero(cv2.subtract(part, under))
            np.maximum(under, part, out=under)
        if sighting.actor is not None:
            whole = max(1, cv2.countNonZero(mask))
            shares[sighting.actor.identity] = (visible / whole, inside / whole)
    return shares


def frame_truth(seen: Sequence[Sighting], lens: Lens, *, camera: Camera, seq: int) -> FrameTruth:
    """The truth of the frame that shows these sightings."""
    shares = _shares(seen, lens)
    actors = sorted(
        ((sighting.actor, sighting.xyxy) for sighting in seen if sighting.actor is not None),
        key=lambda item: item[0].identity,
    )
    xyxy = np.array([box for _, box in actors], np.float32).reshape(-1, 4)
    xyxy[:, 0::2] = xyxy[:, 0::2].clip(0, lens.width_px)
    xyxy[:, 1::2] = xyxy[:, 1::2].clip(0, lens.height_px)
    identity = np.array([actor.identity for actor, _ in actors], np.int64)
    truth = FrameTruth(
        stream=camera.stream,
        seq=seq,
        captured_at_s=camera.captured_at_s(seq),
        xyxy=xyxy,
        label=np.array([actor.label for actor, _ in actors], np.int32),
        identity=identity,
        visibility=np.array([shares[one][0] for one in identity.tolist()], np.float32),
        in_frame=np.array([shares[one][1] for one in identity.tolist()], np.float32),
    )
    for array in (truth.xyxy, truth.label, truth.identity, truth.visibility, truth.in_frame):
        array.setflags(write=False)
    return truth


def truth_only(scene: Scene, camera: Camera, *, frames: int | None = None, first_seq: int = 0) -> Iterator[FrameTruth]:
    """The truth of each frame without drawing it; endless for `frames` None."""
    lens = scene.lens(camera)
    stands = standing(scene, lens)
    for number in frame_numbers(frames):
        seq = first_seq + number
        seen = sightings(scene, lens, time_s=camera.captured_at_s(seq), stands=stands)
        yield frame_truth(seen, lens, camera=camera, seq=seq)
