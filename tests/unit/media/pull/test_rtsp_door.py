from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.media.pull.messages import Reason
from app.media.pull.rtsp_door import RtspWatch

SDP = b"v=0\r\ns=x\r\na=x-reconnect-interval:2.5\r\nm=video 0 RTP/AVP 96\r\n"
DESCRIBED = b"RTSP/1.0 200 OK\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s" % (len(SDP), SDP)
PACKET = b"$\x00\x00\x20" + b"RTSP/1.0 302 no answer at all\r\n\r\n"[:32]
REDIRECT = b"RTSP/1.0 302 Found\r\nLocation: rtsp://elsewhere/\r\n\r\n"
UNAUTHORIZED = b"RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\n\r\n"
PLAYING = DESCRIBED + PACKET * 3 + b"RTSP/1.0 200 OK\r\n\r\n" + PACKET + b"\r\n$\x01\x00\x00" + PACKET


def fed(data: bytes, cuts: list[int]) -> tuple[RtspWatch, bool]:
    """The watch after all pieces, and whether the server may go on."""
    watch = RtspWatch()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    pieces = [data[start:stop] for start, stop in pairwise(edges)]
    return watch, all(watch.feed(piece) for piece in pieces)


@given(st.lists(st.integers(0, 10_000), max_size=12))
def test_however_the_bytes_are_cut_the_same_is_read(cuts: list[int]) -> None:
    watch, may_go_on = fed(PLAYING, cuts)
    assert (may_go_on, watch.announced_s, watch.refusal) == (True, 2.5, None)


@given(st.lists(st.integers(0, 10_000), max_size=12))
def test_a_redirect_is_seen_behind_frames_and_before_its_last_byte_is_passed_on(cuts: list[int]) -> None:
    watch, may_go_on = fed(PLAYING + REDIRECT, cuts)
    assert (may_go_on, watch.refusal) == (False, Reason.REDIRECTED)


def test_a_frame_that_looks_like_a_redirect_is_none() -> None:
    assert fed(PACKET * 4, [])[1]


def test_a_refusal_is_remembered_until_something_is_granted() -> None:
    watch = RtspWatch()
    assert watch.feed(UNAUTHORIZED)
    assert watch.refusal is Reason.UNAUTHORIZED
    watch.feed(DESCRIBED)
    assert watch.refusal is None


@pytest.mark.parametrize("value", [b"soon", b"-1", b"1e400", b"", b"9" * 40])
def test_an_interval_that_is_no_number_is_not_announced(value: bytes) -> None:
    sdp = SDP.replace(b"2.5", value)
    watch = RtspWatch()
    watch.feed(b"RTSP/1.0 200 OK\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n" % len(sdp) + sdp)
    assert watch.announced_s is None


@given(st.binary(max_size=3000))
def test_no_bytes_break_the_watch(data: bytes) -> None:
    RtspWatch().feed(data)


def test_an_answer_without_end_is_not_collected_for_ever() -> None:
    watch = RtspWatch()
    assert not all(watch.feed(b"x" * 10_000) for _ in range(10))
