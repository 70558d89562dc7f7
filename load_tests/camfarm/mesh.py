"""Rigid bodies of flat faces: what vehicles are made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from load_tests.camfarm.figure import Figure, Pose
from load_tests.camfarm.geometry import Array, Colour
from load_tests.camfarm.lighting import Lighting


@dataclass(frozen=True, slots=True)
class Mesh:
    """Faces in body axes (ahead, left, up); only those turned to the camera are drawn, by layer, then far to near."""

    points: Array
    stops: Array
    normals: Array
    centres: Array
    layers: Array
    colours: tuple[Colour, ...]
    is_outline: tuple[bool, ...]
    footprint: Array

    def figure(self, pose: Pose, eye: Array) -> Figure:
        """The faces seen from `eye` with the body at `pose`."""
        turn = _turn(pose.heading)
        move = np.array([pose.x_m, pose.y_m, 0.0])
        to_eye = (eye - move) @ turn - self.centres
        seen = np.flatnonzero(np.einsum("ij,ij->i", to_eye, self.normals) > 0)
        order = seen[np.lexsort((-np.einsum("ij,ij->i", to_eye[seen], to_eye[seen]), self.layers[seen]))]
        starts = np.concatenate([[0], self.stops[:-1]])
        index = np.concatenate([np.arange(starts[face], self.stops[face]) for face in order])
        stops = tuple(np.cumsum(self.stops[order] - starts[order]).tolist())
        return Figure(
            self.points[index] @ turn.T + move,
            stops,
            tuple(self.colours[face] for face in order),
            tuple(self.is_outline[face] for face in order),
        )

    def shadow(self, pose: Pose, offset: tuple[float, float]) -> Array:
        """The footprint's corners at the ground and at each height, cast along the sun."""
        cast = self.footprint @ _turn(pose.heading).T + (pose.x_m, pose.y_m, 0.0)
        cast[:, :2] += cast[:, 2:] * np.array(offset)
        cast[:, 2] = 0.0
        return cast


def _turn(heading: tuple[float, float]) -> Array:
    ahead, left = heading
    return np.array([[ahead, -left, 0.0], [left, ahead, 0.0], [0.0, 0.0, 1.0]])


@dataclass
class MeshPen:
    """Collects faces; corners may come in any winding, `outward` says which side is outside."""

    light: Lighting
    faces: list[Array] = field(default_factory=list)
    normals: list[Array] = field(default_factory=list)
    layers: list[int] = field(default_factory=list)
    colours: list[Colour] = field(default_factory=list)
    outlines: list[bool] = field(default_factory=list)

    def face(
        self,
        corners: Sequence[Sequence[float]] | Array,
        colour: Colour,
        *,
        outward: tuple[float, float, float],
        layer: int = 0,
        glow: bool = False,
    ) -> None:
        """Add one face; layers above 0 are details inside the silhouette, glowing faces ignore the light."""
        points = np.asarray(corners, dtype=float)
        (ax, ay, az), (bx, by, bz) = (points[1] - points[0]).tolist(), (points[2] - points[0]).tolist()
        normal = np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])
        normal /= max(float(np.linalg.norm(normal)), 1e-9)
        if float(normal @ np.asarray(outward)) < 0:
            normal = -normal
        self.faces.append(points)
        self.normals.append(normal)
        self.layers.append(layer)
        self.colours.append(colour if glow else self.light.paint(colour, shade=self.light.shade(normal)))
        self.outlines.append(layer <= 1)

    def both_sides(self, profile: Array, colour: Colour, *, half_widths: Array, layer: int, glow: bool = False) -> None:
        """Add a profile (k, 2) of (ahead, up) on the left and on the right side."""
        for side in (1.0, -1.0):
            corners = np.stack([profile[:, 0], side * half_widths, profile[:, 1]], axis=1)
            self.face(corners, colour, outward=(0.0, side, 0.0), layer=layer, glow=glow)

    def mesh(self, footprint: Array) -> Mesh:
        """The finished body; `footprint` (k, 3) are the corners that cast its shadow."""
        return Mesh(
            np.concatenate(self.faces),
            np.cumsum([len(face) for face in self.faces]),
            np.array(self.normals),
            np.array([face.mean(axis=0) for face in self.faces]),
            np.array(self.layers),
            tuple(self.colours),
            tuple(self.outlines),
            footprint,
        )


def inset(quad: Array, share: float) -> Array:
    """A quad (4, 3) shrunk towards its centre by a share of its size."""
    centre = quad.mean(axis=0)
    smaller: Array = centre + (quad - centre) * (1 - share)
    return smaller
