"""The outbox's SQLite file: the events that wait for their destination, and the dead letters."""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from app.core.wire import WireEvent
from app.delivery.outbox_rows import DeadLetter, DeadReason, Lane, Waiting

ROW_BYTES: Final = 256
"""Counted for a row beside its body: its other columns and both index entries, with ids of about 50 characters."""
MAX_QUIET_SINKS: Final = 1024
"""So many sinks keep their counts when nothing waits for them; a year of streams must not fill memory."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS lanes (
    lane INTEGER PRIMARY KEY, stream_id TEXT NOT NULL, sink TEXT NOT NULL, UNIQUE (stream_id, sink));
CREATE TABLE IF NOT EXISTS events (
    position INTEGER PRIMARY KEY, lane INTEGER NOT NULL, event_id TEXT NOT NULL, kind TEXT NOT NULL,
    seq INTEGER NOT NULL, put_s REAL NOT NULL, body BLOB NOT NULL, UNIQUE (lane, event_id));
CREATE INDEX IF NOT EXISTS by_lane ON events (lane, position);
CREATE TABLE IF NOT EXISTS dead_letters (
    position INTEGER PRIMARY KEY, stream_id TEXT NOT NULL, sink TEXT NOT NULL, event_id TEXT NOT NULL,
    kind TEXT NOT NULL, seq INTEGER NOT NULL, reason TEXT NOT NULL, died_s REAL NOT NULL, body BLOB NOT NULL);
"""
# A position that is taken must be an error: ignored, an adopted event would vanish.
_INSERT: Final = """
INSERT INTO events (position, lane, event_id, kind, seq, put_s, body) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (lane, event_id) DO NOTHING
"""
_INSERT_DEAD: Final = """
INSERT INTO dead_letters (stream_id, sink, event_id, kind, seq, reason, died_s, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""


class OutboxFile:
    """One file. Every call belongs inside `transaction`, all of them on one thread.

    `totals` counts by (name, sink text): `waiting`, `delivered`, and the dead letters by their reason. Under the empty
    text are `bytes` and `dead_bytes`, and `removed`: dead letters that made room for newer ones.
    """

    def __init__(self, path: Path, *, max_bytes: int, max_dead_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._max_dead_bytes = max_dead_bytes
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            # FULL waits for the disk at each commit, so that a power cut loses nothing either. Commits are made for
            # groups of calls: this costs latency, not rate (measured in load_tests/outbox.py).
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
            self._lanes: dict[Lane, int] = {}
            self.totals: Counter[tuple[str, str]] = Counter()
            self._changes: Counter[tuple[str, str]] = Counter()
            with self.transaction():
                self._count()
                self._front, newest = self.span()
            # No position is given twice while the process lives: a row in flight may have been evicted meanwhile.
            self._next = newest + 1
        except BaseException:
            self._db.close()
            raise

    def _count(self) -> None:
        for sink, rows in self._db.execute("SELECT sink, COUNT(*) FROM events JOIN lanes USING (lane) GROUP BY sink"):
            self._changes["waiting", sink] = rows
        for name, table in (("bytes", "events"), ("dead_bytes", "dead_letters")):
            query = f"SELECT COUNT(*), TOTAL(LENGTH(body)) FROM {table}"  # noqa: S608 - two names of ours
            rows, body_bytes = self._db.execute(query).fetchone()
            self._changes[name, ""] = rows * ROW_BYTES + int(body_bytes)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all that is done inside, or nothing; sqlite3.Error when the disk does not take it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._lanes.clear()
            self._changes.clear()
            raise
        self.totals.update(self._changes)
        self._changes.clear()

    def append(self, lane: Lane, events: Sequence[WireEvent], *, now_s: float) -> None:
        """Put events at the end of a lane; one that waits there already is passed over.

        When this makes the file too full, the oldest events of all become dead letters.
        """
        for event in events:
            self._insert(lane, Waiting(position=self._next, put_s=now_s, event=event))
            self._next += 1
        self._evict(now_s=now_s)

    def adopt(self, rows: Sequence[tuple[Lane, Waiting]], *, shift: int, now_s: float) -> None:
        """Take over rows of another file, moved by `shift`: they are older than all of ours, so they go in front."""
        for lane, row in rows:
            self._insert(lane, Waiting(position=row.position + shift, put_s=row.put_s, event=row.event))
        self._evict(now_s=now_s)

    def make_room(self, other: "OutboxFile") -> int:
        """By how much the positions of another file must be moved, to lie before all that were ever given here."""
        oldest, newest = other.span()
        shift = self._front - 1 - newest
        self._front = shift + oldest
        return shift

    def span(self) -> tuple[int, int]:
        """The positions of the oldest and the newest event; (1, 0) when there is none."""
        oldest, newest = self._db.execute("SELECT MIN(position), MAX(position) FROM events").fetchone()
        return (1, 0) if oldest is None else (int(oldest), int(newest))

    def _insert(self, lane: Lane, row: Waiting) -> None:
        event = row.event
        values = (row.position, self._number(lane), event.event_id, event.kind, event.seq, row.put_s, event.body)
        if self._db.execute(_INSERT, values).rowcount > 0:
            self._changes["waiting", lane.sink] += 1
            self._changes["bytes", ""] += ROW_BYTES + len(event.body)

    def _number(self, lane: Lane) -> int:
        if (number := self._lanes.get(lane)) is None:
            key = (lane.stream_id, lane.sink)
            self._db.execute("INSERT INTO lanes (stream_id, sink) VALUES (?, ?) ON CONFLICT DO NOTHING", key)
            found = self._db.execute("SELECT lane FROM lanes WHERE stream_id = ? AND sink = ?", key)
            number = self._lanes[lane] = int(found.fetchone()[0])
        return number

    def head(self, lane: Lane, *, max_events: int, max_bytes: int) -> list[Waiting]:
        """The oldest events of a lane: at least one if any waits, else as many as both limits allow."""
        query = "SELECT position, put_s, event_id, kind, seq, body FROM events WHERE lane = ? ORDER BY position LIMIT ?"
        rows: list[Waiting] = []
        for position, put_s, event_id, kind, seq, body in self._db.execute(query, (self._number(lane), max_events)):
            max_bytes -= len(body)
            if rows and max_bytes < 0:
                break
            event = WireEvent(event_id=event_id, kind=kind, seq=seq, body=body)
            rows.append(Waiting(position=position, put_s=put_s, event=event))
        return rows

    def delivered(self, lane: Lane, rows: Sequence[Waiting]) -> None:
        """Forget events that have arrived."""
        for row in rows:
            self._changes["delivered", lane.sink] += self._delete(
                row.position, sink=lane.sink, body_bytes=len(row.event.body)
            )

    def bury(self, lane: Lane, rows: Sequence[Waiting], *, reason: DeadReason, now_s: float) -> None:
        """Make waiting events dead letters."""
        for row in rows:
            if self._delete(row.position, sink=lane.sink, body_bytes=len(row.event.body)):
                self._changes[reason, lane.sink] += 1
                self._insert_dead(DeadLetter(position=0, lane=lane, event=row.event, reason=reason, died_s=now_s))
        self._forget_dead()

    def adopt_dead(self, letters: Sequence[DeadLetter]) -> None:
        """Take over dead letters of another file; they were counted by the process that gave them up."""
        for letter in letters:
            self._insert_dead(letter)
        self._forget_dead()

    def _delete(self, position: int, *, sink: str, body_bytes: int) -> bool:
        if self._db.execute("DELETE FROM events WHERE position = ?", (position,)).rowcount < 1:
            return False  # it was evicted while it was on its way; no other row ever gets its position
        self._changes["waiting", sink] -= 1
        self._changes["bytes", ""] -= ROW_BYTES + body_bytes
        return True

    def _insert_dead(self, letter: DeadLetter) -> None:
        lane, event = letter.lane, letter.event
        key = (lane.stream_id, lane.sink, event.event_id, event.kind, event.seq)
        self._db.execute(_INSERT_DEAD, (*key, letter.reason, letter.died_s, event.body))
        self._changes["dead_bytes", ""] += ROW_BYTES + len(event.body)

    def _evict(self, *, now_s: float) -> None:
        while self._total("bytes") > self._max_bytes and (oldest := self.page(after=None, limit=1)):
            lane, row = oldest[0]
            self.bury(lane, [row], reason=DeadReason.OVERFLOW, now_s=now_s)

    def _forget_dead(self) -> None:
        query = "SELECT position, LENGTH(body) FROM dead_letters ORDER BY position LIMIT 1"
        while self._total("dead_bytes") > self._max_dead_bytes and (oldest := self._db.execute(query).fetchone()):
            self._db.execute("DELETE FROM dead_letters WHERE position = ?", oldest[:1])
            self._changes["dead_bytes", ""] -= ROW_BYTES + oldest[1]
            self._changes["removed", ""] += 1

    def _total(self, name: str) -> int:
        return self.totals[name, ""] + self._changes[name, ""]

    def page(self, *, after: int | None, limit: int) -> list[tuple[Lane, Waiting]]:
        """The next events of all lanes by position, oldest first."""
        # CROSS JOIN: the events are walked in their order; SQLite would else be free to begin with the lanes and sort.
        query = """
            SELECT stream_id, sink, position, put_s, event_id, kind, seq, body FROM events CROSS JOIN lanes USING (lane)
            WHERE position > ? ORDER BY position LIMIT ?"""
        after = -(2**63) if after is None else after
        return [
            (
                Lane(stream_id=stream_id, sink=sink),
                Waiting(
                    position=position,
                    put_s=put_s,
                    event=WireEvent(event_id=event_id, kind=kind, seq=seq, body=body),
                ),
            )
            for stream_id, sink, position, put_s, event_id, kind, seq, body in self._db.execute(query, (after, limit))
        ]

    def dead_page(self, *, after: int, limit: int) -> list[DeadLetter]:
        """The next dead letters, oldest first; positions begin with 1."""
        query = """
            SELECT position, stream_id, sink, event_id, kind, seq, body, reason, died_s FROM dead_letters
            WHERE position > ? ORDER BY position LIMIT ?"""
        return [
            DeadLetter(
                position=position,
                lane=Lane(stream_id=stream_id, sink=sink),
                event=WireEvent(event_id=event_id, kind=kind, seq=seq, body=body),
                reason=reason,
                died_s=died_s,
            )
            for position, stream_id, sink, event_id, kind, seq, body, reason, died_s in self._db.execute(
                query, (after, limit)
            )
        ]

    def lanes(self) -> list[Lane]:
        """The lanes in which something waits."""
        query = "SELECT stream_id, sink FROM lanes WHERE EXISTS (SELECT 1 FROM events WHERE events.lane = lanes.lane)"
        return [Lane(stream_id=stream_id, sink=sink) for stream_id, sink in self._db.execute(query)]

    def oldest_s(self) -> dict[str, float]:
        """Since when the oldest event of each sink waits, by the sink's text."""
        query = """
            SELECT sink, (SELECT put_s FROM events WHERE events.lane = lanes.lane ORDER BY position LIMIT 1)
            FROM lanes"""
        oldest: dict[str, float] = {}
        for sink, put_s in self._db.execute(query):
            if put_s is not None:
                oldest[sink] = min(put_s, oldest.get(sink, put_s))
        return oldest

    def sweep(self) -> None:
        """Forget lanes in which nothing waits, and the counts of quiet sinks when there are too many of them."""
        self._db.execute("DELETE FROM lanes WHERE NOT EXISTS (SELECT 1 FROM events WHERE events.lane = lanes.lane)")
        self._lanes.clear()
        quiet = [sink for sink in dict.fromkeys(sink for _, sink in self.totals) if sink and not self.waiting(sink)]
        forgotten = frozenset(quiet[:-MAX_QUIET_SINKS])
        for key in [key for key in self.totals if key[1] in forgotten]:
            del self.totals[key]

    def waiting(self, sink: str) -> int:
        """How many events wait for a sink."""
        return self.totals["waiting", sink] + self._changes["waiting", sink]

    def is_empty(self) -> bool:
        """Whether nothing waits and nothing was given up: then the file may go."""
        return self._total("bytes") == 0 and self._total("dead_bytes") == 0

    def close(self) -> None:
        """Close the file."""
        self._db.close()
