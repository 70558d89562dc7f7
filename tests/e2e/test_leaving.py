"""Clients that leave half way: their work stops and nothing of it stays, round after round."""

from collections.abc import Callable

import pytest

from load_tests.service import Service
from tests.e2e.census import MIB, Peak, census, comes_true, serving
from tests.e2e.wire import IMAGES, MP4, VIDEOS, Connection, ask, request
from tests.unit.media.videos import ULTRAFAST, video

ROUND = 20
"""Clients in one round: more than the videos that may be open (16), so that one that stayed open would be noticed."""
CLIP = video("matroska", n=200, has_noise=True, size_px=(160, 120), options=ULTRAFAST)
HALF = CLIP[: len(CLIP) // 2]


def in_the_middle_of_an_image(service: Service, good: bytes) -> None:
    with Connection(service) as connection:
        connection.send(request(IMAGES, good[: len(good) // 2], n_bytes=len(good)))


def before_the_answer_to_an_image(service: Service, good: bytes) -> None:
    with Connection(service) as connection:
        connection.send(request(IMAGES, good))


def in_the_middle_of_a_video(service: Service, _good: bytes) -> None:
    with Connection(service) as connection:
        connection.send(request(VIDEOS, HALF, kind=MP4, n_bytes=len(CLIP)))


def in_the_middle_of_a_video_whose_results_come(service: Service, _good: bytes) -> None:
    with Connection(service) as connection:
        next(connection.send(request(VIDEOS, HALF, kind=MP4, n_bytes=len(CLIP))).lines())


def in_the_middle_of_the_results(service: Service, _good: bytes) -> None:
    with Connection(service) as connection:
        lines = connection.send(request(VIDEOS, CLIP, kind=MP4)).lines()
        assert [next(lines)["seq"] for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    "leave",
    [
        in_the_middle_of_an_image,
        before_the_answer_to_an_image,
        in_the_middle_of_a_video,
        in_the_middle_of_a_video_whose_results_come,
        in_the_middle_of_the_results,
    ],
)
def test_nothing_stays_of_clients_that_leave(same: Service, good: bytes, leave: Callable[[Service, bytes], None]) -> None:
    """After one round the pools have their threads; the second leaves no file, no thread and under 32 MiB behind."""
    pids = serving(same)
    fresh = census(pids)
    for _ in range(ROUND):
        leave(same, good)
    assert comes_true(lambda: census(pids).unlinked <= fresh.unlinked, within_s=10), census(pids)
    assert ask(same, VIDEOS, video(), kind=MP4).lines[-1]["answered"] == 12
    before, peak = census(pids), Peak(pids)
    for _ in range(ROUND):
        leave(same, good)
    assert comes_true(lambda: census(pids).is_within(before), within_s=10), (census(pids), before)
    assert peak.left_bytes() < 32 * MIB
    assert ask(same, VIDEOS, video(), kind=MP4).lines[-1]["answered"] == 12
