"""Who takes more of an engine than an equal share, and how far behind the others that puts its pictures."""

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(slots=True)
class _Server:
    paid_until_s: float
    seen_s: float


class FairShare:
    """One constant bandwidth server for every stream that was heard of in the last `memory_s` seconds.

    A stream owns one nth of the engine, n being the number of streams. Each picture uses up its cost times n of the
    stream's own time; who asks for more than the share is paid up until later than now, and that moment is the
    earliest deadline the picture can have. Streams within their share keep the deadlines they came with. A debt never
    reaches more than `max_debt_s` ahead: time that nobody else wanted is not held against a stream for long. What is
    given up is paid back, so that of a stream over its share newer pictures may be on time where older ones were not.

    Source: Abeni and Buttazzo, Integrating multimedia applications in hard real-time systems, RTSS 1998, section 3:
    a server that has used its budget gets a later deadline.
    """

    def __init__(self, *, max_debt_s: float, memory_s: float = 1.0) -> None:
        self._max_debt_s = max_debt_s
        self._memory_s = memory_s
        self._servers: OrderedDict[str, _Server] = OrderedDict()

    def charge(self, stream: str, cost_s: float, *, now_s: float) -> tuple[float, float]:
        """The earliest deadline that the picture can have, and what was charged, for `refund`.

        `cost_s` is the engine's time for the picture when nobody else used it.
        """
        server = self._servers.get(stream)
        if server is None:
            server = self._servers[stream] = _Server(now_s, now_s)
        server.seen_s = now_s
        self._servers.move_to_end(stream)
        self._forget(now_s)
        before_s = max(server.paid_until_s, now_s)
        server.paid_until_s = min(before_s + cost_s * len(self._servers), max(before_s, now_s + self._max_debt_s))
        return server.paid_until_s, server.paid_until_s - before_s

    def refund(self, stream: str, charged_s: float) -> None:
        """The picture takes none of the stream's share after all: it was withdrawn or given up."""
        if (server := self._servers.get(stream)) is not None:
            server.paid_until_s -= charged_s

    def _forget(self, now_s: float) -> None:
        while self._servers:
            name, server = next(iter(self._servers.items()))
            if server.seen_s >= now_s - self._memory_s:
                return
            del self._servers[name]
