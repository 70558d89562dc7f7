"""What a stream is pulled from: a URL taken apart, allowed or refused, its password kept where nobody sees it."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.core.errors import InvalidParameterError
from app.media.fetch_guard import PRINTABLE, covers, host_of
from app.media.pull.parameters import DEFAULT_PORTS, PullParameters

_MAX_URL_CHARS = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceUrl:
    """A source that may be pulled. `path` is the path on the server with its query, or that of the file.

    `user` and `password` stay percent-encoded as they were given; neither `repr` nor `shown` holds them.
    """

    scheme: str
    host: str = ""
    port: int = 0
    path: str
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def is_file(self) -> bool:
        """Whether it is a file of this machine, which ends, and is not tried again."""
        return self.scheme == "file"

    @property
    def is_rtsp(self) -> bool:
        """Whether it speaks RTSP."""
        return self.scheme in ("rtsp", "rtsps")

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted and the server's name verified."""
        return self.scheme in ("rtsps", "https")

    @property
    def authority(self) -> str:
        """Host and port as a URL and the Host header have them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """The URL for people and logs: without user, password and query, any of which may be a secret."""
        if self.is_file:
            return f"file:{self.path}"
        return f"{self.scheme}://{self.authority}{self.path.partition('?')[0]}"

    def __str__(self) -> str:
        return self.shown


def shown_url(url: str) -> str:
    """The URL for people and logs: without user, password and query, any of which may be a secret."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def source_of(url: str, parameters: PullParameters) -> SourceUrl:
    """The source that `url` names; InvalidParameterError when it is malformed or not allowed."""
    if len(url) > _MAX_URL_CHARS or not PRINTABLE.fullmatch(url):
        raise wrong(f"at most {_MAX_URL_CHARS} characters of ASCII, others escaped")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise wrong("malformed") from None
    if parts.scheme == "file":
        return _file(parts.netloc, unquote(parts.path), parameters)
    usual = DEFAULT_PORTS.get(parts.scheme)
    if usual is None:
        raise wrong("only rtsp, rtsps, http, https and file are pulled")
    if not parameters.allowed_hosts:
        raise wrong("this service pulls from no host; push the frames instead")
    port = usual if port is None else port
    host = host_of(parts)
    if not any(covers(entry, host, port, is_usual=port == usual) for entry in parameters.allowed_hosts):
        raise wrong("this host is not on the list of those that are pulled from")
    return SourceUrl(
        scheme=parts.scheme,
        host=host,
        port=port,
        path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        user=parts.username or "",
        password=parts.password or "",
    )


def open_file(path: str, parameters: PullParameters) -> int:
    """A descriptor of the file, once it is sure that a listed folder holds it, whatever links the path goes through."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        raise wrong("this file cannot be read") from None
    # What was opened is asked, not what the path says by now.
    true_path = Path(f"/proc/self/fd/{descriptor}").readlink()
    is_below = any(true_path.is_relative_to(Path(folder).resolve()) for folder in parameters.allowed_folders)
    if is_below and stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise wrong("this file lies in no folder that files are pulled from")


def wrong(words: str) -> InvalidParameterError:
    """The refusal of a source, in words that show nothing of it."""
    return InvalidParameterError(f"source: {words}")


def _file(netloc: str, path: str, parameters: PullParameters) -> SourceUrl:
    if not parameters.allowed_folders:
        raise wrong("this service pulls no files")
    if netloc not in ("", "localhost") or not path.startswith("/"):
        raise wrong("a file is named by its absolute path, as in file:/videos/street.mp4")
    # Outside the folders nobody may learn which files there are: the path itself is judged first.
    written = Path(os.path.normpath(path))
    if not any(written.is_relative_to(os.path.normpath(folder)) for folder in parameters.allowed_folders):
        raise wrong("this file lies in no folder that files are pulled from")
    os.close(open_file(path, parameters))
    return SourceUrl(scheme="file", path=path)
