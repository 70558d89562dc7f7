"""Who is on the street at which time: endless, repeatable streams of actors."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import floor

import numpy as np

from load_tests.camfarm.actor import Actor, Label, actor
from load_tests.camfarm.bicycle import bicycle
from load_tests.camfarm.figure import Body, Figure, Pose
from load_tests.camfarm.geometry import Array
from load_tests.camfarm.lighting import Lighting
from load_tests.camfarm.person import person
from load_tests.camfarm.vehicle import car, truck

REACH_M = 42.0  # actors enter and leave this far to the side, outside every view
_IN_VIEW_M = 24.0  # length of street that a camera sees, roughly
_IDENTITIES_PER_STREAM = 1_000_000
_WALK_UP_S = 90.0  # longer than the slowest walk from the end of the street to the crossing
_DECADE_S = 10.0
_PATIENCE_S = 20.0
_HALF_LANE_M = 1.3  # a walker this far from the middle of a lane is out of it
_HALF_LENGTH_M = {Label.BICYCLE: 1.2, Label.CAR: 2.8, Label.TRUCK: 4.4}
_MAKERS: dict[Label, Callable[[np.random.Generator, Lighting], Body]] = {
    Label.PERSON: person,
    Label.BICYCLE: bicycle,
    Label.CAR: car,
    Label.TRUCK: truck,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A strip of street that actors of one kind follow along x; `direction` is +1 or -1."""

    label: Label
    y_range_m: tuple[float, float]
    direction: int
    speed_mps: tuple[float, float]
    in_view: float
    shares_speed: bool
    min_gap_m: float


def lanes(seed: int, *, density: float) -> list[Lane]:
    """The street's lanes, so filled that about `density` actors are in view; vehicles stop at their lanes' capacity."""
    rng = np.random.default_rng([seed, 201])
    wheeled = min(2.4, 0.15 * density)
    riders = min(3.0, 0.10 * density)
    walkers = max(0.0, density - 2 * wheeled - 2 * riders) / 4
    pace = float(rng.uniform(6.0, 10.5))
    found = [
        Lane(label=Label.CAR, y_range_m=(y, y), direction=direction, speed_mps=(pace * 0.9, pace * 1.1),
             in_view=wheeled, shares_speed=True, min_gap_m=8.6)
        for y, direction in ((13.9, 1), (16.9, -1))
    ]  # fmt: skip
    found += [
        Lane(label=Label.BICYCLE, y_range_m=(y - 0.3, y + 0.3), direction=direction, speed_mps=(3.6, 6.0),
             in_view=riders * share, shares_speed=True, min_gap_m=2.6)
        for y, direction, share in ((11.8, 1, 1.4), (19.0, -1, 0.6))
    ]  # fmt: skip
    found += [
        Lane(label=Label.PERSON, y_range_m=y_range, direction=direction, speed_mps=(0.9, 1.7),
             in_view=walkers * share, shares_speed=False, min_gap_m=0.0)
        for y_range, share in (((10.1, 10.9), 0.8), ((20.3, 22.2), 1.2))
        for direction in (1, -1)
    ]  # fmt: skip
    return found


class _UnseenBody:
    """A body that is made when it is first looked at: most actors of a street never are."""

    def __init__(self, label: Label, light: Lighting, *, seed: tuple[int, ...]) -> None:
        self._label, self._light, self._seed = label, light, seed

    @cached_property
    def _body(self) -> Body:
        return _MAKERS[self._label](np.random.default_rng(self._seed), self._light)

    def figure(self, pose: Pose, eye: Array) -> Figure:
        """The body's figure."""
        return self._body.figure(pose, eye)

    def shadow(self, pose: Pose, offset: tuple[float, float]) -> Array:
        """The body's shadow."""
        return self._body.shadow(pose, offset)


def _along_lane(lane: Lane, seed: int, *, light: Lighting, first_identity: int) -> Iterator[Actor]:
    """The lane's actors by the time they enter; endless, or empty when the lane is."""
    if lane.in_view <= 0:
        return
    rng = np.random.default_rng([seed, 301, first_identity])
    lane_mps = float(rng.uniform(*lane.speed_mps))
    spacing_m = _IN_VIEW_M / lane.in_view
    enters_s, before_is_truck, identity = -2 * REACH_M / lane.speed_mps[0], False, first_identity  # full at time 0
    while True:
        label = lane.label
        if label is Label.CAR and rng.random() < 0.28:
            label = Label.TRUCK
        floor_m = lane.min_gap_m + 3.4 * (label is Label.TRUCK) / 2 + 3.4 * before_is_truck / 2
        before_is_truck = label is Label.TRUCK
        gap_m = floor_m + float(rng.exponential(max(spacing_m - floor_m, 0.3)))
        enters_s += gap_m / lane_mps
        pace = lane_mps if lane.shares_speed else float(rng.uniform(*lane.speed_mps))
        y = float(rng.uniform(*lane.y_range_m))
        path = [(enters_s, -REACH_M * lane.direction, y), (enters_s + 2 * REACH_M / pace, REACH_M * lane.direction, y)]
        yield actor(identity, label, body=_UnseenBody(label, light, seed=(seed, 303, identity)), path=path)
        identity += 1


def _vehicle_row(vehicle: Actor) -> tuple[float, float, float, float, float]:
    """(leaves_s, when it passes x = 0, metres per second along x, y of its lane, half its length with a margin)."""
    (enters_s, from_x, lane_y), (leaves_s, to_x, _) = vehicle.path.tolist()
    pace_mps = (to_x - from_x) / (leaves_s - enters_s)
    return leaves_s, enters_s - from_x / pace_mps, pace_mps, lane_y, _HALF_LENGTH_M[vehicle.label]


def _free_starts_s(vehicles: Array, starts_s: Array, *, x_m: float, begin_y: float, pace_mps: float) -> list[float]:
    """Those of the times at which one can step out at x_m and walk over without meeting a vehicle in its own lane.

    `vehicles` (k, 5) are rows of `_vehicle_row`; `pace_mps` is negative for those who walk towards the camera.
    """
    _, passes_zero_s, vehicle_mps, lane_y, half_m = vehicles.T
    passes_s = passes_zero_s + x_m / vehicle_mps
    in_lane_s = starts_s[:, None] + (lane_y - begin_y) / pace_mps
    apart_s = half_m / np.abs(vehicle_mps) + _HALF_LANE_M / abs(pace_mps)
    is_free = np.all(np.abs(in_lane_s - passes_s) > apart_s, axis=1)
    return [float(start_s) for start_s in starts_s[is_free]]


class Traffic:
    """All actors of a scene; grows forward in time as it is asked, the same whatever is asked first."""

    def __init__(self, seed: int, light: Lighting, *, density: float, crossing_x_m: float) -> None:
        self._lanes = [
            _along_lane(lane, seed, light=light, first_identity=at * _IDENTITIES_PER_STREAM + 1)
            for at, lane in enumerate(lanes(seed, density=density))
        ]
        self._seed, self._light = seed, light
        self._crossing_x_m = crossing_x_m
        self._crossing_rng = np.random.default_rng([seed, 302])
        self._crossing_every_s = max(5.0, 120.0 / max(density, 1e-6))
        self._next_crossing_s = -10.0
        self._crossing_identity = 90 * _IDENTITIES_PER_STREAM
        self._heads: list[Actor | None] = [next(lane, None) for lane in self._lanes]
        self._vehicles: list[tuple[float, float, float, float, float]] = []
        self._by_decade: defaultdict[int, list[Actor]] = defaultdict(list)

    def between(self, begin_s: float, end_s: float) -> list[Actor]:
        """Actors on the street at any time in [begin_s, end_s], by identity."""
        self._grow(end_s)
        decades = range(floor(begin_s / _DECADE_S), floor(end_s / _DECADE_S) + 1)
        near = {one.identity: one for decade in decades for one in self._by_decade[decade]}
        found = [one for one in near.values() if one.enters_s <= end_s and one.leaves_s >= begin_s]
        return sorted(found, key=lambda one: one.identity)

    def _add(self, actor: Actor) -> None:
        for decade in range(floor(actor.enters_s / _DECADE_S), floor(actor.leaves_s / _DECADE_S) + 1):
            self._by_decade[decade].append(actor)
        if actor.label is not Label.PERSON:
            self._vehicles.append(_vehicle_row(actor))

    def _grow(self, until_s: float) -> None:
        self._grow_lanes(until_s)
        # Those who will cross later are already walking up to the crossing.
        while self._next_crossing_s < until_s + _WALK_UP_S:
            self._grow_lanes(self._next_crossing_s + _WALK_UP_S)
            crosser = self._crosser(self._next_crossing_s)
            if crosser is not None:
                self._add(crosser)
            self._next_crossing_s += self._crossing_every_s * float(self._crossing_rng.uniform(0.6, 1.4))

    def _grow_lanes(self, until_s: float) -> None:
        for at, lane in enumerate(self._lanes):
            head = self._heads[at]
            while head is not None and head.enters_s <= until_s:
                self._add(head)
                head = next(lane, None)
            self._heads[at] = head

    def _crosser(self, arrives_s: float) -> Actor | None:
        """Someone who walks up, waits for a gap, crosses and walks off; nobody when no gap comes in time."""
        rng = self._crossing_rng
        pace, outward, start = float(rng.uniform(1.1, 1.5)), bool(rng.random() < 0.5), float(rng.choice([-1.0, 1.0]))
        side_x = self._crossing_x_m + float(rng.uniform(-1.0, 1.0))
        identity = self._crossing_identity
        self._crossing_identity += 1
        body = _UnseenBody(Label.PERSON, self._light, seed=(self._seed, 303, identity))
        near, far = 10.6 + float(rng.uniform(-0.3, 0.2)), 20.6 + float(rng.uniform(0.0, 1.0))
        begin_y, end_y = (near, far) if outward else (far, near)
        walk_s = abs(start * REACH_M - side_x) / pace
        self._vehicles = [row for row in self._vehicles if row[0] > arrives_s]
        vehicles = np.array(self._vehicles).reshape(-1, 5)
        pace_y = pace if outward else -pace
        starts_s = arrives_s + np.arange(0.3, _PATIENCE_S, 0.5)
        free_s = _free_starts_s(vehicles, starts_s, x_m=side_x, begin_y=begin_y, pace_mps=pace_y)
        if not free_s:
            return None
        over_s = free_s[0] + (far - near) / pace
        away_s = over_s + abs(-start * REACH_M - side_x) / pace
        path = [
            (arrives_s - walk_s, start * REACH_M, begin_y),
            (arrives_s, side_x, begin_y),
            (free_s[0], side_x, begin_y),
            (over_s, side_x, end_y),
            (away_s, -start * REACH_M, end_y),
        ]
        return actor(identity, Label.PERSON, body=body, path=path)
