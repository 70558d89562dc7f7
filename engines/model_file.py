"""One model file, read once and checked: its bytes and its specification, before any runtime sees it."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.core.errors import ModelError
from app.core.model import Head, ModelSpec
from app.vision.layouts import identify, labels_in
from engines.card import Card
from engines.onnx_header import FLOAT32, OnnxHeader, TensorInfo, read_header
from engines.onnx_tensors import with_tensors_inside
from engines.plain_files import opened_folder
from engines.signature import TrustedKey
from engines.version_files import MAX_FILE_BYTES, VersionFiles, read_version

DEFAULT_SIDE_PX = 640
"""The canvas of a model whose size is free and that names none: what YOLOs are trained at."""
_MAX_SIDE_PX = 4096
_VERSION = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """`data` is what was checked and is what the runtime gets: no file is opened twice.

    `row_shape` is the output for one picture. `static_batch` is the only batch that the graph takes, None for any.
    `precision` is the card's, `signer` the trusted key's name, None where no keys are configured. `beside` holds the
    other files of the version by name, checked too; weights that were kept in one of them stand in `data` as well.
    """

    spec: ModelSpec
    data: bytes
    input_name: str
    output_name: str
    row_shape: tuple[int | None, ...]
    static_batch: int | None
    precision: str = "fp32"
    signer: str | None = None
    beside: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """The hash of `data`, hexadecimal: what is derived from the model is told apart by it."""
        return hashlib.sha256(self.data).hexdigest()


def read_model_file(path: Path, *, trusted_keys: Sequence[TrustedKey] = ()) -> ModelFile:
    """Return the model at `path` with what its card says; a ModelError says what is wrong with it.

    Name and version are the card's, or else the folders' in `…/<name>/<version>/model.onnx`. A `path` that is a link
    is followed, because an operator wrote it; of the files that a card names none may be one.
    """
    path = path.resolve()
    try:
        with opened_folder(path.parent) as folder:
            files = read_version(folder, path.name, trusted_keys=trusted_keys)
    except OSError as error:
        raise ModelError(f"there is no readable model file {path.name}") from error
    return model_in(files, path)


def model_in(files: VersionFiles, path: Path) -> ModelFile:
    """Return the model in files that were read from beside `path`; nothing is read again."""
    card = files.card
    beside = {name: content for name, content in files.contents.items() if name != path.name}
    data = with_tensors_inside(files.contents[path.name], beside)
    if len(data) > MAX_FILE_BYTES:
        raise ModelError(f"{path.name} and its weights are larger than {MAX_FILE_BYTES} bytes")
    header = read_header(data)
    pixels, output = _image_input(header), header.outputs[0]
    batch, _, height_px, width_px = pixels.shape
    default_height_px, default_width_px = _imgsz(header)
    height_px = _side(height_px, card.input_height_px, default_height_px)
    width_px = _side(width_px, card.input_width_px, default_width_px)
    named = card.labels or labels_in(header.metadata)
    head = identify(
        [tensor.shape for tensor in header.outputs],
        input_shape=(batch, 3, height_px, width_px),
        metadata=header.metadata if card.head is None else {**header.metadata, "head": card.head},
        n_labels=None if named is None else len(named),
    )
    labels = named or _numbered(output, head)
    name, version = _identity(path, card)
    scale, channel_order = _feeding(head, card)
    spec = ModelSpec(
        name=name,
        version=version,
        labels=labels,
        head=head,
        input_width_px=width_px,
        input_height_px=height_px,
        max_batch=batch,
        scale=scale,
        channel_order=channel_order,
    )
    return ModelFile(
        spec=spec,
        data=data,
        input_name=pixels.name,
        output_name=output.name,
        row_shape=output.shape[1:],
        static_batch=batch,
        precision=card.precision or "fp32",
        signer=files.signer,
        beside=beside,
    )


def _image_input(header: OnnxHeader) -> TensorInfo:
    """Return the one input, `(B, 3, H, W)` float32."""
    if len(header.inputs) == 1:
        (tensor,) = header.inputs
        if len(tensor.shape) == 4 and tensor.shape[1] in {3, None} and tensor.element_type == FLOAT32:  # noqa: PLR2004
            return tensor
    found = ", ".join(f"{tensor.name} {tensor.shape} of type {tensor.element_type}" for tensor in header.inputs)
    raise ModelError(f"a model takes one (B, 3, H, W) float32 picture; this one takes {found}")


def _imgsz(header: OnnxHeader) -> tuple[int, int]:
    """Return the height and width that Ultralytics wrote down at export, or the default."""
    sizes = [int(size) for size in re.findall(r"\d{1,5}", header.metadata.get("imgsz", ""))]
    sizes = sizes or [DEFAULT_SIDE_PX]
    return sizes[0], sizes[-1]


def _side(declared: int | None, in_card: int | None, default: int) -> int:
    """Return one side of the canvas: the graph's own, else the card's, else the default."""
    side_px = declared or in_card or default
    if not 1 <= side_px <= _MAX_SIDE_PX:
        raise ModelError(f"an input side of {side_px} px is not served; the limit is {_MAX_SIDE_PX}")
    return side_px


def _numbered(output: TensorInfo, head: Head) -> tuple[str, ...]:
    """Return class names for a model that brings none."""
    counted = {Head.YOLOV8: (1, 4), Head.YOLOV5: (2, 5), Head.YOLOX: (2, 5)}
    axis, besides = counted.get(head, (1, 0))
    size = output.shape[axis]
    if head not in counted or size is None:
        raise ModelError("this model names no classes and its output does not count them; add a card.json")
    return tuple(f"class_{number}" for number in range(size - besides))


def _identity(path: Path, card: Card) -> tuple[str, str]:
    """Return name and version."""
    folder = path.parent
    if _VERSION.fullmatch(folder.name):
        return card.name or folder.parent.name, card.version or folder.name
    return card.name or path.stem, card.version or "0.0.0"


def _feeding(head: Head, card: Card) -> tuple[float, str]:
    """Return scale and channel order: YOLOX is fed 0..255 BGR, every other YOLO 0..1 RGB, unless the card differs."""
    scale, channel_order = (1.0, "bgr") if head is Head.YOLOX else (1 / 255, "rgb")
    return scale if card.scale is None else card.scale, card.channel_order or channel_order
