"""A connection to a source's host: its name resolved once, every address checked, and that very address dialled."""

import socket
import ssl

from app.core.errors import InvalidParameterError
from app.media.fetch import Resolver, system_addresses
from app.media.fetch_guard import checked
from app.media.pull.messages import Reason
from app.media.pull.parameters import PullParameters
from app.media.pull.source_url import SourceUrl


class SourceFailedError(Exception):
    """A source that cannot be connected or read; `reason` says why. It never leaves the decoder process."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def reach(source: SourceUrl, parameters: PullParameters, *, resolve: Resolver = system_addresses) -> socket.socket:
    """A connected socket, with TLS and the server's name verified where the scheme says so."""
    try:
        addresses = checked(resolve(source.host, source.port), parameters.fetch())
    except InvalidParameterError:
        raise SourceFailedError(Reason.FORBIDDEN) from None
    except (OSError, UnicodeError):
        raise SourceFailedError(Reason.UNREACHABLE) from None
    failure = Reason.UNREACHABLE
    for address in addresses:
        try:
            plain = socket.create_connection((str(address), source.port), parameters.connect_s / len(addresses))
        except OSError as error:
            failure = reason_of(error)
            continue
        return _secured(plain, source) if source.is_tls else plain
    raise SourceFailedError(failure)


def reason_of(error: OSError) -> Reason:
    """What an error of the network means."""
    if isinstance(error, TimeoutError):
        return Reason.TIMEOUT
    return Reason.REFUSED if isinstance(error, ConnectionRefusedError) else Reason.UNREACHABLE


def _secured(plain: socket.socket, source: SourceUrl) -> socket.socket:
    try:
        return ssl.create_default_context().wrap_socket(plain, server_hostname=source.host)
    except OSError as error:
        plain.close()
        raise SourceFailedError(reason_of(error)) from None
