"""The body behind a URL as an open file that FFmpeg reads, from listed hosts and checked addresses alone."""

from http.client import HTTPException, HTTPResponse
from typing import Final
from urllib.parse import urljoin

from app import __version__
from app.core.errors import InvalidParameterError
from app.media.pull.http_login import authorization
from app.media.pull.messages import Reason
from app.media.pull.parameters import PullParameters
from app.media.pull.reach import SourceFailedError, reach, reason_of
from app.media.pull.source_url import SourceUrl, source_of

_OK: Final = 200
_UNAUTHORIZED: Final = 401
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_REASONS: Final = {401: Reason.UNAUTHORIZED, 403: Reason.UNAUTHORIZED, 404: Reason.NOT_FOUND}
_MAX_HOPS: Final = 5


class HttpBody:
    """A body that comes in piece by piece; it cannot be sought in.

    `source` is where the redirects ended, `content_type` lower case, `has_end` says that its length is known.
    It never raises while it is read: FFmpeg sees the end, and `failure` says what it was.
    """

    def __init__(self, response: HTTPResponse, source: SourceUrl) -> None:
        self.source = source
        self.content_type = (response.getheader("content-type") or "").partition(";")[0].strip().lower()
        self.has_end = response.length is not None  # a recording; a camera goes on
        self.failure: Reason | None = None
        self._response = response

    @property
    def name(self) -> str:
        """The address that relative ones in the body begin from, without what is secret about it."""
        return f"{self.source.scheme}://{self.source.authority}{self.source.path}"

    def read(self, size: int) -> bytes:
        """What is there, up to `size` bytes; waits for the first of them."""
        try:
            return self._response.read1(size)
        except (OSError, HTTPException, ValueError):
            self.failure = Reason.CLOSED
            return b""

    def close(self) -> None:
        """Give the connection back."""
        self._response.close()


def open_body(source: SourceUrl, parameters: PullParameters) -> HttpBody:
    """The body behind the URL and its redirects, each of them checked like the first; from https never to http."""
    login: str | None = None
    for _ in range(_MAX_HOPS):
        response = _get(source, parameters, login=login)
        status = response.status
        if status == _OK:
            return HttpBody(response, source)
        challenges = response.headers.get_all("www-authenticate", [])
        location = response.getheader("location")
        response.close()
        if status == _UNAUTHORIZED and login is None:
            login = authorization(source, challenges, path=source.path)
            if login is not None:
                continue
        if status not in _REDIRECTS or location is None:
            raise SourceFailedError(_REASONS.get(status, Reason.UNREACHABLE))
        source, login = referred(source, location, parameters), None
    raise SourceFailedError(Reason.REDIRECTED)


def referred(source: SourceUrl, reference: str, parameters: PullParameters) -> SourceUrl:
    """What a body or a redirect refers to; it must be HTTP too. Our password goes with it to the same server only."""
    try:
        base = f"{source.scheme}://{source.authority}{source.path}"
        target = source_of(urljoin(base, reference), parameters)
    except (InvalidParameterError, ValueError):
        raise SourceFailedError(Reason.FORBIDDEN) from None
    if target.scheme not in ("http", "https") or (source.is_tls and not target.is_tls):
        raise SourceFailedError(Reason.FORBIDDEN)
    is_same = (target.scheme, target.host, target.port) == (source.scheme, source.host, source.port)
    return SourceUrl(
        scheme=target.scheme,
        host=target.host,
        port=target.port,
        path=target.path,
        user=source.user if is_same else "",
        password=source.password if is_same else "",
    )


def _get(source: SourceUrl, parameters: PullParameters, *, login: str | None) -> HTTPResponse:
    connected = reach(source, parameters)
    lines = [
        f"GET {source.path} HTTP/1.1",
        f"Host: {source.authority}",
        f"User-Agent: sightline/{__version__}",
        "Accept: */*",
        "Accept-Encoding: identity",
        "Connection: close",
        *([f"Authorization: {login}"] if login else []),
    ]
    try:
        connected.sendall("\r\n".join((*lines, "", "")).encode("ascii"))
        response = HTTPResponse(connected, method="GET")
        response.begin()
    except (OSError, HTTPException) as error:
        raise SourceFailedError(reason_of(error) if isinstance(error, OSError) else Reason.UNREACHABLE) from None
    else:
        # How long it may be silent is its owner's business, who watches the frames.
        connected.settimeout(None)
        return response
    finally:
        connected.close()  # the response holds it by its own file
