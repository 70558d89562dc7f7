"""A service that must be the same after each test as before it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from load_tests.camfarm import Camera, Scene, encode_jpeg, render
from load_tests.service import Service
from tests.e2e.census import MIB, Peak, serving
from tests.e2e.wire import IMAGES, ask, assert_alike

PEAK_BYTES = 64 * MIB
"""What one bad body may cost all processes together, at the highest: less than any picture that the limits refuse."""


@pytest.fixture(scope="session")
def good() -> bytes:
    """A street with some objects in it, as a JPEG."""
    (shot,) = render(Scene(seed=7), Camera(width_px=640, height_px=360, fps=15.0, stream=3), frames=1)
    return encode_jpeg(shot.rgb, quality=80)


@pytest.fixture(scope="session")
def objects_of(staged: Service) -> Callable[[bytes], list[dict[str, Any]]]:
    """Asks for the objects of a picture."""

    def asked(picture: bytes) -> list[dict[str, Any]]:
        answer = ask(staged, IMAGES, picture)
        assert answer.status == 200, answer.body
        return answer.json["objects"]

    return asked


@pytest.fixture(scope="session")
def expected(objects_of: Callable[[bytes], list[dict[str, Any]]], good: bytes) -> list[dict[str, Any]]:
    """What a fresh service sees in the good picture."""
    found = [objects_of(good) for _ in range(20)]  # the processes have their working memory by then
    assert len(found[-1]) >= 3
    return found[-1]


@pytest.fixture
def same(
    staged: Service, good: bytes, expected: list[dict[str, Any]], objects_of: Callable[[bytes], list[dict[str, Any]]]
) -> Iterator[Service]:
    """The service; after the test the same processes see the same objects in the good picture."""
    before = serving(staged)
    yield staged
    assert serving(staged) == before
    assert_alike(objects_of(good), expected)


@pytest.fixture
def steady(same: Service) -> Iterator[Service]:
    """The same, for one bad body: its memory is bounded too."""
    peak = Peak(serving(same))
    yield same
    assert peak.rise_bytes() < PEAK_BYTES
