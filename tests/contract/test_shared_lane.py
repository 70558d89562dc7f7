"""The memory and the bell of one lane, with a test at the other end."""

import os
import socket
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from app.core.errors import ModelError
from engines.host_messages import Failed, Logged, encode
from engines.shared_lane import DONE, REQUEST, Lane, LaneMemory, LaneShape

SHAPE = LaneShape(max_batch=3, height_px=33, width_px=47, row_shape=(5, 7))


class OtherEnd:
    """What a process would have of a lane."""

    def __init__(self, lane: Lane) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            lane.hand_over(ours)
            _, (self.descriptor, bell), _, _ = socket.recv_fds(theirs, 64, 2)
        self.memory = LaneMemory(self.descriptor, SHAPE)
        self.bell = socket.socket(fileno=bell)

    def answer(self, said: bytes) -> None:
        """Wait for a call, put its number of canvases into the rows, and say that."""
        count, slot = REQUEST.unpack(self.bell.recv(64))
        self.memory.rows[slot, :count] = count
        self.bell.send(said)

    def close(self) -> None:
        os.close(self.descriptor)
        self.bell.close()


@pytest.fixture
def lane() -> Iterator[Lane]:
    lane = Lane(SHAPE)
    yield lane
    lane.close()


@pytest.fixture
def other(lane: Lane) -> Iterator[OtherEnd]:
    end = OtherEnd(lane)
    yield end
    end.close()


@pytest.fixture
def in_thread() -> Iterator[Callable[..., None]]:
    threads = []

    def start(work: Callable[..., None], *arguments: object) -> None:
        threads.append(threading.Thread(target=work, args=arguments))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(10)


def canvases(count: int):
    return list(np.random.default_rng(0).integers(0, 256, (count, 33, 47, 3), dtype=np.uint8))


def test_pixels_arrive_and_rows_come_back(lane: Lane, other: OtherEnd, in_thread: Callable[..., None]) -> None:
    in_thread(other.answer, DONE)
    pixels = canvases(3)
    rows = lane.infer([pixels[0], pixels[1][:, ::1], np.asfortranarray(pixels[2])], timeout_s=5)
    assert rows.shape == (3, 5, 7)
    assert (rows == 3).all()
    np.testing.assert_array_equal(other.memory.canvases, pixels)


def test_an_error_comes_back_and_the_lane_goes_on(lane: Lane, other: OtherEnd, in_thread: Callable[..., None]) -> None:
    in_thread(other.answer, encode(Failed(code="model", detail="not this one")))
    with pytest.raises(ModelError, match="not this one"):
        lane.infer(canvases(1), timeout_s=5)
    in_thread(other.answer, DONE)
    assert (lane.infer(canvases(2), timeout_s=5) == 2).all()


@pytest.mark.parametrize("said", [b"gibberish", b"++", encode(Logged(level=20, text="not an answer"))])
def test_what_is_no_answer_ends_the_lane(
    said: bytes, lane: Lane, other: OtherEnd, in_thread: Callable[..., None]
) -> None:
    in_thread(other.answer, said)
    with pytest.raises(ValueError, match="not"):
        lane.infer(canvases(1), timeout_s=5)
    with pytest.raises(BrokenPipeError):
        lane.infer(canvases(1), timeout_s=5)


def test_an_answer_that_comes_too_late_is_nobody_elses(lane: Lane, other: OtherEnd) -> None:
    with pytest.raises(TimeoutError):
        lane.infer(canvases(1), timeout_s=0.02)
    with pytest.raises(OSError, match="pipe"):
        other.answer(DONE)
    with pytest.raises(BrokenPipeError):
        lane.infer(canvases(1), timeout_s=5)


def test_the_silence_of_a_dead_process_ends_a_call_at_once(lane: Lane, other: OtherEnd) -> None:
    other.bell.close()
    with pytest.raises(OSError, match="pipe"):
        lane.infer(canvases(1), timeout_s=60)


def test_a_caller_that_waits_is_woken_by_hanging_up(
    lane: Lane, other: OtherEnd, in_thread: Callable[..., None]
) -> None:
    def hang_up() -> None:
        other.bell.recv(64)
        lane.hang_up()

    in_thread(hang_up)
    with pytest.raises((OSError, ValueError)):
        lane.infer(canvases(1), timeout_s=60)


def test_nobody_can_cut_the_memory_under_its_reader(other: OtherEnd) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(other.descriptor, 0)
    with pytest.raises(PermissionError):
        os.ftruncate(other.descriptor, SHAPE.file_bytes + 1)


def test_a_loan_comes_back_once_however_many_views_there_were(
    lane: Lane, other: OtherEnd, in_thread: Callable[..., None]
) -> None:
    for _ in range(5):
        in_thread(other.answer, DONE)
        rows = lane.infer(canvases(1), timeout_s=5)
        views = [rows[0], rows[0, 1:], rows.T, rows.reshape(-1)]
        assert not rows.flags.owndata
        del rows, views
    assert sorted(lane._free) == [0, 1]
