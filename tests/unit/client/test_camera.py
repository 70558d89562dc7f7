"""What a camera gives: the newest frame and when it came; and what it says when it is absent, busy or unplugged."""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.client.camera import Camera, Device, opened
from app.client.picture import Pixels
from app.core.errors import ConflictError, NotFoundError, UnavailableError
from tests.unit.media.videos import STEP, video

WITHIN_S = 10.0
FRAMES = 12


@dataclass
class FakeDevice:
    """What cv2.VideoCapture has of `Device`: frame i is a flat grey; False after the last."""

    count: int = FRAMES
    broken: frozenset[int] = frozenset()
    taken: int = 0
    is_released: bool = False

    def grab(self) -> bool:
        self.taken += 1
        return self.taken <= self.count

    def retrieve(self) -> tuple[bool, Pixels | None]:
        index = self.taken - 1
        if index in self.broken:
            return False, None
        return True, np.full((48, 64, 3), 16 + index * STEP, np.uint8)

    def release(self) -> None:
        self.is_released = True


@dataclass
class Paced:
    """A device that gives one frame for each `tick`, as a camera does by its own clock."""

    device: Device
    frames: "queue.Queue[None]" = field(default_factory=queue.Queue)
    waits: "queue.Queue[None]" = field(default_factory=queue.Queue)

    def grab(self) -> bool:
        self.waits.put(None)
        self.frames.get(timeout=WITHIN_S)
        return self.device.grab()

    def retrieve(self) -> tuple[bool, Pixels | None]:
        return self.device.retrieve()

    def release(self) -> None:
        self.device.release()

    def tick(self) -> None:
        """One frame more; returns when it was taken and the next is waited for."""
        self.frames.put(None)
        self.waits.get(timeout=WITHIN_S)


def real(folder: Path) -> Device:
    """A cv2.VideoCapture: of a file, as a machine of tests has no camera."""
    file = folder / "camera.mp4"
    file.write_bytes(video(n=FRAMES))
    return opened(str(file))


@pytest.fixture(params=["fake", "cv2"])
def paced(request: pytest.FixtureRequest, tmp_path: Path) -> Paced:
    makers: dict[str, Callable[[], Device]] = {"fake": FakeDevice, "cv2": lambda: real(tmp_path)}
    return Paced(makers[request.param]())


@pytest.fixture
def camera(paced: Paced) -> Iterator[Camera]:
    ticks = iter(range(1_000_000))
    with Camera(0, open_device=lambda _device: paced, clock=lambda: float(next(ticks)), silent_s=WITHIN_S) as camera:
        camera.open()
        yield camera
        camera.stop()
        paced.frames.put(None)  # a driver comes back with the next frame


def level(jpeg: bytes) -> int:
    return round((float(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).mean()) - 16) / STEP)


def asked(camera: Camera) -> "queue.Queue[tuple[int, float]]":
    """Ask in a thread; returns when the question is heard. What comes is the frame's number and time."""
    answers: queue.Queue[tuple[int, float]] = queue.Queue()

    def ask() -> None:
        shot = camera.shot()
        assert shot is not None
        answers.put((level(shot.jpeg), shot.captured_at))

    threading.Thread(target=ask, daemon=True).start()
    with camera._changed:
        assert camera._changed.wait_for(lambda: camera._is_asked, timeout=WITHIN_S)
    return answers


def test_each_frame_is_given_with_the_time_when_it_came(camera: Camera, paced: Paced) -> None:
    for index in range(3):
        answers = asked(camera)
        paced.frames.put(None)
        assert answers.get(timeout=WITHIN_S) == (index, float(index))
    assert camera.passed_over == 0


def test_a_frame_is_never_one_that_waited_in_the_driver(camera: Camera, paced: Paced) -> None:
    answers = asked(camera)
    paced.waits.get(timeout=WITHIN_S)
    paced.tick()
    assert answers.get(timeout=WITHIN_S)[0] == 0
    for _ in range(5):  # nobody asks: these are taken all the same
        paced.tick()
    answers = asked(camera)
    paced.tick()
    assert answers.get(timeout=WITHIN_S) == (6, 6.0)
    assert camera.passed_over == 5


def test_a_camera_that_is_unplugged_ends_with_a_typed_error_and_lets_go(tmp_path: Path) -> None:
    for device in (FakeDevice(), real(tmp_path)):
        with Camera(0, open_device=lambda _device, device=device: device) as camera:
            camera.open()
            while camera.shot() is not None:
                pass
            assert type(camera.error) is UnavailableError
            assert "unplugged" in camera.error.detail
            assert camera.shot() is None
        assert camera._thread is not None
        assert not camera._thread.is_alive()
        assert device.retrieve()[0] is isinstance(device, FakeDevice)  # OpenCV has let go of its file


def test_a_camera_that_freezes_is_given_up() -> None:
    frozen = Paced(FakeDevice())
    with Camera(0, open_device=lambda _device: frozen, silent_s=0.05) as camera:
        camera.open()
        assert camera.shot() is None
        assert type(camera.error) is UnavailableError
        frozen.frames.put(None)


def test_a_broken_frame_is_counted_and_the_next_one_comes() -> None:
    device = FakeDevice(broken=frozenset({0, 1}))
    with Camera(0, open_device=lambda _device: device) as camera:
        camera.open()
        shot = camera.shot()
    assert shot is not None
    assert (level(shot.jpeg), camera.damaged) == (2, 2)
    assert device.is_released


def test_a_driver_that_fails_ends_the_camera_with_no_word_of_its_own() -> None:
    class Failing(FakeDevice):
        def grab(self) -> bool:
            raise cv2.error("V4L2: ioctl 0x1234")

    device = Failing()
    with Camera(0, open_device=lambda _device: device) as camera:
        camera.open()
        assert camera.shot() is None
    assert camera.error is not None
    assert "ioctl" not in camera.error.detail
    assert device.is_released


def test_closing_a_camera_ends_a_question(camera: Camera, paced: Paced) -> None:
    given: queue.Queue[object] = queue.Queue()
    threading.Thread(target=lambda: given.put(camera.shot()), daemon=True).start()
    paced.waits.get(timeout=WITHIN_S)
    camera.stop()
    assert given.get(timeout=WITHIN_S) is None
    assert camera.error is None


def test_a_camera_that_nobody_asked_lets_go_at_once() -> None:
    device = FakeDevice()
    with Camera(0, open_device=lambda _device: device) as camera:
        camera.open()
    assert (device.is_released, device.taken) == (True, 0)


@pytest.mark.parametrize("device", [1234, "/dev/video1234", "rtsp://camera/"], ids=str)
def test_a_camera_that_is_absent_is_not_found(device: int | str) -> None:
    with pytest.raises(NotFoundError):
        Camera(device).open()


def test_a_device_that_does_not_open_is_a_conflict(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    busy = tmp_path / "video0"
    busy.write_text("no camera")
    with pytest.raises(ConflictError):
        Camera(str(busy)).open()
    capfd.readouterr()  # OpenCV's own words
