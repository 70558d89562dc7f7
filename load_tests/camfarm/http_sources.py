"""Cameras behind HTTP on loopback: MJPEG and HLS, real, and misbehaving on demand."""

import asyncio
import base64
import io
import itertools
import ssl
import time
from dataclasses import dataclass
from fractions import Fraction

import av

from load_tests.camfarm.clip import Clip
from load_tests.camfarm.loopback import LoopbackServer

_WINDOW = 4
"""Segments in a live playlist."""


@dataclass(frozen=True, kw_only=True)
class HttpFaults:
    """What goes wrong. Of MJPEG, frames are counted from the start of each connection as in RtspFaults.

    `entry` stands in the playlists in place of the segments' own names; `redirect` is where every request is sent.
    """

    freezes_at: int | None = None
    closes_at: int | None = None
    refuses: bool = False
    changes_at: int | None = None
    other: Clip | None = None
    entry: str | None = None
    redirect: str | None = None


class HttpSources(LoopbackServer):
    """`/mjpeg` plays the clip without end, `/live.m3u8` as a sliding playlist, `/vod.m3u8` once.

    A segment of HLS is one group of pictures. With `login` each request must bring it, as Basic.
    """

    def __init__(
        self,
        clip: Clip,
        faults: HttpFaults | None = None,
        *,
        login: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(tls=tls)
        self.faults = faults or HttpFaults()
        self.paths: list[str] = []
        self._clip = clip
        self._login = login
        self._begun_s = time.monotonic()

    def url(self, path: str) -> str:
        """What to pull."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}{path}"

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.faults.refuses:
            await self._serve((await reader.readuntil(b"\r\n\r\n")).decode(), writer)
            await writer.drain()
            writer.close()

    async def _serve(self, request: str, writer: asyncio.StreamWriter) -> None:
        path = request.split(" ")[1]
        self.paths.append(path)
        name, _, number = path.rpartition("/")
        if self.faults.redirect is not None:
            _head(writer, "302 Found", f"Location: {self.faults.redirect}", "Content-Length: 0")
        elif self._login is not None and f"Authorization: Basic {_basic(self._login)}" not in request:
            _head(writer, "401 Unauthorized", 'WWW-Authenticate: Basic realm="camfarm"', "Content-Length: 0")
        elif path == "/mjpeg":
            await self._play(writer)
        elif path == "/live.m3u8":
            _whole(writer, "application/vnd.apple.mpegurl", self._live().encode())
        elif path == "/vod.m3u8":
            names = [f"seg/{index}.ts" for index in range(len(self._clip) // self._clip.group)]
            _whole(writer, "application/vnd.apple.mpegurl", self._playlist(names, first=0, is_whole=True).encode())
        elif name == "/seg":
            _whole(writer, "video/mp2t", self._segment(int(number.removesuffix(".ts"))))
        else:
            _head(writer, "404 Not Found", "Content-Length: 0")

    async def _play(self, writer: asyncio.StreamWriter) -> None:
        _head(writer, "200 OK", "Content-Type: multipart/x-mixed-replace; boundary=frame")
        begun_s, media_s, clip, index = time.monotonic(), 0.0, self._clip, 0
        for number in itertools.count():
            faults = self.faults
            if number == faults.changes_at and faults.other is not None:
                clip, index = faults.other, 0
            if faults.closes_at is not None and number >= faults.closes_at:
                return
            if faults.freezes_at is not None and number >= faults.freezes_at:
                await asyncio.Event().wait()
            await asyncio.sleep(begun_s + media_s - time.monotonic())
            jpeg = clip.jpegs[index % len(clip)]
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            writer.write(head.encode() + jpeg + b"\r\n")
            await writer.drain()
            index += 1
            media_s += 1 / clip.camera.fps

    @property
    def _segment_s(self) -> float:
        return self._clip.group / self._clip.camera.fps

    def _live(self) -> str:
        """The window of segments that are over by now, after some that were before we began."""
        last = _WINDOW + int((time.monotonic() - self._begun_s) / self._segment_s)
        names = [f"seg/{index}.ts" for index in range(last - _WINDOW, last)]
        return self._playlist(names, first=last - _WINDOW, is_whole=False)

    def _playlist(self, names: list[str], *, first: int, is_whole: bool) -> str:
        if self.faults.entry is not None:
            names = [self.faults.entry] * len(names)
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:3",
            f"#EXT-X-TARGETDURATION:{max(1, round(self._segment_s))}",
            f"#EXT-X-MEDIA-SEQUENCE:{first}",
            *(line for name in names for line in (f"#EXTINF:{self._segment_s:.3f},", name)),
            *(["#EXT-X-ENDLIST"] if is_whole else []),
        ]
        return "\n".join([*lines, ""])

    def _segment(self, number: int) -> bytes:
        """One group of pictures as MPEG-TS, stamped with its place in the endless stream."""
        clip, file = self._clip, io.BytesIO()
        rate = Fraction(clip.camera.fps).limit_denominator(1001)
        with av.open(file, "w", format="mpegts") as container:
            stream = container.add_stream("libx264", rate=rate)
            stream.width, stream.height = clip.camera.width_px, clip.camera.height_px
            for position in range(number * clip.group, (number + 1) * clip.group):
                packet = av.Packet(clip.units[position % len(clip)])
                packet.stream, packet.time_base = stream, 1 / rate
                packet.pts = packet.dts = position
                container.mux(packet)
        return file.getvalue()


def _head(writer: asyncio.StreamWriter, status: str, *lines: str) -> None:
    writer.write("\r\n".join([f"HTTP/1.1 {status}", *lines, "Connection: close", "", ""]).encode())


def _whole(writer: asyncio.StreamWriter, kind: str, body: bytes) -> None:
    _head(writer, "200 OK", f"Content-Type: {kind}", f"Content-Length: {len(body)}")
    writer.write(body)


def _basic(login: tuple[str, str]) -> str:
    return base64.b64encode(":".join(login).encode()).decode()
