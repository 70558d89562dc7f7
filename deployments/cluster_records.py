"""What outlives every process of ours: small records in the cluster's own store (GCS).

They survive the head as well where Ray keeps that store in Redis or RocksDB.
"""

import json
import secrets
from dataclasses import asdict, dataclass
from typing import Final
from urllib.parse import quote, unquote

from ray.experimental.internal_kv import _internal_kv_del as delete
from ray.experimental.internal_kv import _internal_kv_get as get
from ray.experimental.internal_kv import _internal_kv_list as keys_with
from ray.experimental.internal_kv import _internal_kv_put as put

_STREAMS: Final = "stream/"
_SECRET: Final = "secret"  # noqa: S105  the name of the record
_BOOK: Final = "book"
_KEPT: Final = "kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One claim of one stream. `spec` is JSON; `opened_ns` the wall clock when the stream was opened."""

    term: int
    epoch: int
    spec: str
    opened_ns: int


class ClusterRecords:
    """The records of one namespace. Every call is an RPC that blocks; RayError when it fails.

    A stream has a record for each of its last terms, and who writes the record of a term first has that term: also of
    two processes that do not know of each other.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def take(self, stream_id: str, term: Term) -> bool:
        """Write the term where nobody has it and it is the next one, or the first; False, and no change, where not.

        All records go but this one and the one before, which says that the stream has not been removed meanwhile.
        """
        is_taken = put(_key(stream_id, term.term), _text(term), overwrite=False, namespace=self._namespace)
        if is_taken:
            return False
        terms = self._terms(stream_id)
        is_next = terms[-1] == term.term and (term.term == 1 or term.term - 1 in terms)
        for other in terms[:-2] if is_next else [term.term]:
            delete(_key(stream_id, other), namespace=self._namespace)
        return is_next

    def rewrite(self, stream_id: str, term: Term) -> bool:
        """Replace the record of the newest term; False, and no change, when it is not the newest any more."""
        is_newest = self._terms(stream_id)[-1:] == [term.term]
        if is_newest:
            put(_key(stream_id, term.term), _text(term), namespace=self._namespace)
        return is_newest

    def newest(self, stream_id: str) -> Term | None:
        """The newest term of the stream; None when there is no such stream."""
        while terms := self._terms(stream_id):
            text = get(_key(stream_id, terms[-1]), namespace=self._namespace)
            if text is not None:  # else it was removed between the two calls
                return Term(**json.loads(text))
        return None

    def streams(self) -> dict[str, Term]:
        """The newest term of every stream, in the order of opening."""
        keys = keys_with(_STREAMS, namespace=self._namespace)
        names = {unquote(key.decode().split("/")[1]) for key in keys}
        found = {name: term for name in names if (term := self.newest(name)) is not None}
        return dict(sorted(found.items(), key=lambda item: (item[1].opened_ns, item[0])))

    def remove(self, stream_id: str, *, term: int) -> bool:
        """Forget the stream; False, and no change, when that term is not the newest any more."""
        is_newest = self._terms(stream_id)[-1:] == [term]
        if is_newest:
            delete(_key(stream_id), del_by_prefix=True, namespace=self._namespace)
        return is_newest

    def secret(self) -> bytes:
        """32 random bytes, made by whoever asks first."""
        put(_SECRET, secrets.token_bytes(32), overwrite=False, namespace=self._namespace)
        found: bytes = get(_SECRET, namespace=self._namespace)
        return found

    def keep(self, text: str) -> None:
        """Have this one text, in place of the one before."""
        put(_KEPT, text, namespace=self._namespace)

    def kept(self) -> str | None:
        """The text; None before the first."""
        found: bytes | None = get(_KEPT, namespace=self._namespace)
        return None if found is None else found.decode()

    def register(self, book: str) -> None:
        """Be the book in charge from now on; the one before finds that it is not."""
        put(_BOOK, book, namespace=self._namespace)

    def registered(self) -> str:
        """The book in charge."""
        return (get(_BOOK, namespace=self._namespace) or b"").decode()

    def _terms(self, stream_id: str) -> list[int]:
        keys = keys_with(_key(stream_id), namespace=self._namespace)
        return sorted(int(key.decode().rpartition("/")[2]) for key in keys)


def _key(stream_id: str, term: int | None = None) -> str:
    """The key of a term; without one what all keys of the stream begin with."""
    return f"{_STREAMS}{quote(stream_id, safe='')}/{'' if term is None else term}"


def _text(term: Term) -> str:
    return json.dumps(asdict(term))
