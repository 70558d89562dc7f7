import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from app.media.pull.handover import Handover
from app.media.pull.messages import Broken, Filled, Message, Reason, Shed, decode
from app.media.pull.ring import SLOTS, FrameRing
from tests.unit.media.pull.test_messages import FRAME


@dataclass
class Owner:
    """The other side of a hand-over, which takes its time."""

    handover: Handover
    control: socket.socket
    ring: FrameRing

    def offer(self, number: int) -> None:
        self.handover.offer(numbered(number), np.full((180, 320, 3), number, np.uint8))

    def heard(self) -> Message:
        return decode(self.control.recv(65_536))

    def taken(self) -> int:
        """The number of the next frame, which gives its slot free."""
        frame = self.heard()
        assert isinstance(frame, Filled)
        rgb = self.ring.read(frame.slot, width_px=320, height_px=180)
        assert int(rgb.min()) == int(rgb.max()) == frame.pts_s
        self.handover.free(frame.slot)
        return int(frame.pts_s)


def numbered(number: int) -> Filled:
    return Filled(**{name: getattr(FRAME, name) for name in FRAME.__slots__} | {"pts_s": float(number)})


@pytest.fixture
def owner() -> Iterator[Owner]:
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control.settimeout(10)
    ring = FrameRing.create(slot_bytes=320 * 180 * 3)
    yield Owner(Handover(theirs, ring, depth=3, is_patient=False), control, ring)
    control.close()
    os.close(ring.descriptor)
    theirs.close()


def test_frames_arrive_in_order_each_with_its_pixels(owner: Owner) -> None:
    for number in range(20):
        owner.offer(number)
        assert owner.taken() == number


def test_a_slow_owner_gets_the_newest_frames_and_is_told_how_many_it_missed(owner: Owner) -> None:
    for number in range(SLOTS):
        owner.offer(number)
    on_their_way = [owner.heard() for _ in range(SLOTS)]
    for number in range(SLOTS, 100):
        owner.offer(number)
    first, *_ = on_their_way
    assert isinstance(first, Filled)
    owner.handover.free(first.slot)
    heard: list[Message] = []
    while not isinstance(message := owner.heard(), Filled):
        heard.append(message)
    assert sum(message.count for message in heard if isinstance(message, Shed)) == 100 - SLOTS - 3
    assert {message.reason for message in heard if isinstance(message, Shed)} == {Reason.SUPERSEDED}
    assert message.pts_s == 97
    owner.handover.free(message.slot)
    assert [owner.taken(), owner.taken()] == [98, 99]


def test_the_end_comes_after_every_frame_and_every_loss(owner: Owner) -> None:
    owner.offer(1)
    owner.handover.shed(4, Reason.UNDECODABLE)
    owner.handover.finish(Broken(reason=Reason.CLOSED))
    heard = [owner.heard() for _ in range(3)]
    assert heard[2] == Broken(reason=Reason.CLOSED)
    assert Shed(count=4, reason=Reason.UNDECODABLE) in heard[:2]


def test_a_loss_is_told_between_the_frames_where_it_happened(owner: Owner) -> None:
    for number in range(SLOTS):
        owner.offer(number)
    for _ in range(SLOTS):
        owner.heard()
    owner.offer(7)
    owner.handover.shed(2, Reason.SAMPLED)
    owner.offer(8)
    owner.handover.shed(3, Reason.SAMPLED)
    for slot in range(SLOTS):
        owner.handover.free(slot)
    heard = [owner.heard() for _ in range(4)]
    assert [getattr(message, "pts_s", None) or getattr(message, "count", None) for message in heard] == [7, 2, 8, 3]
