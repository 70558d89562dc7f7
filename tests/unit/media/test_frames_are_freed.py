import gc
from collections.abc import Iterator

import pytest
from av.video.frame import VideoFrame

from app.core.frame import Frame
from app.media.scaling import Scaler, orientation_of
from tests.unit.media.videos import outcomes, reader, video


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()


def alive() -> int:
    return sum(isinstance(one, VideoFrame) for one in gc.get_objects())


@pytest.mark.usefixtures("no_collector")
def test_decoded_pictures_are_freed_without_the_garbage_collector() -> None:
    before = alive()
    frames = [one for one in outcomes(video(n=40)) if isinstance(one, Frame)]
    assert len(frames) == 40
    del frames
    assert alive() - before <= 1  # the first, whose side data was read


@pytest.mark.usefixtures("no_collector")
def test_reading_the_side_data_of_every_frame_would_keep_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scaler, "_orientation_of", lambda _self, frame: orientation_of(frame))
    before = alive()
    for _ in reader(video(n=40)):
        pass
    assert alive() - before >= 40
