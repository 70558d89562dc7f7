"""Output layouts are told apart by shape, metadata and card."""

import pytest

from app.core.errors import ModelError
from app.core.model import Head
from app.vision.layouts import Shape, identify, labels_in

INPUT = (1, 3, 640, 640)
ULTRALYTICS = {"task": "detect", "stride": "32"}
YOLOV5 = {"stride": "32"}


@pytest.mark.parametrize(
    ("shape", "n_labels", "metadata", "expected"),
    [
        ((1, 84, 8400), 80, ULTRALYTICS, Head.YOLOV8),
        ((None, 84, None), 80, ULTRALYTICS, Head.YOLOV8),
        ((1, 84, 8400), None, {}, Head.YOLOV8),
        ((1, 5, 8400), 1, ULTRALYTICS, Head.YOLOV8),
        ((1, 25200, 85), 80, ULTRALYTICS, Head.YOLOV5),
        ((1, 25200, 85), None, {}, Head.YOLOV5),
        ((1, 25500, 85), 80, ULTRALYTICS, Head.YOLOV5),
        ((None, None, 85), 80, YOLOV5, Head.YOLOV5),
        ((None, None, None), 80, YOLOV5, Head.YOLOV5),
        ((None, None, None), 80, ULTRALYTICS, Head.YOLOV8),
        ((None, None, None), 80, {**ULTRALYTICS, "end2end": "True"}, Head.END_TO_END),
        ((None, None, None), 80, {**ULTRALYTICS, "head": "yolox"}, Head.YOLOX),
        ((None, None, None), 80, {**ULTRALYTICS, "head": "Detect"}, Head.YOLOV8),
        ((1, 25200, 6), 1, YOLOV5, Head.YOLOV5),
        ((1, 8400, 85), None, {}, Head.YOLOX),
        ((1, 8400, 85), 80, {}, Head.YOLOX),
        ((None, None, 85), 80, {"head": "yolox"}, Head.YOLOX),
        ((None, None, 85), 80, {"head": "yolov5"}, Head.YOLOV5),
        ((1, 8400, 6), 1, {}, Head.YOLOX),
        ((1, 300, 6), 80, {**ULTRALYTICS, "end2end": "True"}, Head.END_TO_END),
        ((None, None, 6), 80, {**ULTRALYTICS, "args": "{'batch': 1, 'nms': True}"}, Head.END_TO_END),
        ((1, 300, 6), 1, ULTRALYTICS, Head.END_TO_END),
        ((1, 300, 6), None, {}, Head.END_TO_END),
    ],
)
def test_each_layout_is_recognised(
    shape: Shape, n_labels: int | None, metadata: dict[str, str], expected: Head
) -> None:
    assert identify([shape], input_shape=INPUT, metadata=metadata, n_labels=n_labels) is expected


def test_further_outputs_do_not_matter() -> None:
    shapes = [(1, 25200, 85), (1, 3, 80, 80, 85)]
    assert identify(shapes, input_shape=INPUT, metadata={}, n_labels=80) is Head.YOLOV5


@pytest.mark.parametrize(
    ("shapes", "n_labels", "metadata", "words"),
    [
        ([(1, 1000)], 1000, {}, r"\(1, 1000\).*1000 class names"),
        ([(1, 84, 8400)], 3, ULTRALYTICS, r"\(1, 84, 8400\).*3 class names"),
        ([(1, 116, 8400), (1, 32, 160, 160)], 80, {"task": "segment"}, "segment"),
        ([(None, None, 85)], 80, {}, "yolov5 or yolox.*card.json"),
        ([(None, None, None)], 80, {}, "yolov8 or yolov5 or yolox.*card.json"),
        ([(1, 84, 8400)], 80, {"head": "yolov5"}, "not the output of a YOLO"),
        ([(1, 777, 85)], 80, ULTRALYTICS, "not the output of a YOLO"),
        ([], None, {}, "not the output of a YOLO"),
    ],
)
def test_anything_else_is_an_error_that_says_what_was_found(
    shapes: list[Shape], n_labels: int | None, metadata: dict[str, str], words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        identify(shapes, input_shape=INPUT, metadata=metadata, n_labels=n_labels)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("{0: 'person', 1: \"driver's cab\"}", ("person", "driver's cab")),
        ("{1: 'b', 0: 'a'}", ("a", "b")),
        ('["a", "b"]', ("a", "b")),
        ("{0: 'a', 2: 'c'}", None),
        ("__import__('os').getcwd()", None),
        ("{" * 10_000, None),
        ("[]", None),
        ("", None),
    ],
)
def test_class_names_are_literals_and_nothing_more(names: str, expected: tuple[str, ...] | None) -> None:
    assert labels_in({"names": names}) == expected


def test_a_model_may_name_no_classes() -> None:
    assert labels_in({}) is None
