"""Finds out how a network's output is laid out, from its shape and what the file says about itself."""

import ast
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from app.core.errors import ModelError
from app.core.model import Head
from app.vision.heads import STRIDES, cell_counts

Shape: TypeAlias = tuple[int | None, ...]
"""Dimensions of a tensor, None where they are free."""

_MAX_LABELS = 100_000


def identify(
    output_shapes: Sequence[Shape], *, input_shape: Shape, metadata: Mapping[str, str], n_labels: int | None
) -> Head:
    """Return the layout of the first output; a ModelError says what was found instead.

    `input_shape` is `(B, 3, H, W)` with the canvas's real size. `metadata["head"]` settles it where it names a `Head`;
    then only the shape is checked. Counts tell YOLOv5 (three anchors per cell) from YOLOX (one); where they are free,
    as in exports with dynamic sizes, the exporter's own metadata does.
    """
    task = metadata.get("task", "detect")
    if task != "detect":
        raise ModelError(f"this model is for {task}; only detection is served")
    found = f"outputs {_text(output_shapes)} for input {_text([input_shape])} and {n_labels} class names"
    possible = _possible(output_shapes[0] if output_shapes else (), input_shape=input_shape, n_labels=n_labels)
    if metadata.get("head") in set(Head):
        possible = [head for head in possible if head == metadata["head"]]
    elif len(possible) > 1:
        possible = _by_metadata(possible, metadata)
    if len(possible) == 1:
        return possible[0]
    if not possible:
        raise ModelError(f"not the output of a YOLO that is served here: {found}")
    choices = " or ".join(possible)
    raise ModelError(f'could be {choices}: {found}; write "head": {{"kind": …}} into the card.json beside the model')


def _possible(shape: Shape, *, input_shape: Shape, n_labels: int | None) -> list[Head]:
    """Return every layout that the shape allows."""
    if len(shape) != 3:  # noqa: PLR2004 - (B, rows, columns)
        return []
    _, rows, columns = shape
    height_px, width_px = input_shape[2] or 0, input_shape[3] or 0
    cells = cell_counts(width_px, height_px)
    anchors = {3 * cells, 3 * cell_counts(width_px, height_px, strides=(*STRIDES, 64))}
    heads = []
    if _counts(rows, besides=4, n_labels=n_labels) and columns in {None, cells}:
        heads.append(Head.YOLOV8)
    if _counts(columns, besides=5, n_labels=n_labels):
        heads += [Head.YOLOV5] if rows is None or rows in anchors else []
        heads += [Head.YOLOX] if rows in {None, cells} else []
    if columns in {None, 6}:
        heads.append(Head.END_TO_END)
    return heads


def _counts(size: int | None, *, besides: int, n_labels: int | None) -> bool:
    """Return whether a dimension may hold so many numbers and a score for each class."""
    return size is None or (size > besides and n_labels in {None, size - besides})


def _by_metadata(possible: Sequence[Head], metadata: Mapping[str, str]) -> list[Head]:
    """Return those of several layouts that fit how the model was exported.

    Ultralytics writes `task` and, for models that suppress their own boxes, `end2end` or `args`; YOLOv5 writes `stride`
    and no task; YOLOX writes nothing. A dense layout whose counts match is no coincidence; six columns may be one.
    """
    if Head.END_TO_END in possible and _is_suppressed(metadata):
        return [Head.END_TO_END]
    dense: list[Head] = [head for head in possible if head is not Head.END_TO_END]
    if "task" in metadata and Head.YOLOV8 in dense:
        return [Head.YOLOV8]
    if "stride" in metadata and Head.YOLOV5 in dense:
        return [Head.YOLOV5]
    return dense


def _is_suppressed(metadata: Mapping[str, str]) -> bool:
    """Return whether Ultralytics exported the model with suppression inside or as one that needs none."""
    if metadata.get("end2end", "").lower() == "true":
        return True
    arguments = _literal(metadata.get("args", "{}"))
    return isinstance(arguments, dict) and arguments.get("nms") is True


def labels_in(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the class names of the entry `names`, a dict from 0 on or a list as Python or JSON writes it, or None."""
    names = _literal(metadata.get("names", ""))
    if isinstance(names, dict) and sorted(names, key=str) == sorted(range(len(names)), key=str):
        names = [names[index] for index in range(len(names))]
    if isinstance(names, list | tuple) and 0 < len(names) <= _MAX_LABELS:
        return tuple(str(name) for name in names)
    return None


def _literal(text: str) -> object:
    """Return the Python literal, or None; nothing is executed."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _text(shapes: Sequence[Shape]) -> str:
    """Return shapes for a sentence: `(?, 84, 8400)`."""
    return ", ".join("(" + ", ".join("?" if size is None else str(size) for size in shape) + ")" for shape in shapes)
