"""Onto the canvas and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.frame import Pixels
from app.core.query import Query, Region
from app.vision.letterbox import PAD_VALUE, fit, needed_scale, undo
from tests.builders import make_frame, make_letterbox, make_ref, make_rgb

SIDES = st.integers(1, 90)
FRACTIONS = st.tuples(st.integers(0, 19), st.integers(1, 20)).filter(lambda pair: pair[0] < pair[1])


def rois():
    return st.tuples(FRACTIONS, FRACTIONS).map(lambda xy: (xy[0][0] / 20, xy[1][0] / 20, xy[0][1] / 20, xy[1][1] / 20))


def picture_with_block(*, width_px: int, height_px: int, block: tuple[int, int, int, int]):
    rgb = np.zeros((height_px, width_px, 3), np.uint8)
    x1, y1, x2, y2 = block
    rgb[y1:y2, x1:x2] = 255
    return rgb


def box_of_white(canvas: Pixels):
    """The box of everything over half white, the padding being darker."""
    rows, columns = np.nonzero(canvas.min(axis=2) > 127)
    return np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], dtype=np.float32)


def test_aspect_is_kept_and_the_rest_is_grey() -> None:
    fitted = fit(make_frame(rgb=make_rgb(width_px=192, height_px=108)), width_px=64, height_px=64)
    (canvas,), (box,) = fitted.canvases, fitted.letterboxes
    assert canvas.shape == (64, 64, 3)
    assert (box.scale_x, box.scale_y, box.pad_x_px, box.pad_y_px) == (1 / 3, 36 / 108, 0, 14)
    assert (canvas[:14] == PAD_VALUE).all()
    assert (canvas[50:] == PAD_VALUE).all()
    assert (canvas[14:50] != PAD_VALUE).any(axis=(1, 2)).all()


def test_an_upright_picture_is_padded_left_and_right() -> None:
    fitted = fit(make_frame(rgb=make_rgb(width_px=10, height_px=40)), width_px=64, height_px=64)
    assert fitted.letterboxes[0].pad_x_px == 24
    assert (fitted.canvases[0][:, :24] == PAD_VALUE).all()
    assert (fitted.canvases[0][:, 40:] == PAD_VALUE).all()


def test_a_frame_of_the_canvas_size_is_not_copied() -> None:
    frame = make_frame(rgb=make_rgb(width_px=64, height_px=48))
    fitted = fit(frame, width_px=64, height_px=48)
    assert fitted.canvases[0] is not None
    assert np.shares_memory(fitted.canvases[0], frame.rgb)


def test_who_asked_what_of_which_frame_travels_along() -> None:
    frame = make_frame(ref=make_ref(stream_id="gate", seq=7), query=Query(conf=0.5))
    fitted = fit(frame, width_px=32, height_px=32)
    assert (fitted.ref, fitted.query, fitted.timings) == (frame.ref, frame.query, frame.timings)


@pytest.mark.parametrize("decoded", [(960, 540), (480, 270), (241, 135)])
def test_scale_is_from_source_pixels_even_when_the_decoder_has_shrunk_the_frame(decoded: tuple[int, int]) -> None:
    frame = make_frame(rgb=make_rgb(width_px=decoded[0], height_px=decoded[1]), source=(1920, 1080))
    (box,) = fit(frame, width_px=64, height_px=64).letterboxes
    assert (box.scale_x, box.scale_y) == (pytest.approx(64 / 1920), pytest.approx(36 / 1080))
    assert (box.width_px, box.height_px) == (pytest.approx(1920), pytest.approx(1080))


@pytest.mark.parametrize("size", [(640, 360), (200, 120), (64, 40), (37, 90)])
def test_what_is_seen_on_the_canvas_is_found_where_it_lies_in_the_source(size: tuple[int, int]) -> None:
    width_px, height_px = size
    block = (width_px // 4, height_px // 3, width_px // 2, 3 * height_px // 4)
    fitted = fit(
        make_frame(rgb=picture_with_block(width_px=width_px, height_px=height_px, block=block)),
        width_px=160,
        height_px=160,
    )
    found = undo(box_of_white(fitted.canvases[0]), fitted.letterboxes[0])
    one_model_pixel = 1 / fitted.letterboxes[0].scale_x
    np.testing.assert_allclose(found, [block], atol=one_model_pixel + 0.5)


def test_a_region_of_interest_fills_the_canvas_and_boxes_come_back_to_the_whole_picture() -> None:
    rgb = picture_with_block(width_px=200, height_px=100, block=(120, 60, 140, 80))
    fitted = fit(make_frame(rgb=rgb, query=Query(roi=(0.5, 0.5, 1.0, 1.0))), width_px=100, height_px=100)
    (box,) = fitted.letterboxes
    assert (box.offset_x_px, box.offset_y_px, box.width_px, box.height_px) == (100, 50, 100, 50)
    np.testing.assert_allclose(undo(box_of_white(fitted.canvases[0]), box), [[120, 60, 140, 80]], atol=0.51)


def test_tiles_follow_the_whole_view_and_cover_the_picture_with_overlap() -> None:
    fitted = fit(make_frame(rgb=make_rgb(width_px=360, height_px=180), query=Query(tile=2)), width_px=64, height_px=64)
    whole, *tiles = fitted.letterboxes
    assert (whole.width_px, whole.height_px) == (360, 180)
    assert [(t.offset_x_px, t.offset_y_px) for t in tiles] == [(0, 0), (160, 0), (0, 80), (160, 80)]
    assert {(t.width_px, t.height_px) for t in tiles} == {(200, 100)}
    assert len(fitted.canvases) == 5


@given(width_px=SIDES, height_px=SIDES, roi=rois(), tile=st.integers(1, 4), model=st.tuples(SIDES, SIDES))
def test_undo_is_the_exact_inverse_for_any_picture_region_and_tiling(
    width_px: int, height_px: int, roi: Region, tile: int, model: tuple[int, int]
) -> None:
    rgb = np.zeros((height_px, width_px, 3), np.uint8)
    frame = make_frame(rgb=rgb, source=(width_px * 3 - 1, height_px * 3), query=Query(roi=roi, tile=tile))
    for box in fit(frame, width_px=model[0], height_px=model[1]).letterboxes:
        scale, pad = np.array([box.scale_x, box.scale_y] * 2), np.array([box.pad_x_px, box.pad_y_px] * 2)
        offset, size = np.array([box.offset_x_px, box.offset_y_px] * 2), np.array([box.width_px, box.height_px] * 2)
        xyxy = (offset + np.array([[0.1, 0.2, 0.7, 1.0]]) * size).astype(np.float32)
        xyxy_model = ((xyxy - offset) * scale + pad).astype(np.float32)
        assert (xyxy_model >= 0).all()
        assert (xyxy_model <= np.array([*model, *model]) + 1e-3).all()
        np.testing.assert_allclose(undo(xyxy_model, box), xyxy, atol=0.01)


def test_boxes_are_clipped_to_what_the_canvas_shows() -> None:
    xyxy = undo(np.array([[-5, -5, 90, 90], [70, 70, 80, 80]], np.float32), make_letterbox(width_px=64, height_px=32))
    np.testing.assert_array_equal(xyxy, [[0, 0, 64, 32], [64, 32, 64, 32]])


def test_no_boxes_come_back_as_no_boxes() -> None:
    assert undo(np.empty((0, 4), np.float32), make_letterbox()).shape == (0, 4)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(), 640 / 1920),
        (Query(roi=(0.0, 0.0, 0.5, 0.5)), 640 / 960),
        (Query(roi=(0.4, 0.4, 0.41, 0.41)), 1.0),
        (Query(tile=2), 640 / 1920 * 1.8),
        (Query(tile=4), 1.0),
    ],
)
def test_a_decoder_keeps_just_the_pixels_that_the_model_will_see(query: Query, expected: float) -> None:
    scale = needed_scale(1920, 1080, query=query, model_width_px=640, model_height_px=640)
    assert scale == pytest.approx(expected)


@given(width_px=st.integers(10, 45), height_px=st.integers(10, 45), roi=rois(), tile=st.integers(1, 4))
def test_the_needed_scale_is_never_coarser_than_what_the_letterbox_applies(
    width_px: int, height_px: int, roi: Region, tile: int
) -> None:
    query = Query(roi=roi, tile=tile)
    frame = make_frame(rgb=np.zeros((height_px * 20, width_px * 20, 3), np.uint8), query=query)
    scale = needed_scale(width_px * 20, height_px * 20, query=query, model_width_px=48, model_height_px=48)
    views = fit(frame, width_px=48, height_px=48).letterboxes
    finest = min(max(min(48 / view.width_px, 48 / view.height_px) for view in views), 1.0)
    # Tiles are rounded outwards to whole pixels, which makes the real scale a little coarser.
    assert 0.7 * scale < finest <= scale * (1 + 1e-9)
