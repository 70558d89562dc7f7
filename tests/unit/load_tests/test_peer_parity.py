"""Whether two servers found the same boxes."""

from load_tests.peer_parity import agreement

BOXES = [[0.0, 0.0, 100.0, 100.0], [200.0, 200.0, 300.0, 260.0]]


def test_equal_answers_agree_whatever_their_order() -> None:
    assert agreement(BOXES, BOXES[::-1], my_labels=[1, 2], their_labels=[2, 1]) == 1.0


def test_a_box_that_is_shifted_by_half_its_width_is_seen() -> None:
    shifted = [BOXES[0], [250.0, 200.0, 350.0, 260.0]]
    assert agreement(BOXES, shifted, my_labels=[1, 2], their_labels=[1, 2]) == 0.5


def test_another_label_is_seen() -> None:
    assert agreement(BOXES, BOXES, my_labels=[1, 2], their_labels=[1, 1]) == 0.5


def test_a_box_found_twice_counts_once() -> None:
    assert agreement(BOXES[:1], [BOXES[0], BOXES[0]], my_labels=[1], their_labels=[1, 1]) == 2 / 3


def test_nothing_found_agrees_only_with_nothing_found() -> None:
    assert agreement([], [], my_labels=[], their_labels=[]) == 1.0
    assert agreement(BOXES, [], my_labels=[1, 2], their_labels=[]) == 0.0
