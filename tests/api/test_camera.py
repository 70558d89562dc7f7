"""A camera on the client's machine, sent by the Python client and by `sightline stream add --camera`.

The machine of the tests has no camera: the device is a video file that the same cv2.VideoCapture opens.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.__main__ import main
from app.client import AsyncSightline, Camera, Sightline
from app.core.errors import NotFoundError, UnavailableError
from app.settings import ROOT
from tests.api.served import served_apart
from tests.unit.media.videos import video


@pytest.fixture
def url() -> Iterator[str]:
    with served_apart() as url:
        yield url


@pytest.fixture
def device(tmp_path: Path) -> str:
    file = tmp_path / "camera.mp4"
    file.write_bytes(video(n=400))
    return str(file)


def test_a_camera_is_sent_until_it_breaks_off(url: str, device: str) -> None:
    with Sightline(url) as client, client.open(mode="latest_frame") as stream:
        camera = stream.send_camera(device)
        assert type(camera.error) is UnavailableError
        summary = stream.finish()
    assert summary.captured >= 1
    assert summary.captured == summary.answered + sum(summary.dropped.values())


def test_a_camera_that_is_cancelled_is_let_go_of_and_its_stream_goes_on(url: str, device: str) -> None:
    async def scenario() -> None:
        async with AsyncSightline(url) as client, await client.open(mode="latest_frame") as stream:
            camera = Camera(device)
            camera.open()
            sending = asyncio.create_task(stream.send_camera(camera))
            await stream.read()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            assert camera._thread is not None
            assert not camera._thread.is_alive()
            await stream.send(b"x")

    asyncio.run(scenario())


def test_a_camera_that_is_absent_raises_before_anything_is_sent(url: str) -> None:
    with Sightline(url) as client, client.open() as stream:
        with pytest.raises(NotFoundError):
            stream.send_camera(1234)
        assert stream.finish().captured == 0


def test_the_command_sends_a_camera_and_says_why_it_ended(
    url: str, device: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["stream", "add", "--camera", device, "--jsonl", "-", "--url", url]) == 1
    told = capfd.readouterr()
    *_, summary = [json.loads(line) for line in told.out.splitlines()]
    assert summary["schema"] == "sightline.v1.Summary"
    assert summary["answered"] >= 1
    assert "sightline: the camera gives no frames any more" in told.err
    assert "Traceback" not in told.err


def film(pipe: Path, *, is_over: threading.Event) -> None:
    """A camera's own clock: JPEGs into the pipe until nobody reads it."""
    picture = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    frame = cv2.imencode(".jpg", picture)[1].tobytes()
    with contextlib.suppress(BrokenPipeError), pipe.open("wb", buffering=0) as camera:
        while not is_over.wait(0.005):
            camera.write(frame)


def test_an_interrupt_is_how_a_camera_ends(url: str, tmp_path: Path) -> None:
    pipe, is_over = tmp_path / "camera.mjpeg", threading.Event()
    os.mkfifo(pipe)
    clock = threading.Thread(target=film, args=(pipe,), kwargs={"is_over": is_over}, daemon=True)
    clock.start()
    line = [sys.executable, "-m", "app", "stream", "add", "--camera", str(pipe), "--jsonl", "-", "--url", url]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as filming:
        assert filming.stdout is not None
        assert filming.stdout.readline()
        filming.send_signal(signal.SIGINT)
        out, told = filming.communicate(timeout=20)
        assert filming.returncode == 0, told
    is_over.set()
    clock.join()
    assert json.loads(out.splitlines()[-1])["schema"] == "sightline.v1.Summary"
    with Sightline(url) as client:
        assert client.streams() == []


def test_the_command_says_that_a_camera_is_absent_and_opens_no_stream(
    url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["stream", "add", "--camera", "1234", "--url", url]) == 1
    assert capfd.readouterr().err == "sightline: there is no camera /dev/video1234\n"
    with Sightline(url) as client:
        assert client.streams() == []


@pytest.mark.parametrize(
    "arguments", [["--camera", "0", "--push", "x.mp4"], ["--camera", "0", "--realtime"]], ids=" ".join
)
def test_a_camera_goes_with_no_file(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["stream", "add", *arguments])
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err
