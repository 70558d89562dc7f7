import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import SnapshotError
from app.core.frame import Detections
from app.tracking import snapshot
from app.tracking.bytetrack import IDS_PER_EPOCH, ByteTracker
from app.tracking.motion import BELIEF_ROWS
from app.tracking.parameters import TrackerParameters
from app.tracking.snapshot import decode, encode
from app.tracking.table import ROW_NAMES
from tests.unit.tracking.scenes import at, box, ids, make_tracker, run, steps, still, walkers

PARAMETERS = TrackerParameters()
Outputs = list[tuple[list[int], bytes]]


def busy_scene(seed: int, *, count: int = 60) -> list[Detections]:
    """Walkers with noise, misses, low scores, false alarms, late stamps and a restart of the source."""
    rng, boxes, frames = np.random.default_rng(seed), walkers(seed, count=12), []
    times_s = np.cumsum(rng.choice([1 / 30, 1 / 30 + 1e-9, 1 / 15, 0.4, -0.02], count))
    for number, time_s in enumerate(times_s.tolist()):
        seen = rng.permutation(12)[: rng.integers(0, 13)]
        corner = rng.uniform(0, 900, (2, 2))
        alarms = np.concatenate([corner, corner + np.array([30, 60])], axis=1)
        found = np.concatenate([boxes(time_s)[seen] + rng.normal(0, 1.5, (len(seen), 4)), alarms])
        stamp_s = [time_s, time_s - 500.0][number > count * 0.7]
        frames.append(at(stamp_s, found.tolist(), score=rng.uniform(0.05, 1.0, len(found)).tolist()))
    return frames


def followed(tracker: ByteTracker, frames: list[Detections]) -> Outputs:
    return [(ids(tracker.update(frame)), tracker.snapshot()) for frame in frames]


def made(**knobs: float | bool) -> bytes:
    tracker = make_tracker(**knobs)
    run(tracker, still([box(100), box(300)], steps(5, fps=30)))
    tracker.update(at(0.2, [box(100), box(300), box(600)]))
    return tracker.snapshot()


def resealed(change: Callable[[dict], None] = lambda _: None, *, table: Callable[[np.ndarray], None] | None = None):
    """A snapshot whose header or table was changed and whose checksum is right all the same."""
    first, line, raw = made()[:-32].split(b"\n", 2)
    header = json.loads(line)
    change(header)
    block = np.frombuffer(raw, "<f8").reshape(len(ROW_NAMES), -1).copy()
    if table is not None:
        table(block)
    return sealed(b"\n".join([first, json.dumps(header).encode(), block.tobytes()]))


def sealed(body: bytes) -> bytes:
    return body + sha256(body).digest()


@pytest.mark.parametrize("cut", [0, 1, 7, 30, 45, 59])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_restored_tracker_goes_on_bit_for_bit(seed: int, cut: int):
    frames = busy_scene(seed)
    tracker = make_tracker(epoch=3)
    run(tracker, frames[:cut])
    restored = ByteTracker.restore(tracker.snapshot(), PARAMETERS)
    expected = followed(tracker, frames[cut:])
    assert followed(restored, frames[cut:]) == expected
    assert sum(track_id > 0 for found, _ in expected for track_id in found) > 0


def test_restored_tracker_knows_which_boxes_the_rim_cuts():
    frames = [at(number / 10, [[1800.0 - 40 * number, 200.0, 1920.0, 300.0]]) for number in range(8)]
    tracker = make_tracker()
    run(tracker, frames[:4])
    state = decode(tracker.snapshot(), PARAMETERS)
    assert state.block[ROW_NAMES.index("x_side")].tolist() == [1.0]
    restored = ByteTracker.restore(tracker.snapshot(), PARAMETERS)
    state.block[ROW_NAMES.index("x_side")] = 0.0
    broken = ByteTracker.restore(encode(state, PARAMETERS), PARAMETERS)
    expected = followed(tracker, frames[4:])
    assert followed(restored, frames[4:]) == expected
    assert followed(broken, frames[4:]) != expected


@pytest.mark.parametrize("forgotten", ["step_s", "next_id", "frame", "clock", "block"])
def test_the_comparison_notices_state_that_was_not_carried_over(forgotten: str):
    frames = still([box(100), box(300)], [0.0, 0.1, 0.2, 0.3, 0.4 + 1e-9])
    more = still([box(100), box(300), box(500)], [0.5 + 2e-9, 0.6 + 2e-9])
    tracker = make_tracker()
    run(tracker, frames)
    state = decode(tracker.snapshot(), PARAMETERS)
    lost = {
        "step_s": state.step_s + 5e-8,
        "next_id": state.next_id + 1,
        "frame": state.frame + 1,
        "clock": state.clock._replace(newest_s=0.3),
        "block": np.nextafter(state.block, 1e9, where=np.arange(len(ROW_NAMES))[:, None] < 4, out=state.block.copy()),
    }
    broken = ByteTracker.restore(encode(state._replace(**{forgotten: lost[forgotten]}), PARAMETERS), PARAMETERS)
    assert followed(broken, more) != followed(tracker, more)


def test_snapshot_changes_nothing_and_is_repeatable():
    frames = busy_scene(4)
    alone, watched = make_tracker(), make_tracker()
    assert [ids_ for ids_, _ in followed(watched, frames)] == run(alone, frames)
    assert alone.snapshot() == watched.snapshot() == watched.snapshot()


def test_snapshot_of_a_restored_tracker_is_the_same_bytes():
    data = made()
    assert ByteTracker.restore(data, PARAMETERS).snapshot() == data


def test_ids_go_on_after_those_given():
    tracker = make_tracker(epoch=7)
    run(tracker, still([box(100)], steps(3, fps=30)))
    restored = ByteTracker.restore(tracker.snapshot(), PARAMETERS)
    assert restored.epoch == 7
    assert run(restored, still([box(100), box(500)], [0.1, 0.15]))[-1] == [
        7 * IDS_PER_EPOCH + 1,
        7 * IDS_PER_EPOCH + 2,
    ]


@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=12, max_size=12))
def test_every_float64_survives_exactly(values: list[float]):
    state = decode(made(), PARAMETERS)
    state.block[:2].flat = values[:6]
    state.block[4:6].flat = values[6:]
    state = state._replace(clock=state.clock._replace(newest_s=values[0]))
    back = decode(encode(state, PARAMETERS), PARAMETERS)
    assert back.block.tobytes() == state.block.tobytes()
    assert np.float64(back.clock.newest_s).tobytes() == np.float64(values[0]).tobytes()


def test_every_flipped_bit_is_refused():
    data = made()
    for place in range(8 * len(data)):
        broken = bytearray(data)
        broken[place // 8] ^= 1 << place % 8
        with pytest.raises(SnapshotError):
            decode(bytes(broken), PARAMETERS)


def test_every_truncation_and_every_addition_is_refused():
    data = made()
    for size in range(len(data)):
        with pytest.raises(SnapshotError):
            decode(data[:size], PARAMETERS)
    with pytest.raises(SnapshotError, match="checksum"):
        decode(data + b"\0", PARAMETERS)


@given(data=st.binary(max_size=200))
def test_any_bytes_are_refused_even_with_a_right_checksum(data: bytes):
    for body in (data, b"sightline-tracks 2\n" + data):
        with pytest.raises(SnapshotError):
            ByteTracker.restore(sealed(body), PARAMETERS)


@pytest.mark.parametrize("header", [b"[" * 4000, b"null", b"{}", b'{"epoch":' + b"9" * 3000 + b"}", b" " * 5000])
def test_headers_that_are_none_are_refused(header: bytes):
    with pytest.raises(SnapshotError):
        decode(sealed(b"sightline-tracks 2\n" + header + b"\n"), PARAMETERS)


def test_another_version_is_refused_by_name():
    with pytest.raises(SnapshotError, match="another version"):
        decode(sealed(made()[:-32].replace(b"tracks 2\n", b"tracks 1\n", 1)), PARAMETERS)


@pytest.mark.parametrize("name", TrackerParameters.__dataclass_fields__)
def test_other_parameters_are_refused(name: str):
    value = getattr(PARAMETERS, name)
    other = replace(PARAMETERS, **{name: {bool: False, int: 3, float: value / 2}[type(value)]})
    with pytest.raises(SnapshotError, match="parameters"):
        ByteTracker.restore(made(), other)


def test_resealing_alone_is_accepted():
    assert ByteTracker.restore(resealed(), PARAMETERS).snapshot() == made()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epoch", -1),
        ("epoch", 1),
        ("epoch", 10**300),
        ("epoch", True),
        ("next_id", 2),
        ("next_id", 10**300),
        ("frame", 1),
        ("frame", "6"),
        ("step_s", float("nan")),
        ("step_s", -0.5),
        ("now_s", 0.1),
        ("now_s", 1),
        ("newest_s", float("inf")),
        ("is_pts", 1),
        ("confirmed", 1),
        ("confirmed", 10**300),
        ("tracks", 2),
        ("tracks", -3),
        ("rows", ["x"]),
    ],
)
def test_impossible_headers_are_refused(name: str, value: object):
    with pytest.raises(SnapshotError):
        decode(resealed(lambda header: header.update({name: value})), PARAMETERS)


@pytest.mark.parametrize("name", ["epoch", "next_id", "step_s", "newest_s", "is_pts", "tracks", "rows", "parameters"])
def test_a_header_that_lacks_a_field_is_refused(name: str):
    with pytest.raises(SnapshotError):
        decode(resealed(lambda header: header.pop(name)), PARAMETERS)


@pytest.mark.parametrize(
    ("row", "value"),
    [
        ("x", np.nan),
        ("width", 0.0),
        ("track_id", 2.0),
        ("x_side", 0.5),
        ("y_side", 2.0),
        ("label", 0.5),
        ("label", 1e300),
        ("begun", 99.0),
        ("seen", 0.0),
    ],
)
def test_impossible_tables_are_refused(row: str, value: float):
    def plant(block: np.ndarray) -> None:
        block[ROW_NAMES.index(row), 0] = value

    with pytest.raises(SnapshotError):
        decode(resealed(table=plant), PARAMETERS)


def test_size_is_bounded_in_writing_and_in_reading(monkeypatch: pytest.MonkeyPatch):
    data = made()
    with pytest.raises(SnapshotError, match="at most"):
        decode(bytes(snapshot.MAX_BYTES + 1), PARAMETERS)
    monkeypatch.setattr(snapshot, "MAX_TRACKS", 2)
    with pytest.raises(SnapshotError, match="at most 2 tracks"):
        decode(data, PARAMETERS)
    tracker = make_tracker()
    tracker.update(at(0.0, [box(100), box(300), box(500)]))
    with pytest.raises(SnapshotError, match="at most 2 tracks"):
        tracker.snapshot()


def test_time_that_is_not_finite_is_not_written():
    tracker = make_tracker(max_lost_s=1e308)
    run(tracker, [at(-1.7e308, []), at(1.7e308, [])])
    with pytest.raises(SnapshotError, match="not finite"):
        tracker.snapshot()


def test_every_row_of_the_table_has_a_name():
    assert len(set(ROW_NAMES)) == len(ROW_NAMES) == BELIEF_ROWS + 5
