from pathlib import Path

import numpy as np
import pytest

from app.media.writer import VideoWriter
from tests.unit.media.pictures import gradient, mean_error
from tests.unit.media.videos import end_of, frames, grey, levels, outcomes, reader, refs


def test_frames_keep_their_own_times(tmp_path: Path) -> None:
    times_s = [0.0, 0.184, 0.286, 0.383, 1.0]
    with VideoWriter(tmp_path / "a.mp4", width_px=64, height_px=48) as writer:
        for index, pts_s in enumerate(times_s):
            writer.write(grey(index), pts_s=pts_s)
    items = outcomes(tmp_path / "a.mp4", is_full_size=True)
    assert end_of(items) is None
    assert levels(items) == [0, 1, 2, 3, 4]
    assert np.allclose([ref.pts_s for ref in refs(items)], times_s, atol=1e-4)


def test_without_times_the_rate_counts(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", width_px=64, height_px=48, fps=10) as writer:
        for index in range(5):
            writer.write(grey(index))
    with reader(tmp_path / "a.mp4") as video_reader:
        assert video_reader.open().n_frames == 5
        assert [round(frame.ref.pts_s or 0, 3) for frame in frames(list(video_reader))] == [0.0, 0.1, 0.2, 0.3, 0.4]


def test_colours_survive_the_round_trip(tmp_path: Path) -> None:
    rgb = gradient(width_px=320, height_px=240)
    with VideoWriter(tmp_path / "a.mp4", width_px=320, height_px=240) as writer:
        writer.write(rgb)
    assert mean_error(frames(outcomes(tmp_path / "a.mp4", is_full_size=True))[0].rgb, rgb) < 3


def test_an_odd_size_is_evened_by_doubling_the_last_row(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", width_px=63, height_px=47) as writer:
        writer.write(grey(3, width_px=63, height_px=47))
    frame = frames(outcomes(tmp_path / "a.mp4", is_full_size=True))[0]
    assert frame.rgb.shape == (48, 64, 3)
    assert np.abs(frame.rgb.astype(int) - 40).max() <= 2


def test_the_index_stands_in_front(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", width_px=64, height_px=48) as writer:
        writer.write(grey(0))
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_times_that_do_not_grow_are_moved_on(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", width_px=64, height_px=48) as writer:
        for index, pts_s in enumerate([0.0, 0.5, 0.5, 0.2]):
            writer.write(grey(index), pts_s=pts_s)
    assert levels(outcomes(tmp_path / "a.mp4")) == [0, 1, 2, 3]


def test_a_picture_of_another_size_is_refused_and_the_file_removed(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="expected"),
        VideoWriter(tmp_path / "a.mp4", width_px=64, height_px=48) as writer,
    ):
        writer.write(gradient(width_px=32, height_px=32))
    assert not (tmp_path / "a.mp4").exists()
