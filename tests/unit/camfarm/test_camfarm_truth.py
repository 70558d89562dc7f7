"""The truth is what the picture shows: boxes fit the drawn pixels, visibility is what can be counted."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from load_tests.camfarm import Camera, FrameTruth, Label, Scene, render, truth_only
from load_tests.camfarm.geometry import Lens
from load_tests.camfarm.painter import paint
from load_tests.camfarm.sighting import Sighting, sightings, standing
from load_tests.camfarm.truth import frame_truth, silhouette

CAMERA = Camera(width_px=640, height_px=360, fps=0.5)
Mask = npt.NDArray[np.bool_]


def make_frame(*, seed: int, seq: int) -> tuple[list[Sighting], FrameTruth, Lens]:
    """What one frame shows, far to near, and its truth."""
    scene = Scene(seed=seed, density=14.0)
    lens = scene.lens(CAMERA)
    seen = sightings(scene, lens, time_s=CAMERA.captured_at_s(seq), stands=standing(scene, lens))
    return seen, frame_truth(seen, lens, camera=CAMERA, seq=seq), lens


def painted(sighting: Sighting) -> Mask:
    """The pixels that drawing this thing covers by at least half: the same on black and on white."""
    black, white = np.zeros((360, 640, 3), np.uint8), np.full((360, 640, 3), 255, np.uint8)
    paint(black, sighting)
    paint(white, sighting)
    return np.asarray((white.astype(int) - black).max(axis=2) < 128)


def edge_error_px(mask: Mask, box: npt.NDArray[np.float32]) -> float:
    """By how much the box's worst edge misses the mask's bounds."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    bounds = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return float(np.abs(bounds - box).max())


@pytest.mark.parametrize("seed", [1, 3])
def test_boxes_fit_what_is_drawn_to_two_pixels(seed: int) -> None:
    # OpenCV's smooth edges reach up to two pixels beyond the geometry, whatever the image's size.
    checked: set[Label] = set()
    for seq in range(3):
        seen, truth, _ = make_frame(seed=seed, seq=seq)
        whole = {identity: at for at, identity in enumerate(truth.identity.tolist()) if truth.in_frame[at] == 1.0}
        actors = [(each.actor, painted(each)) for each in seen if each.actor is not None]
        for actor, mask in actors:
            assert actor.identity not in whole or edge_error_px(mask, truth.xyxy[whole[actor.identity]]) <= 2.0
            checked.add(actor.label)
    assert len(checked) >= 3


def test_a_box_that_is_off_by_four_pixels_is_noticed() -> None:
    seen, truth, _ = make_frame(seed=2, seq=1)
    sighting = next(each for each in seen if each.actor is not None and 100 < each.xyxy[0] < each.xyxy[2] < 540)
    assert sighting.actor is not None
    box = truth.xyxy[truth.identity == sighting.actor.identity][0]
    assert edge_error_px(painted(sighting), box + np.array([4, 0, 4, 0], np.float32)) > 2.0


@pytest.mark.parametrize("seed", [1, 2, 5, 12])
def test_visibility_is_the_share_of_pixels_left_when_all_is_drawn(seed: int) -> None:
    # Painted far to near into a map of owners; the truth is counted near to far.
    seen, truth, _ = make_frame(seed=seed, seq=2)
    owner = np.zeros((360 + 1200, 640 + 1200), np.int32)
    for number, sighting in enumerate(seen, start=1):
        mask, left, top = silhouette(sighting, scale=1.0)
        window = owner[600 + top : 600 + top + mask.shape[0], 600 + left : 600 + left + mask.shape[1]]
        window[mask > 0] = number
    inside = owner[600:960, 600:1240]
    for number, sighting in enumerate(seen, start=1):
        whole = int(silhouette(sighting, scale=1.0)[0].sum())
        shown = int(np.count_nonzero(inside == number))
        identity = -1 if sighting.actor is None else sighting.actor.identity
        np.testing.assert_allclose(truth.visibility[truth.identity == identity], shown / whole, atol=1e-6)


def test_silhouette_covers_what_is_painted() -> None:
    seen, _, _ = make_frame(seed=4, seq=1)
    for sighting in seen:
        mask, left, top = silhouette(sighting, scale=1.0)
        canvas = np.zeros((360 + 1200, 640 + 1200), np.uint8)
        canvas[600 + top : 600 + top + mask.shape[0], 600 + left : 600 + left + mask.shape[1]] = mask
        # The painter softens edges, so the outermost pixel may differ.
        grown = cv2.dilate(canvas, np.ones((3, 3), np.uint8))[600:960, 600:1240]
        assert not np.any(painted(sighting) & (grown == 0))


@pytest.mark.parametrize("seed", [5, 6, 9])
def test_the_drawn_frame_shows_each_wholly_visible_actor_where_the_truth_says(seed: int) -> None:
    scene = Scene(seed=seed, is_dusk=False)
    shot = next(render(scene, CAMERA, frames=1, first_seq=3))
    seen = sightings(scene, scene.lens(CAMERA), time_s=shot.captured_at_s, stands=[])
    visible = set(shot.truth.identity[shot.truth.visibility >= 1.0].tolist())
    found = [each for each in seen if each.actor is not None and each.actor.identity in visible]
    assert found
    for sighting in found:
        alone = np.zeros_like(shot.rgb)
        paint(alone, sighting)
        core = cv2.erode(painted(sighting).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert np.median(np.abs(alone[core].astype(int) - shot.rgb[core])) < 12  # noise


def test_boxes_lie_in_the_image_and_shares_in_their_ranges() -> None:
    for truth in truth_only(Scene(seed=8, density=30.0), CAMERA, frames=10):
        assert np.all(truth.xyxy >= 0)
        assert np.all(truth.xyxy[:, 2:] <= (640, 360))
        assert np.all(truth.xyxy[:, 2:] > truth.xyxy[:, :2])
        assert np.all((truth.visibility >= 0) & (truth.visibility <= truth.in_frame) & (truth.in_frame <= 1))
        assert len(set(truth.identity.tolist())) == len(truth)
        assert np.all(np.diff(truth.identity) > 0)


def test_an_actor_half_out_of_the_image_is_half_in_frame() -> None:
    shares = [
        float(share)
        for truth in truth_only(Scene(seed=3), Camera(width_px=640, height_px=360, fps=20.0), frames=100)
        for share in truth.in_frame[(truth.xyxy[:, 2] >= 639.9) & (truth.label >= Label.CAR)]
    ]
    assert min(shares) < 0.2
    assert max(shares) > 0.8
    assert any(0.4 < share < 0.6 for share in shares)
