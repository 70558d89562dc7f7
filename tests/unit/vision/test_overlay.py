"""Everything that a preview shows, drawn onto one picture."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from app.core.frame import Pixels
from app.vision.draw import colour_of
from app.vision.lettering import DARK, LIGHT, Plate, Rect
from app.vision.overlay import LineMark, Overlay, Points, ZoneMark, draw_overlay

SIZES = [(320, 180), (320, 240), (360, 640), (1280, 720), (3840, 2160)]
UP = np.array([[100.0, 190.0], [100.0, 10.0]])
"""Up the middle of a picture of 200 by 200: forward is to the right."""
YARD = np.array([[20.0, 20.0], [180.0, 20.0], [180.0, 180.0], [100.0, 100.0], [20.0, 180.0]])
AMBER = np.array([255, 208, 58])


def ground(value: int = 128, *, size: tuple[int, int] = (200, 200)) -> Pixels:
    rgb = np.full((size[1], size[0], 3), value, np.uint8)
    rgb.flags.writeable = False
    return rgb


def make_overlay(*, size: tuple[int, int] = (200, 200), boxes: list[list[float]] | None = None, **more: Any) -> Overlay:
    xyxy = np.array(boxes or [], np.float32).reshape(-1, 4)
    count = len(xyxy)
    return Overlay(
        width_px=size[0], height_px=size[1], xyxy=xyxy, labels=["car"] * count, ids=list(range(count)),
        scores=[0.9] * count, **more,
    )  # fmt: skip


def line(points: Points = UP, *, name: str = "gate") -> LineMark:
    return LineMark(name=name, points=points, forward=12, backward=7)


def zone(corners: Points = YARD, *, name: str = "yard") -> ZoneMark:
    return ZoneMark(name=name, corners=corners, occupancy=2, entered=31)


def contrast(rgb: Pixels) -> float:
    """Between the brightest and the darkest pixel, as WCAG 2.2 defines it."""
    share = rgb.reshape(-1, 3) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return float((luminance.max() + 0.05) / (luminance.min() + 0.05))


def plate_contrast(plate: Plate, canvas: Pixels) -> float:
    place = plate.draw(canvas, left=5, top=5)
    return contrast(canvas[place.top : place.bottom, place.left : place.right])


def test_a_new_picture_comes_back_and_the_given_one_stays() -> None:
    before = ground()
    after = draw_overlay(before, make_overlay(boxes=[[20, 40, 80, 90]], lines=[line()], zones=[zone()], title="north"))
    assert (before == 128).all()
    assert after.shape == before.shape
    assert after.dtype == np.uint8
    assert (after != before).any()


def test_nothing_to_draw_gives_the_same_picture() -> None:
    np.testing.assert_array_equal(draw_overlay(ground(), make_overlay()), ground())


@pytest.mark.parametrize(("points", "right_of_line"), [(UP, "right"), (UP[::-1], "left")])
def test_the_arrow_points_to_the_right_of_the_line_seen_along_it(points: np.ndarray, right_of_line: str) -> None:
    after = draw_overlay(ground(), make_overlay(lines=[line(points)]))
    is_amber = (np.abs(after[90:111].astype(int) - AMBER) < 30).all(axis=2)
    found = {"left": int(is_amber[:, 75:95].sum()), "right": int(is_amber[:, 106:126].sum())}
    assert max(found, key=found.__getitem__) == right_of_line
    assert min(found.values()) == 0


def test_a_zone_is_tinted_inside_and_nowhere_else() -> None:
    after = draw_overlay(ground(), make_overlay(zones=[zone()]))
    tint = 0.25 * np.array(colour_of(-1, "yard")) + 0.75 * 128
    np.testing.assert_allclose(after[80, 150], tint, atol=2)
    assert (after[150, 100] == 128).all(), "the notch of the polygon is outside of it"
    assert (after[10, 10] == 128).all()


def test_points_and_boxes_count_in_source_pixels_whatever_the_pictures_size() -> None:
    small = draw_overlay(ground(), make_overlay(boxes=[[40, 40, 160, 160]], lines=[line()]))
    scaled = draw_overlay(
        ground(), make_overlay(size=(1000, 2000), boxes=[[200, 400, 800, 1600]], lines=[line(UP * [5, 10])])
    )
    np.testing.assert_array_equal(small, scaled)


def test_changed_counts_and_times_change_the_picture() -> None:
    pictures = [
        draw_overlay(ground(), make_overlay(**more))
        for more in (
            {"lines": [line()]},
            {"lines": [LineMark(name="gate", points=UP, forward=13, backward=7)]},
            {"zones": [zone()]},
            {"zones": [ZoneMark(name="yard", corners=YARD, occupancy=3, entered=31)]},
            {"title": "a", "captured_at": 0.0, "status": "live"},
            {"title": "a", "captured_at": 1.0, "status": "live"},
            {"title": "a", "captured_at": 1.0, "status": "lost"},
        )
    ]
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("at", [(-500, -500), (0, 0), (99999, 3), (3, 99999)])
def test_text_of_any_length_stays_inside_the_picture(size: tuple[int, int], at: tuple[int, int]) -> None:
    canvas = ground(size=size).copy()
    place = Plate(canvas, ["Karl-Marx-Allee 入口 " * 30, "short"], tint=LIGHT).draw(canvas, left=at[0], top=at[1])
    assert 0 <= place.left < place.right <= size[0]
    assert 0 <= place.top < place.bottom <= size[1]
    rim = canvas[place.top : place.bottom, [place.left, place.right - 1]]
    assert np.ptp(rim) == 0, "letters reach the edge of their ground"


@pytest.mark.parametrize("size", SIZES)
def test_letters_are_at_least_a_few_pixels_high_and_grow_with_the_picture(size: tuple[int, int]) -> None:
    canvas = ground(0, size=size).copy()
    place = Plate(canvas, ["H"], ground=DARK).draw(canvas, left=0, top=0)
    inked = np.flatnonzero((canvas[: place.bottom, : place.right].max(axis=2) > 200).any(axis=1))
    height_px = inked[-1] - inked[0] + 1
    assert max(7, min(size) / 120) <= height_px <= max(9, min(size) / 20)


@pytest.mark.parametrize("value", [0, 90, 160, 255])
@pytest.mark.parametrize("identity", range(12))
def test_text_reads_on_bright_and_dark_pictures(value: int, identity: int) -> None:
    canvas = ground(value).copy()
    colour = colour_of(identity, "car")
    assert plate_contrast(Plate(canvas, ["HIM 88"], tint=colour), canvas) >= 4.5
    assert plate_contrast(Plate(canvas, ["HIM 88"], ground=colour), canvas) >= 4.2


def test_white_letters_with_no_ground_would_not_read_on_white() -> None:
    assert contrast(ground(255)) < 4.5


def test_plates_keep_clear_of_each_other_where_there_is_room() -> None:
    canvas = ground().copy()
    taken = [Rect(0, 0, 120, 60)]
    plate = Plate(canvas, ["gate"], tint=LIGHT)
    place = plate.draw_clear_of(canvas, taken, corners=[(10, 10), (10, 100), (100, 100)])
    assert (place.left, place.top) == (10, 100)
    whole = [Rect(0, 0, 200, 90), Rect(0, 90, 20, 200)]
    least = plate.draw_clear_of(canvas, whole, corners=[(10, 10), (15, 100)])
    assert (least.left, least.top) == (15, 100)


@pytest.mark.parametrize("size", [(1, 1), (30, 20), (320, 180), (3840, 2160)])
def test_every_picture_size_can_be_drawn_on(size: tuple[int, int]) -> None:
    overlay = make_overlay(
        boxes=[[-50, -50, 90, 90], [0, 0, 200, 200]], lines=[line()], zones=[zone()], title="north gate",
        captured_at=1.8e9, status="live",
    )  # fmt: skip
    assert draw_overlay(ground(size=size), overlay).shape == (size[1], size[0], 3)


@pytest.mark.parametrize("name", ["", "a\nb\0c", "\ud800", "入口 Süd", "…" * 300])
def test_any_name_can_be_drawn(name: str) -> None:
    draw_overlay(ground(), make_overlay(lines=[line(name=name)], zones=[zone(name=name)], title=name, status=name))


@pytest.mark.parametrize("captured_at", [float("nan"), float("inf"), 1e30, -1e30])
def test_a_time_that_is_no_date_is_left_out(captured_at: float) -> None:
    with_time = draw_overlay(ground(), make_overlay(title="a", captured_at=captured_at))
    np.testing.assert_array_equal(with_time, draw_overlay(ground(), make_overlay(title="a")))


def test_letters_come_out_the_same_from_many_threads() -> None:
    # Plates of many sizes: a font that the threads share mixes them up in most runs, though not in every one.
    plates = [Plate(ground(size=(2000, 300 + 150 * size)), ["forward 17 Süd"], tint=LIGHT) for size in range(9)]

    def drawn(number: int) -> bytes:
        canvas = np.zeros((60, 500, 3), np.uint8)
        plates[number % 9].draw(canvas, left=0, top=0)
        return canvas.tobytes()

    expected = [drawn(number) for number in range(9)]
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(drawn, list(range(9)) * 500)) == expected * 500
