"""A tracker as bytes and back, bit for bit, so that identities outlive the process that gave them.

    sightline-tracks 2⏎                     format and version
    {"parameters": …, "rows": […], …}⏎      JSON: all scalars, the names of the rows, the number of tracks
    rows x tracks float64, little-endian    the table, row by row
    SHA-256 of all bytes before             32 bytes

JSON names and types what is read and its shortest decimals give each finite float64 back exactly; the table as JSON
would be twice the size, so it stays raw. Nothing in the bytes is ever executed.

Source: MISSION.md row 101.
"""

import json
from dataclasses import asdict
from hashlib import sha256
from math import isfinite
from typing import Any, Final, NamedTuple

import numpy as np

from app.core.errors import SnapshotError
from app.tracking.clock import ClockState
from app.tracking.motion import BELIEF_ROWS, UNSTEPPED_S, Array
from app.tracking.parameters import TrackerParameters
from app.tracking.table import IDS_PER_EPOCH, ROW_NAMES, UNCONFIRMED

VERSION: Final = 2
"""Grows whenever old bytes would be read, or go on, otherwise than they were meant."""
MAX_TRACKS: Final = 8192
"""More than a scene of 300 detections a frame can hold within seconds; 1.2 MB."""
_MAX_HEADER_BYTES = 4096
_DIGEST_BYTES = 32
_MAGIC = b"sightline-tracks "
_FIRST_LINE = _MAGIC + str(VERSION).encode() + b"\n"
MAX_BYTES: Final = len(_FIRST_LINE) + _MAX_HEADER_BYTES + 8 * len(ROW_NAMES) * MAX_TRACKS + _DIGEST_BYTES
"""No snapshot is larger."""
_MAX_EPOCH = (1 << 53) // IDS_PER_EPOCH - 1  # ids stay exact in a float64
_INT32 = np.iinfo(np.int32)


class TrackerState(NamedTuple):
    """All that what a tracker says next depends on, besides its parameters.

    `frame` counts the frames seen, `step_s` is that of `BoxMotion`, `block` `(rows, n)` is the table with the rows of
    `ROW_NAMES`, of whose tracks the first `confirmed` have ids below `next_id`.
    """

    epoch: int
    next_id: int
    frame: int
    step_s: float
    clock: ClockState
    confirmed: int
    block: Array


def encode(state: TrackerState, parameters: TrackerParameters) -> bytes:
    """The state as at most `MAX_BYTES` bytes; equal states give equal bytes.

    SnapshotError when there are more than `MAX_TRACKS` tracks, or a number is not one that `decode` would take.
    """
    _check(state)
    clock = state.clock
    header = {
        "parameters": asdict(parameters),
        "epoch": state.epoch,
        "next_id": state.next_id,
        "frame": state.frame,
        "step_s": float(state.step_s),
        "now_s": float(clock.now_s),
        "newest_s": None if clock.newest_s is None else float(clock.newest_s),
        "is_pts": clock.is_pts,
        "confirmed": state.confirmed,
        "tracks": state.block.shape[1],
        "rows": ROW_NAMES,
    }
    line = json.dumps(header, allow_nan=False, separators=(",", ":")).encode() + b"\n"
    body = _FIRST_LINE + line + state.block.astype("<f8").tobytes()
    return body + sha256(body).digest()


def decode(data: bytes, parameters: TrackerParameters) -> TrackerState:
    """The state that was encoded; SnapshotError unless `data` is whole, of this version and of these parameters."""
    if len(data) > MAX_BYTES:
        raise SnapshotError(f"a snapshot has at most {MAX_BYTES} bytes")
    if not data.startswith(_FIRST_LINE):
        raise SnapshotError("a snapshot of another version" if data.startswith(_MAGIC) else "not a snapshot")
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if sha256(body).digest() != digest:
        raise SnapshotError("the snapshot is broken: its checksum differs")
    line, _, raw = body[len(_FIRST_LINE) :].partition(b"\n")
    header = _parse(line)
    if header.get("parameters") != asdict(parameters):
        raise SnapshotError("the snapshot was made with other tracker parameters")
    tracks = _whole(header, "tracks")
    if header.get("rows") != list(ROW_NAMES) or len(raw) != 8 * len(ROW_NAMES) * tracks:
        raise SnapshotError("the snapshot's table has another shape")
    newest_s = None if header.get("newest_s", 0) is None else _real(header, "newest_s")
    state = TrackerState(
        epoch=_whole(header, "epoch"),
        next_id=_whole(header, "next_id"),
        frame=_whole(header, "frame"),
        step_s=_real(header, "step_s"),
        clock=ClockState(_real(header, "now_s"), newest_s, _flag(header, "is_pts")),
        confirmed=_whole(header, "confirmed"),
        block=np.frombuffer(raw, "<f8").reshape(len(ROW_NAMES), tracks).astype(np.float64),
    )
    _check(state)
    return state


def _parse(line: bytes) -> dict[str, Any]:
    try:
        header = json.loads(line) if len(line) < _MAX_HEADER_BYTES else None
    except (ValueError, RecursionError) as error:
        raise SnapshotError("the snapshot's header is not JSON") from error
    if not isinstance(header, dict):
        raise SnapshotError("the snapshot's header is not an object of a few fields")
    return header


def _whole(header: dict[str, Any], name: str) -> int:
    return int(_typed(header, name, kind=int))


def _real(header: dict[str, Any], name: str) -> float:
    return float(_typed(header, name, kind=float))


def _flag(header: dict[str, Any], name: str) -> bool:
    return bool(_typed(header, name, kind=bool))


def _typed(header: dict[str, Any], name: str, *, kind: type[int | float | bool]) -> Any:
    value = header.get(name)
    if type(value) is not kind:
        raise SnapshotError(f"the snapshot's {name} is missing or of another type")
    return value


def _check(state: TrackerState) -> None:
    """SnapshotError unless a tracker can be in this state."""
    count, clock = state.block.shape[1], state.clock
    if count > MAX_TRACKS:
        raise SnapshotError(f"a snapshot holds at most {MAX_TRACKS} tracks")
    if not (0 <= state.epoch <= _MAX_EPOCH and 0 <= state.confirmed <= count and state.next_id < 1 << 53):
        raise SnapshotError("an epoch, an id or a count of the tracker's state is out of range")
    numbers = (state.step_s, clock.now_s, clock.newest_s or 0.0)
    if not all(map(isfinite, numbers)) or not np.isfinite(state.block).all():
        raise SnapshotError("a number of the tracker's state is not finite")
    track_id, label, begun, seen, seen_s = state.block[ROW_NAMES.index("track_id") :]
    ids = np.concatenate(([state.epoch * IDS_PER_EPOCH], track_id[: state.confirmed], [state.next_id]))
    is_possible = (
        (state.step_s >= 0 or state.step_s == UNSTEPPED_S)
        and clock.now_s >= 0
        and (np.diff(ids) > 0).all()  # the older track was confirmed first
        and (track_id[state.confirmed :] == UNCONFIRMED).all()
        and ((label >= _INT32.min) & (label <= _INT32.max) & (label == label.round())).all()
        and ((begun > 0) & (begun <= seen) & (seen <= state.frame)).all()
        and (seen_s <= clock.now_s).all()
        and (state.block[2:4] > 0).all()
        and np.isin(state.block[BELIEF_ROWS - 2 : BELIEF_ROWS], (-1, 0, 1)).all()
    )
    if not is_possible:
        raise SnapshotError("no tracker can be in the state of this snapshot")
