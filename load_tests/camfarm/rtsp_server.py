"""A camera that speaks RTSP 1.0 over TCP on loopback, and misbehaves on demand."""

import asyncio
import base64
import hashlib
import itertools
import re
import ssl
import time
from dataclasses import dataclass

from load_tests.camfarm.clip import Clip, nal_units
from load_tests.camfarm.loopback import LoopbackServer
from load_tests.camfarm.rtp import RATE_HZ, RtpSender

_SPS = 7
_REALM, _NONCE = "camfarm", "8f1c"


@dataclass(frozen=True, kw_only=True)
class RtspFaults:
    """What goes wrong; frames are counted from the start of each connection, from 0.

    `freezes_at` sends nothing from that frame on and keeps the connection; `closes_at` ends it there, `refuses` at
    once, before any answer. `garbage_at` ruins every SPS from there on, in the stream and, at 0, in the SDP; `noise_at`
    ruins everything. `jumps_at` adds `jump_s` to all stamps from there on; `changes_at` goes on with `other`. `codec`
    is what the SDP claims. The clock of the sender reports is wrong by `clock_s`, or there are none; the SDP may
    announce a reconnect interval.
    """

    freezes_at: int | None = None
    closes_at: int | None = None
    refuses: bool = False
    garbage_at: int | None = None
    noise_at: int | None = None
    jumps_at: int | None = None
    jump_s: float = 0.0
    changes_at: int | None = None
    other: Clip | None = None
    codec: str = "H264"
    clock_s: float = 0.0
    has_reports: bool = True
    announced_s: float | None = None
    redirect: str | None = None


class RtspServer(LoopbackServer):
    """Plays a clip without end, each connection from its start, frame by frame in real time.

    `faults` may be changed while it runs. `accepted` counts connections, `sent` the frames of the newest one.
    """

    def __init__(
        self,
        clip: Clip,
        faults: RtspFaults | None = None,
        *,
        login: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(tls=tls)
        self.faults = faults or RtspFaults()
        self.sent = 0
        self.requests: list[str] = []
        self._clip = clip
        self._login = login

    @property
    def url(self) -> str:
        """What to pull."""
        return f"rtsp{'s' if self._tls else ''}://127.0.0.1:{self.port}/street"

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        playing: list[asyncio.Task[None]] = []
        try:
            if not self.faults.refuses:
                await self._converse(reader, writer, playing)
        finally:
            for player in playing:
                player.cancel()
            await asyncio.gather(*playing, return_exceptions=True)

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, playing: list[asyncio.Task[None]]
    ) -> None:
        while True:
            first = await reader.readexactly(1)
            if first == b"$":  # a receiver report
                head = await reader.readexactly(3)
                await reader.readexactly(int.from_bytes(head[1:], "big"))
                continue
            text = (first + await reader.readuntil(b"\r\n\r\n")).decode()
            method, target, _ = text.split(" ", 2)
            self.requests.append(text)
            status, lines, body = self._answer(method, target, text)
            sequence = re.search(r"CSeq: *(\d+)", text, re.IGNORECASE)
            lines += [f"CSeq: {sequence[1] if sequence else 0}", *([f"Content-Length: {len(body)}"] if body else [])]
            writer.write("\r\n".join([f"RTSP/1.0 {status}", *lines, "", body]).encode())
            if method == "PLAY" and status == "200 OK":
                playing.append(asyncio.create_task(self._play(writer)))
            if method == "TEARDOWN":
                return

    def _answer(self, method: str, target: str, text: str) -> tuple[str, list[str], str]:
        """Status, header lines and body."""
        session = "Session: 12345678;timeout=60"
        if method == "OPTIONS":
            return "200 OK", ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"], ""
        if self.faults.redirect is not None:
            return "302 Moved Temporarily", [f"Location: {self.faults.redirect}"], ""
        if not self._is_known(method, text):
            return "401 Unauthorized", [f'WWW-Authenticate: Digest realm="{_REALM}", nonce="{_NONCE}"'], ""
        if method == "DESCRIBE":
            return "200 OK", [f"Content-Base: {target}/", "Content-Type: application/sdp"], self._sdp()
        if method == "SETUP":
            return "200 OK", [session, "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"], ""
        return "200 OK", [session], ""

    def _is_known(self, method: str, text: str) -> bool:
        if self._login is None:
            return True
        given = dict(re.findall(r'(\w+)="([^"]*)"', text))
        user, password = self._login
        secret = hashlib.md5(f"{user}:{_REALM}:{password}".encode()).hexdigest()  # noqa: S324  RTSP's own
        request = hashlib.md5(f"{method}:{given.get('uri')}".encode()).hexdigest()  # noqa: S324
        expected = hashlib.md5(f"{secret}:{_NONCE}:{request}".encode()).hexdigest()  # noqa: S324
        return given.get("response") == expected

    def _sdp(self) -> str:
        sps, pps = self._clip.parameter_sets
        if self.faults.garbage_at == 0:
            sps = _ruined(sps)
        sets = ",".join(base64.b64encode(part).decode() for part in (sps, pps))
        lines = [
            "v=0",
            "o=- 1 1 IN IP4 127.0.0.1",
            "s=camfarm",
            "c=IN IP4 0.0.0.0",
            "t=0 0",
            "a=control:*",
            *([] if self.faults.announced_s is None else [f"a=x-reconnect-interval:{self.faults.announced_s}"]),
            "m=video 0 RTP/AVP 96",
            f"a=rtpmap:96 {self.faults.codec}/{RATE_HZ}",
            *([f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={sets}"] if self.faults.codec == "H264" else []),
            "a=control:track1",
            "",
        ]
        return "\r\n".join(lines)

    async def _play(self, writer: asyncio.StreamWriter) -> None:
        sender = RtpSender(ssrc=0x5157)
        self.sent = 0
        begun_s, begun_at, media_s = time.monotonic(), time.time(), 0.0
        reported_s = -1.0
        clip, index = self._clip, 0
        for number in itertools.count():
            faults = self.faults
            if number == faults.changes_at and faults.other is not None:
                clip, index = faults.other, 0
            if faults.closes_at is not None and number >= faults.closes_at:
                writer.transport.abort()
                return
            if faults.freezes_at is not None and number >= faults.freezes_at:
                return
            await asyncio.sleep(begun_s + media_s - time.monotonic())
            has_jumped = faults.jumps_at is not None and number >= faults.jumps_at
            stamp = 1_000_000 + round((media_s + (faults.jump_s if has_jumped else 0.0)) * RATE_HZ)
            if faults.has_reports and media_s - reported_s >= 1:
                reported_s = media_s
                _write(writer, 1, sender.report(stamp=stamp, utc_s=begun_at + media_s + faults.clock_s))
            units = list(nal_units(clip.units[index % len(clip)]))
            if faults.garbage_at is not None and number >= faults.garbage_at:
                units = [_ruined(unit) if unit[0] & 0x1F == _SPS else unit for unit in units]
            if faults.noise_at is not None and number >= faults.noise_at:
                units = [_ruined(unit) for unit in units]
            for packet in sender.packets(units, stamp=stamp):
                _write(writer, 0, packet)
            await writer.drain()
            self.sent, index = number + 1, index + 1
            media_s += 1 / clip.camera.fps


def _write(writer: asyncio.StreamWriter, channel: int, packet: bytes) -> None:
    writer.write(b"$" + bytes([channel]) + len(packet).to_bytes(2, "big") + packet)


def _ruined(unit: bytes) -> bytes:
    """A NAL unit of the same length in which nothing but its type is right."""
    return unit[:1] + bytes((byte * 7 + 91) % 251 + 1 for byte in unit[1:])
