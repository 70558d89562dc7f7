"""The ways in which one picture may be given: as the body, as JSON with base64 or a URL, or as bare RGB rows."""

import asyncio
import binascii
import json
import re
import time
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request

from app.api.bodies import BodyLimits, Lease, read_body, unless_disconnected
from app.api.contract import JSON
from app.api.workers import Workers
from app.core.errors import InvalidParameterError, InvalidRequestError, TooLargeError, UnsupportedMediaError
from app.media.fetch import Fetcher
from app.media.fetch_guard import FetchParameters
from app.media.raw import rgb_view

RAW_RGB: Final = "application/vnd.sightline.rgb"
# curl's default for --data-binary is the urlencoded type; the bytes decide what the image is.
_BODY_TYPES: Final = ("image/", "application/octet-stream", "application/x-www-form-urlencoded")
_JSON_ROOM_BYTES: Final = 16 * 1024
"""What JSON may hold beside the image: a URL, names, blanks, escaped slashes of a small one."""
_SIZE_PX: Final = re.compile(r"[1-9][0-9]{0,5}")
_RAW_CHANNELS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The bytes of one picture; with `raw_size_px`, `(width_px, height_px)`, they are its RGB rows."""

    data: bytes
    raw_size_px: tuple[int, int] | None = None


class Sources:
    """Reads the picture of a request, however it was given."""

    def __init__(self, limits: BodyLimits, fetch: FetchParameters, *, fetcher: Fetcher | None = None) -> None:
        self._max_bytes = limits.max_image_bytes
        self._fetcher = fetcher or Fetcher(fetch)
        self._timeout_s = fetch.timeout_s
        self._fetching = Workers(fetch.max_concurrent, max_waiting=fetch.max_concurrent, name="fetch")

    async def read(self, request: Request, lease: Lease, *, deadline_s: float | None = None) -> Picture:
        """The picture; what it fills in memory is on the lease. `deadline_s` is on the monotonic clock."""
        media_type = media_type_of(request)
        if media_type == JSON:
            return Picture(data=await self._from_json(request, lease, deadline_s=deadline_s))
        if media_type == RAW_RGB:
            return await self._raw(request, lease)
        if media_type and not media_type.startswith(_BODY_TYPES):
            raise UnsupportedMediaError(f"the body is declared as {media_type[:100]}; send an image, e.g. image/jpeg")
        return Picture(data=await read_body(request, lease, max_bytes=self._max_bytes))

    async def _raw(self, request: Request, lease: Lease) -> Picture:
        size_px = _declared_size(request.headers["content-type"])
        if size_px[0] * size_px[1] * _RAW_CHANNELS > self._max_bytes:
            raise TooLargeError(f"RGB of {size_px[0]} x {size_px[1]} has more than {self._max_bytes} bytes")
        data = await read_body(request, lease, max_bytes=self._max_bytes)
        rgb_view(data, size_px)  # refused here, not behind the queue
        return Picture(data=data, raw_size_px=size_px)

    async def _from_json(self, request: Request, lease: Lease, *, deadline_s: float | None) -> bytes:
        with lease.budget.lease() as passing:
            # Escaped slashes (PHP) make base64 a little longer than 4/3.
            body = await read_body(request, passing, max_bytes=self._max_bytes * 3 // 2 + _JSON_ROOM_BYTES)
            passing.grow(len(body))  # its text, while the bytes are still there
            kind, value = await asyncio.to_thread(_one_source, body)
            del body  # a fetch takes its time, and blanks around a URL fill memory too
            if kind == "base64":
                data = await asyncio.to_thread(_from_base64, value, max_bytes=self._max_bytes)
                lease.grow(len(data))
                return data
        return await self._fetched(request, lease, url=value, deadline_s=deadline_s)

    async def _fetched(self, request: Request, lease: Lease, *, url: str, deadline_s: float | None) -> bytes:
        self._fetcher.check(url)  # nothing waits in the queue to be refused
        own_s = time.monotonic() + self._timeout_s
        until_s = own_s if deadline_s is None else min(own_s, deadline_s)
        with lease.budget.lease() as reserved:
            reserved.grow(self._max_bytes)  # nobody knows how much will come
            work = self._fetching.run(
                lambda: self._fetcher.fetch(url, max_bytes=self._max_bytes, deadline_s=until_s), deadline_s=until_s
            )
            data = await unless_disconnected(request, work)
        lease.grow(len(data))
        return data


def media_type_of(request: Request) -> str:
    """The declared type of the body in lower case, without its parameters; empty when there is none."""
    declared: str = request.headers.get("content-type", "")
    return declared.split(";", maxsplit=1)[0].strip().lower()


def _declared_size(content_type: str) -> tuple[int, int]:
    """`(width_px, height_px)` from `…;width=W;height=H`, each once and nothing else."""
    pairs = [part.partition("=") for part in content_type.split(";")[1:]]
    values = {name.strip().lower(): value.strip() for name, _, value in pairs}
    is_whole = values.keys() == {"width", "height"} and len(pairs) == len(values)
    if not (is_whole and all(map(_SIZE_PX.fullmatch, values.values()))):
        raise InvalidParameterError(f"content-type: {RAW_RGB};width=W;height=H, in pixels")
    return int(values["width"]), int(values["height"])


def _one_source(body: bytes) -> tuple[str, str]:
    """`("base64" | "url", its text)`; InvalidRequestError for no JSON, InvalidParameterError for other shapes."""
    try:
        pairs = json.loads(body, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        raise InvalidRequestError("the body is not JSON") from None
    match pairs if isinstance(pairs, _Pairs) else None:
        case [("base64" | "url" as kind, str(text))]:
            return kind, text
    raise InvalidParameterError('send {"base64": "…"} or {"url": "https://…"}: one of them, as text, nothing else')


class _Pairs(list[tuple[str, Any]]):
    """The members of one JSON object as they stand there, so that a name that comes twice is seen."""


def _from_base64(text: str, *, max_bytes: int) -> bytes:
    """The bytes; strict: the standard alphabet, padded, without blanks, line ends or a `data:` prefix."""
    if len(text) * 3 // 4 - text[-2:].count("=") > max_bytes:
        raise TooLargeError(f"base64: the image has more than {max_bytes} bytes")
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # binascii.Error is one
        data = b""
    if not data or len(text) % 4 or "=" in text[:-2]:  # Python 3.11 lets "AAAA====" pass
        raise InvalidParameterError("base64: a whole image with padding and nothing else")
    return data
