"""H.264 in RTP packets, and the sender reports that tie their time stamps to the wall clock."""

import struct
from collections.abc import Iterator

_PAYLOAD_BYTES = 1400
_FU_A = 28
_NTP_BEFORE_1970_S = 2_208_988_800
RATE_HZ = 90_000


class RtpSender:
    """Numbers and stamps the packets of one stream. Source: RFC 3550, and RFC 6184 sections 5.6 and 5.8."""

    def __init__(self, *, ssrc: int, seq: int = 65_500) -> None:
        self._ssrc = ssrc
        self._seq = seq  # near its end, so that every test sees it wrap
        self._packets = 0
        self._octets = 0

    def packets(self, units: list[bytes], *, stamp: int) -> Iterator[bytes]:
        """One access unit, the last packet marked as its end."""
        payloads = [payload for unit in units for payload in _payloads(unit)]
        for index, payload in enumerate(payloads):
            marker = 0x80 if index == len(payloads) - 1 else 0
            head = struct.pack("!BBHII", 0x80, marker | 96, self._seq, stamp % (1 << 32), self._ssrc)
            self._seq = (self._seq + 1) % 65_536
            self._packets += 1
            self._octets += len(payload)
            yield head + payload

    def report(self, *, stamp: int, utc_s: float) -> bytes:
        """A sender report: at `utc_s` the stream's stamp was `stamp`. Source: RFC 3550 section 6.4.1."""
        seconds, rest = divmod(utc_s + _NTP_BEFORE_1970_S, 1)
        ntp = int(seconds), int(rest * (1 << 32))
        report = struct.pack(
            "!BBHIIIIII", 0x80, 200, 6, self._ssrc, *ntp, stamp % (1 << 32), self._packets, self._octets
        )
        name = b"camfarm"
        chunk = struct.pack("!IBB", self._ssrc, 1, len(name)) + name
        chunk += bytes(4 - len(chunk) % 4)
        return report + struct.pack("!BBH", 0x81, 202, len(chunk) // 4) + chunk


def _payloads(unit: bytes) -> Iterator[bytes]:
    """A NAL unit as it is where it fits, else in fragments (FU-A)."""
    if len(unit) <= _PAYLOAD_BYTES:
        yield unit
        return
    body = unit[1:]
    for start in range(0, len(body), _PAYLOAD_BYTES):
        piece = body[start : start + _PAYLOAD_BYTES]
        first, last = start == 0, start + _PAYLOAD_BYTES >= len(body)
        yield bytes([unit[0] & 0x60 | _FU_A, first << 7 | last << 6 | unit[0] & 0x1F]) + piece
