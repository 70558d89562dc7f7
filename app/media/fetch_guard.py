"""Which URLs may be fetched and which addresses spoken to; what is not expressly allowed is refused."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias
from urllib.parse import SplitResult, urljoin, urlsplit

from app.core.errors import InvalidParameterError

Address: TypeAlias = IPv4Address | IPv6Address

_MAX_URL_CHARS = 2048
_PORTS: Final = {"http": 80, "https": 443}
PRINTABLE: Final = re.compile(r"[!-\[\]-~]+")  # ASCII without spaces, controls and the backslash
_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_LIKE_A_NUMBER: Final = re.compile(r"(.*\.)?(\d+|0x[0-9a-f]*)")  # WHATWG URL 3.5: a host that ends in a number
_ENTRY: Final = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|(\*\.)?[a-z0-9_.-]+)(:(?P<port>[0-9]{1,5}))?")

_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052 2.1
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")  # RFC 4291 2.4: all that is assigned so far
_NOT_PUBLIC_4: Final = (
    IPv4Network("192.0.0.0/24"),  # RFC 6890 2.2.2, IETF protocols
    IPv4Network("192.88.99.0/24"),  # RFC 7526, 6to4 relays
)
_NOT_PUBLIC_6: Final = (
    IPv6Network("2001::/23"),  # RFC 2928, IETF protocols: Teredo (2001::/32) carries IPv4 to anywhere
    IPv6Network("2001:db8::/32"),  # RFC 3849, documentation
    IPv6Network("2002::/16"),  # RFC 7526, 6to4 carries IPv4 to anywhere
    IPv6Network("3fff::/20"),  # RFC 9637, documentation
)
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})
"""Upper half of an interface id that carries IPv4. Source: RFC 5214 6.1."""
_PRIVATE: Final = (
    IPv4Network("10.0.0.0/8"),
    IPv4Network("127.0.0.0/8"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv6Network("::1/128"),
    IPv6Network("fc00::/7"),
)
_METADATA: Final = IPv6Network("fd00:ec2::/32")
"""Where a cloud gives out credentials; its IPv4 sibling is link-local, which is in no list here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchParameters:
    """What may be fetched by URL; nothing, as long as `allowed_hosts` is empty.

    An entry is `host`, `*.domain` (whatever is below it) or an address, each with `:port` where it is not the
    scheme's own. `allow_private` lets these hosts lie in private networks and on loopback too. One image may take
    `timeout_s` with all its redirects, `max_redirects` of them. `max_concurrent` are fetched at once and as many wait,
    each with room for the largest image reserved in the budget of bodies.
    """

    allowed_hosts: tuple[str, ...] = ()
    allow_private: bool = False
    timeout_s: float = 5.0
    max_redirects: int = 2
    max_concurrent: int = 4

    def __post_init__(self) -> None:
        for entry in self.allowed_hosts:
            match = _ENTRY.fullmatch(entry)
            if match is None:
                raise ValueError(
                    f"allowed_hosts: {entry!r} is no lower-case host, *.domain or [address], each perhaps :port"
                )
            if match["host"].startswith("["):
                IPv6Address(match["host"][1:-1])
        if not (self.timeout_s > 0 and self.max_redirects >= 0 and self.max_concurrent > 0):
            raise ValueError("timeout_s and max_concurrent must be over 0, max_redirects not below")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A URL that may be fetched: `host` as in the certificate, `path` with its query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def redirected(self, location: str, parameters: FetchParameters) -> "Target":
        """Where a redirect leads, checked like any URL; from https never to http."""
        base = f"{self.scheme}://{self.authority}{self.path}"
        if not PRINTABLE.fullmatch(location):
            raise _wrong("the redirect leads nowhere")
        try:
            url = urljoin(base, location)
        except ValueError:
            raise _wrong("the redirect leads nowhere") from None
        target = target_of(url, parameters)
        if (self.scheme, target.scheme) == ("https", "http"):
            raise _wrong("the redirect leads from https to http")
        return target


def target_of(url: str, parameters: FetchParameters) -> Target:
    """The target that `url` names; InvalidParameterError for one that is malformed or not on the list."""
    if not parameters.allowed_hosts:
        raise _wrong("this service fetches no URLs; send the image itself, or its base64")
    if len(url) > _MAX_URL_CHARS or not PRINTABLE.fullmatch(url):
        raise _wrong(f"at most {_MAX_URL_CHARS} characters of ASCII, others escaped")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _wrong("malformed") from None
    if parts.scheme not in _PORTS:
        raise _wrong("only http and https are fetched")
    if "@" in parts.netloc:
        raise _wrong("no user name or password, please")
    port = _PORTS[parts.scheme] if port is None else port
    host = host_of(parts)
    if not any(covers(entry, host, port, is_usual=port == _PORTS[parts.scheme]) for entry in parameters.allowed_hosts):
        raise _wrong("this host is not on the list of those that are fetched from")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(scheme=parts.scheme, host=host, port=port, path=path)


def checked(addresses: Sequence[str], parameters: FetchParameters) -> list[Address]:
    """All of a host's addresses, in order; InvalidParameterError unless every one of them may be spoken to."""
    parsed = [_parsed(address) for address in addresses]
    if not parsed:
        raise _wrong("this host is not known")
    if not all(_is_allowed(address, allow_private=parameters.allow_private) for address in parsed):
        raise _wrong("this host is not in the public internet")
    return parsed


def is_public(address: Address) -> bool:
    """Whether the address is one of the public internet, whatever IPv4 it carries included.

    IPv4 in IPv6 (mapped, NAT64) is judged as IPv4; the tunnels 6to4, Teredo and ISATAP are never public.
    """
    inner = _inner(address)
    if isinstance(inner, IPv4Address):
        is_special = inner.is_multicast or inner.is_reserved or any(inner in network for network in _NOT_PUBLIC_4)
        return inner.is_global and not is_special
    is_tunnel = (int(inner) >> 32) & 0xFFFFFFFF in _ISATAP
    return inner in _GLOBAL_UNICAST and not is_tunnel and not any(inner in network for network in _NOT_PUBLIC_6)


def _is_allowed(address: Address, *, allow_private: bool) -> bool:
    if is_public(address):
        return True
    inner = _inner(address)
    return allow_private and inner not in _METADATA and any(inner in network for network in _PRIVATE)


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, or the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address


def _parsed(address: str) -> Address:
    try:
        parsed = ip_address(address)
    except ValueError:
        raise _wrong("this host is not known") from None
    if isinstance(parsed, IPv6Address) and parsed.scope_id is not None:  # link-local, whatever else it says
        raise _wrong("this host is not in the public internet")
    return parsed


def host_of(parts: SplitResult) -> str:
    """The host in its one spelling: lower case, no final dot, an address as its digits are written canonically."""
    host = (parts.hostname or "").removesuffix(".")
    try:
        if parts.netloc.startswith("["):
            return str(IPv6Address(host))
        if _LIKE_A_NUMBER.fullmatch(host):  # 2130706433, 0x7f.1 and 0177.0.0.1 are addresses to some resolvers
            return str(IPv4Address(host))
    except ValueError:
        raise _wrong("the address is not in its usual spelling") from None
    if not _NAME.fullmatch(host):
        raise _wrong("the host is malformed")
    return host


def covers(entry: str, host: str, port: int, *, is_usual: bool) -> bool:
    """Whether the entry of the list covers the host; without a port it covers the scheme's own alone."""
    match = _ENTRY.fullmatch(entry)
    if match is None or not (is_usual if match["port"] is None else int(match["port"]) == port):
        return False
    listed = match["host"]
    if listed.startswith("*."):
        return host.endswith(listed[1:]) and len(host) > len(listed[1:]) and not _LIKE_A_NUMBER.fullmatch(host)
    return host == (str(IPv6Address(listed[1:-1])) if listed.startswith("[") else listed)


def _wrong(words: str) -> InvalidParameterError:
    return InvalidParameterError(f"url: {words}")
