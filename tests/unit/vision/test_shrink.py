"""A smaller canvas shows the same picture, and what is found on it lies where it lay."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.core.query import Query
from app.vision.letterbox import fit, undo
from app.vision.shrink import shrunk
from tests.builders import make_frame, make_rgb

FRACTIONS = st.tuples(*[st.floats(0.1, 0.9)] * 4)


@given(width_px=st.integers(20, 300), height_px=st.integers(20, 300), tile=st.integers(1, 2), box=FRACTIONS)
def test_a_box_at_the_same_place_of_both_canvases_is_the_same_in_the_source(
    width_px: int, height_px: int, tile: int, box: tuple[float, float, float, float]
) -> None:
    frame = make_frame(rgb=make_rgb(width_px=width_px, height_px=height_px), query=Query(tile=tile))
    full = fit(frame, width_px=128, height_px=96)
    smaller = shrunk(full, width_px=64, height_px=32)
    assert len(smaller.canvases) == len(full.canvases)
    for before, after, canvas in zip(full.letterboxes, smaller.letterboxes, smaller.canvases, strict=True):
        assert canvas.shape == (32, 64, 3)
        on_full = undo(np.array([box]) * [128, 96, 128, 96], before)
        on_smaller = undo(np.array([box]) * [64, 32, 64, 32], after)
        assert np.allclose(on_full, on_smaller, atol=1e-2)


def test_the_picture_is_the_same_one() -> None:
    full = fit(make_frame(rgb=np.full((64, 64, 3), 200, np.uint8)), width_px=64, height_px=64)
    smaller = shrunk(full, width_px=32, height_px=32)
    assert (smaller.canvases[0] == 200).all()
    assert (smaller.ref, smaller.query, smaller.source_width_px) == (full.ref, full.query, full.source_width_px)
    assert not smaller.canvases[0].flags.writeable
