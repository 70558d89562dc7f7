"""A model on a smaller canvas than its own, where its file leaves the size free."""

import sys
from dataclasses import replace
from functools import partial

from app.core.errors import ModelError
from app.core.model import ModelSpec
from engines.model_file import ModelFile
from engines.onnx_header import read_header

RATIO = 0.5
"""Of the sides; the fourth part of the work. Source: `app.policy.ladder.RELIEFS`."""
_STRIDE_PX = 32
"""The coarsest level of every YOLO served here: sides are multiples of it."""


def smaller_spec(spec: ModelSpec) -> ModelSpec:
    """Return the model on sides about `RATIO` as long; ModelError where they would be no shorter."""
    width_px, height_px = (_side_px(side_px) for side_px in (spec.input_width_px, spec.input_height_px))
    if width_px >= spec.input_width_px or height_px >= spec.input_height_px:
        raise ModelError("the model's input is as small as can be")
    return replace(spec, input_width_px=width_px, input_height_px=height_px)


def smaller_file(file: ModelFile) -> ModelFile:
    """Return the same model for that canvas; ModelError where the file says which size it takes."""
    sizes = next(tensor.shape[2:] for tensor in read_header(file.data).inputs if tensor.name == file.input_name)
    if sizes != (None, None):
        raise ModelError("the model takes pictures of one size only")
    return replace(file, spec=smaller_spec(file.spec))


def _side_px(side_px: int) -> int:
    return max(round(side_px * RATIO / _STRIDE_PX), 1) * _STRIDE_PX


if __name__ == "__main__":  # `python -m engines.smaller CONTROL PARENT`: a model's process, as `engines.host`
    from engines import host
    from engines.opening import open_engine

    host.main(sys.argv[1:], opener=partial(open_engine, is_smaller=True))
