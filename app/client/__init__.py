"""The Python client of a Sightline service: `Sightline`, and the same with async, `AsyncSightline`."""

from app.client.blocking import Sightline, Stream
from app.client.camera import Camera
from app.client.errors import AnswerError, UnreachableError
from app.client.session import SessionLimits
from app.client.sightline import AsyncSightline, StreamInfo
from app.client.stream import AsyncStream
from app.policy.reconnect import Backoff

__all__ = [
    "AnswerError",
    "AsyncSightline",
    "AsyncStream",
    "Backoff",
    "Camera",
    "SessionLimits",
    "Sightline",
    "Stream",
    "StreamInfo",
    "UnreachableError",
]
