"""What may be done to a picture before it is fitted: small steps in a declared order, each with its own condition."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import cv2
import numpy as np

from app.core.frame import Frame, Pixels

_COMPARISONS = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """A condition on the picture as it arrives at the step: `width_px > 1024`; `pixels` is width times height."""

    attribute: Literal["width_px", "height_px", "pixels"]
    op: Literal[">", ">=", "<", "<=", "==", "!="]
    value: float

    def holds(self, frame: Frame) -> bool:
        """Return whether the condition is met."""
        height_px, width_px = frame.rgb.shape[:2]
        sizes = {"width_px": width_px, "height_px": height_px, "pixels": width_px * height_px}
        return bool(_COMPARISONS[self.op](sizes[self.attribute], self.value))


class Step(Protocol):
    """One operation: a new frame of the same source, never a change to the given one."""

    @property
    def when(self) -> When | None:
        """The condition under which the step is taken; None for always."""

    def __call__(self, frame: Frame) -> Frame:
        """Return the frame with the step done to its picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clahe:
    """Local contrast on the lightness alone (L of CIELAB), so that colours stay: helps at night and in backlight.

    `clip_limit` > 0 bounds the amplification, `tiles` is the grid's side. Source: Zuiderveld, Graphics Gems IV, 1994.
    """

    clip_limit: float = 2.0
    tiles: int = 8
    when: When | None = None
    kind: Literal["clahe"] = "clahe"

    def __post_init__(self) -> None:
        if not (self.clip_limit > 0 and 1 <= self.tiles <= 64):  # noqa: PLR2004 - finer grids see only noise
            raise ValueError("clip_limit must be over 0 and tiles in [1, 64]")

    def __call__(self, frame: Frame) -> Frame:
        """Return the frame with evened-out lightness."""
        lab = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2LAB)
        lightness = cv2.extractChannel(lab, 0)
        cv2.createCLAHE(self.clip_limit, (self.tiles, self.tiles)).apply(lightness, lightness)
        cv2.insertChannel(lightness, lab, 0)
        return _with_rgb(frame, cv2.cvtColor(lab, cv2.COLOR_LAB2RGB, dst=lab))


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxSide:
    """Shrinks until neither side is longer than `px`; never enlarges.

    "lanczos" is the sharper, "area" the cheaper filter. OpenCV's Lanczos does not widen with the ratio and would
    alias, so beyond one half area averaging goes first.
    """

    px: int
    filter: Literal["area", "lanczos"] = "area"
    when: When | None = None
    kind: Literal["max_side"] = "max_side"

    def __post_init__(self) -> None:
        if self.px < 1:
            raise ValueError("px must be at least 1")

    def __call__(self, frame: Frame) -> Frame:
        """Return the frame with its longer side at most `px`."""
        height_px, width_px = frame.rgb.shape[:2]
        scale = self.px / max(height_px, width_px)
        if scale >= 1:
            return frame
        # By the source's own aspect: a decoder that scaled has rounded one side up already.
        longer_px = max(frame.source_width_px, frame.source_height_px)
        width_px = max(round(self.px * frame.source_width_px / longer_px), 1)
        height_px = max(round(self.px * frame.source_height_px / longer_px), 1)
        rgb: Pixels = frame.rgb
        if self.filter == "area":
            return _with_rgb(frame, cv2.resize(rgb, (width_px, height_px), interpolation=cv2.INTER_AREA))
        if scale < 1 / 2:
            rgb = _bytes(cv2.resize(rgb, (2 * width_px, 2 * height_px), interpolation=cv2.INTER_AREA))
        return _with_rgb(frame, cv2.resize(rgb, (width_px, height_px), interpolation=cv2.INTER_LANCZOS4))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grey:
    """Takes the colour out (BT.601 luma in all three channels): what an infrared camera's model was trained on."""

    when: When | None = None
    kind: Literal["grey"] = "grey"

    def __call__(self, frame: Frame) -> Frame:
        """Return the frame without colour."""
        luma = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY)
        return _with_rgb(frame, cv2.cvtColor(luma, cv2.COLOR_GRAY2RGB))


def run_steps(frame: Frame, steps: Sequence[Step]) -> Frame:
    """Return the frame after every step, in order, whose condition holds when its turn comes."""
    for step in steps:
        if step.when is None or step.when.holds(frame):
            frame = step(frame)
    return frame


def _bytes(array: object) -> Pixels:
    """Return OpenCV's answer as what it is here: 8-bit pixels."""
    return np.asarray(array, dtype=np.uint8)


def _with_rgb(frame: Frame, rgb: object) -> Frame:
    """Return the frame with another picture; the source's size stays, so boxes still find their way back."""
    return replace(frame, rgb=_bytes(rgb))
