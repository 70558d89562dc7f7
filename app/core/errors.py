"""Everything that can go wrong, as types that survive pickle and say the HTTP status themselves.

SightlineError
├── InvalidRequestError      400  malformed
├── UnauthenticatedError     401  no key, or nobody's
├── ForbiddenError           403  not with this key
├── NotFoundError            404
├── NotAcceptableError       406
├── ConflictError            409  not what the resource's state allows
├── TooLargeError            413  over a size, pixel or count limit
├── UnsupportedMediaError    415  not a format we read
├── UndecodableError         422  the right format, but broken
├── InvalidParameterError    422  a value that fails validation
├── OverloadedError          503  refused at the door; carries retry_after_s
│   └── QuotaError           429  more than the tenant may send
├── UnavailableError         503  a part of the service died with this frame in it
│   ├── MovedError                it has another owner by now
│   ├── DeviceMemoryError         the GPU has no room for it
│   └── DeviceLostError           the GPU answers nothing to this process any more
├── DeadlineError            504  the caller's deadline passed
├── ModelError               500  a model file that cannot be served
├── SnapshotError            500  saved state that cannot be taken up again
└── InternalError            500  ours; the details are in the log
"""

from http import HTTPStatus
from typing import ClassVar


class SightlineError(Exception):
    """A failure with words for the caller: `detail` is shown to clients and holds no internals."""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class InvalidRequestError(SightlineError):
    """The request cannot be read as what it claims to be."""

    status = HTTPStatus.BAD_REQUEST
    code = "invalid_request"
    title = "Malformed request"


class UnauthenticatedError(SightlineError):
    """The request has no key, or one that belongs to nobody."""

    status = HTTPStatus.UNAUTHORIZED
    code = "unauthenticated"
    title = "Who is this?"

    def __init__(self, detail: str = "send a key of this service as authorization: Bearer KEY") -> None:
        super().__init__(detail)


class ForbiddenError(SightlineError):
    """The key is good, but not for this."""

    status = HTTPStatus.FORBIDDEN
    code = "forbidden"
    title = "Forbidden"


class NotFoundError(SightlineError):
    """There is nothing by that name."""

    status = HTTPStatus.NOT_FOUND
    code = "not_found"
    title = "Not found"


class NotAcceptableError(SightlineError):
    """None of the representations asked for exists."""

    status = HTTPStatus.NOT_ACCEPTABLE
    code = "not_acceptable"
    title = "Not acceptable"


class ConflictError(SightlineError):
    """The request does not fit the state that the thing is in."""

    status = HTTPStatus.CONFLICT
    code = "conflict"
    title = "Conflict"


class TooLargeError(SightlineError):
    """Over a limit of bytes, pixels or parts; refused before any decoder saw it."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "too_large"
    title = "Too large"


class UnsupportedMediaError(SightlineError):
    """Not a format that this service reads."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    code = "unsupported_media"
    title = "Unsupported format"


class UndecodableError(SightlineError):
    """The format is known, the content is broken."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "undecodable"
    title = "Cannot be decoded"


class InvalidParameterError(SightlineError):
    """A parameter is out of its range."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "invalid_parameter"
    title = "Invalid parameter"


class OverloadedError(SightlineError):
    """Refused at the door: the queue is full. Try again after `retry_after_s` seconds."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "overloaded"
    title = "Overloaded"

    def __init__(self, detail: str = "the queue is full", retry_after_s: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class QuotaError(OverloadedError):
    """More than the tenant may send. Try again after `retry_after_s` seconds."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    code = "over_quota"
    title = "Over quota"

    def __init__(self, detail: str = "more than this key may send", retry_after_s: float = 1.0) -> None:
        super().__init__(detail, retry_after_s)


class UnavailableError(SightlineError):
    """A part of the service went away while it held this frame. Try again."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "unavailable"
    title = "Unavailable"

    def __init__(self, detail: str = "a part of the service is restarting", retry_after_s: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class MovedError(UnavailableError):
    """The stream has another owner by now: the same call reaches it."""

    code = "moved"
    title = "Moved"

    def __init__(self, detail: str = "the stream is owned by another replica now", retry_after_s: float = 0.1) -> None:
        super().__init__(detail, retry_after_s)


class DeviceMemoryError(UnavailableError):
    """The GPU has no memory left for this; with less to do at once, or later, it may have."""

    code = "device_memory"
    title = "Out of GPU memory"

    def __init__(self, detail: str = "the GPU has no memory left for this", retry_after_s: float = 1.0) -> None:
        super().__init__(detail, retry_after_s)


class DeviceLostError(UnavailableError):
    """The GPU answers nothing to this process any more: only another process can go on."""

    code = "device_lost"
    title = "GPU lost"

    def __init__(self, detail: str = "the GPU was lost; a replacement starts", retry_after_s: float = 5.0) -> None:
        super().__init__(detail, retry_after_s)


class DeadlineError(SightlineError):
    """The caller's deadline passed before the work was done."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    code = "deadline_exceeded"
    title = "Deadline passed"


class ModelError(SightlineError):
    """A model file that cannot be served; `detail` says what was found in it."""

    code = "model"
    title = "Model cannot be served"


class SnapshotError(SightlineError):
    """Saved state that cannot be written or taken up again: broken, of another version, or of other parameters."""

    code = "snapshot"
    title = "Snapshot cannot be used"


class InternalError(SightlineError):
    """A fault of ours. The cause is in the log, not in the answer."""

    def __init__(self, detail: str = "an internal fault; the log has the request id") -> None:
        super().__init__(detail)
