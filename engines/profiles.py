"""Optimisation profiles: for which batches and sizes a plan was tuned, and which of them a batch goes to."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.core.errors import ModelError


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class BatchShape:
    """So many canvases of one size."""

    batch: int
    height_px: int
    width_px: int

    @property
    def pixels(self) -> int:
        """How many pixels all of them have."""
        return self.batch * self.height_px * self.width_px


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Every shape from `smallest` to `largest`, fastest at `best`."""

    smallest: BatchShape
    best: BatchShape
    largest: BatchShape

    def takes(self, shape: BatchShape) -> bool:
        """Return whether the shape lies in this profile, wholly."""
        low, high = self.smallest, self.largest
        return (
            low.batch <= shape.batch <= high.batch
            and low.height_px <= shape.height_px <= high.height_px
            and low.width_px <= shape.width_px <= high.width_px
        )


def _profile(batches: tuple[int, int, int], sides_px: tuple[int, int, int]) -> Profile:
    smallest, best, largest = (
        BatchShape(batch=batch, height_px=side_px, width_px=side_px)
        for batch, side_px in zip(batches, sides_px, strict=True)
    )
    return Profile(smallest=smallest, best=best, largest=largest)


WIDE = _profile((1, 4, 8), (320, 640, 1280))
"""Source: MISSION 71."""
SIZES = tuple(_profile((1, 4, 8), (side_px, side_px, side_px)) for side_px in (512, 768, 1024))
"""One size each, for which less memory is set aside than for a range. Source: MISSION 26."""
DEFAULTS = (WIDE, *SIZES)


def clipped(
    profiles: Sequence[Profile], *, batch: int | None, height_px: int | None, width_px: int | None
) -> list[Profile]:
    """Return the profiles within what the model's own input allows, None where it is free, each once.

    A side that the model fixes has no range, so profiles that differ only there become one per range of batches.
    """

    def shape(wished: BatchShape) -> BatchShape:
        return BatchShape(
            batch=batch or wished.batch, height_px=height_px or wished.height_px, width_px=width_px or wished.width_px
        )

    within = (
        Profile(smallest=shape(profile.smallest), best=shape(profile.best), largest=shape(profile.largest))
        for profile in profiles
    )
    return list(dict.fromkeys(within))


def profile_for(profiles: Sequence[Profile], shape: BatchShape) -> int:
    """Return the index of the narrowest profile that takes the whole shape, the first of equals; ModelError if none."""
    taking = [index for index, profile in enumerate(profiles) if profile.takes(shape)]
    if not taking:
        raise ModelError(
            f"no optimisation profile takes {shape.batch} canvases of {shape.width_px} x {shape.height_px} px"
        )
    return min(taking, key=lambda index: profiles[index].largest.pixels - profiles[index].smallest.pixels)


def batches_for(profiles: Sequence[Profile], *, height_px: int, width_px: int) -> tuple[int, ...]:
    """Return the batches to prepare for one canvas size: powers of two and the largest; smaller ones are padded up.

    Empty where no profile takes the size.
    """
    ranges = [
        (profile.smallest.batch, profile.largest.batch)
        for profile in profiles
        if profile.smallest.height_px <= height_px <= profile.largest.height_px
        and profile.smallest.width_px <= width_px <= profile.largest.width_px
    ]
    if not ranges:
        return ()
    largest = max(high for _, high in ranges)
    candidates = {1 << power for power in range(largest.bit_length())} | {largest}
    return tuple(sorted(size for size in candidates if any(low <= size <= high for low, high in ranges)))
