"""The same seed is the same street: frame by frame, at any rate, at any size."""

import hashlib

import numpy as np
import pytest

from load_tests.camfarm import Camera, FrameTruth, Label, Scene, encode_jpeg, render, truth_only


def make_camera(*, width_px: int = 320, height_px: int = 180, fps: float = 10.0, stream: int = 0) -> Camera:
    """A small, slow camera."""
    return Camera(width_px=width_px, height_px=height_px, fps=fps, stream=stream)


def digest(*, seed: int, frames: int = 3) -> str:
    """A checksum over the pixels, JPEGs and truth of a seed's first frames."""
    total = hashlib.sha256()
    for shot in render(Scene(seed=seed), make_camera(), frames=frames):
        for part in (
            shot.rgb.tobytes(),
            encode_jpeg(shot.rgb),
            shot.truth.xyxy.tobytes(),
            shot.truth.visibility.tobytes(),
        ):
            total.update(part)
    return total.hexdigest()


def assert_same_moment(one: FrameTruth, other: FrameTruth) -> None:
    """Both frames show the same actors at the same place."""
    np.testing.assert_array_equal(one.identity, other.identity)
    np.testing.assert_array_equal(one.label, other.label)
    np.testing.assert_allclose(one.xyxy, other.xyxy, atol=1e-3)
    np.testing.assert_allclose(one.visibility, other.visibility, atol=1e-6)


def test_same_seed_gives_the_same_bytes() -> None:
    assert digest(seed=7) == digest(seed=7)


def test_other_seed_gives_other_bytes() -> None:
    assert digest(seed=7) != digest(seed=8)


def test_a_frame_does_not_depend_on_the_frames_before_it() -> None:
    straight = list(render(Scene(seed=5), make_camera(), frames=4))
    jumped = next(render(Scene(seed=5), make_camera(), frames=1, first_seq=3))
    np.testing.assert_array_equal(straight[3].rgb, jumped.rgb)
    assert_same_moment(straight[3].truth, jumped.truth)


def test_what_was_asked_later_does_not_change_what_was_before() -> None:
    fresh = [actor.identity for actor in Scene(seed=5).traffic.between(4.0, 5.0)]
    used = Scene(seed=5)
    used.traffic.between(500.0, 501.0)
    assert [actor.identity for actor in used.traffic.between(4.0, 5.0)] == fresh


def test_noise_differs_from_frame_to_frame_on_a_still_wall() -> None:
    one, two = (shot.rgb[20:40, 200:].astype(int) for shot in render(Scene(seed=5), make_camera(), frames=2))
    assert 0 < np.abs(one - two).mean() < 10


def test_twice_the_rate_is_the_same_street_sampled_twice_as_often() -> None:
    slow = list(truth_only(Scene(seed=11), make_camera(fps=5.0), frames=8))
    fast = list(truth_only(Scene(seed=11), make_camera(fps=10.0), frames=16))
    for one, other in zip(slow, fast[::2], strict=True):
        assert one.captured_at_s == pytest.approx(other.captured_at_s)
        assert_same_moment(one, other)


def test_twice_the_size_is_the_same_street_with_more_pixels() -> None:
    small = list(truth_only(Scene(seed=11), make_camera(), frames=5))
    large = list(truth_only(Scene(seed=11), make_camera(width_px=640, height_px=360), frames=5))
    for one, other in zip(small, large, strict=True):
        np.testing.assert_array_equal(one.identity, other.identity)
        np.testing.assert_allclose(one.xyxy * 2, other.xyxy, atol=1e-3)
        np.testing.assert_allclose(one.visibility, other.visibility, atol=0.02)


def test_truth_without_drawing_is_the_truth_with_drawing() -> None:
    drawn = [shot.truth for shot in render(Scene(seed=2), make_camera(), frames=3)]
    for one, other in zip(drawn, truth_only(Scene(seed=2), make_camera(), frames=3), strict=True):
        assert_same_moment(one, other)


@pytest.mark.parametrize("density", [4.0, 11.0, 100.0])
def test_density_is_about_the_number_of_objects_in_view(density: float) -> None:
    counts = [
        len(truth)
        for seed in range(3)
        for truth in truth_only(Scene(seed=seed, density=density), make_camera(fps=0.1), frames=4)
    ]
    assert 0.65 * density < np.mean(counts) < 1.5 * density


def test_all_classes_appear_by_day_and_at_dusk() -> None:
    for is_dusk in (False, True):
        truths = truth_only(Scene(seed=1, is_dusk=is_dusk), make_camera(fps=0.25), frames=20)
        assert {label for truth in truths for label in truth.label.tolist()} == {int(label) for label in Label}


def test_dusk_is_darker_than_day() -> None:
    day, dusk = (next(render(Scene(seed=4, is_dusk=is_dusk), make_camera(), frames=1)).rgb for is_dusk in (False, True))
    assert dusk.mean() < 0.7 * day.mean()


def test_actors_move_without_jumps_and_keep_their_class() -> None:
    places: dict[int, tuple[float, float]] = {}
    labels: dict[int, int] = {}
    for truth in truth_only(Scene(seed=9), make_camera(width_px=640, height_px=360, fps=25.0), frames=50):
        for identity, label, box in zip(
            truth.identity.tolist(), truth.label.tolist(), truth.xyxy.tolist(), strict=True
        ):
            middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
            before = places.get(identity, middle)
            assert abs(middle[0] - before[0]) + abs(middle[1] - before[1]) < 30
            assert labels.setdefault(identity, label) == label
            places[identity] = middle
    assert len(places) > 8


def test_frames_and_truth_are_read_only() -> None:
    shot = next(render(Scene(seed=1), make_camera(), frames=1))
    for array in (shot.rgb, shot.truth.xyxy, shot.truth.label, shot.truth.identity, shot.truth.visibility):
        assert not array.flags.writeable


def test_some_walkers_cross_the_street_and_no_vehicle_meets_them() -> None:
    crossed = 0
    for seed in range(12):
        actors = Scene(seed=seed, density=6.0).traffic.between(0.0, 60.0)
        vehicles = [one for one in actors if one.label is not Label.PERSON]
        for walker in (one for one in actors if len(one.path) > 2):
            times = np.arange(walker.path[2, 0], walker.path[3, 0], 0.1)
            crossed += 1
            for vehicle in vehicles:
                apart = np.abs(walker.ground(times) - vehicle.ground(times))
                assert not np.any((apart[:, 0] < 1.0) & (apart[:, 1] < 1.0))
    assert crossed >= 3
