"""The detector and its trainer: Ultralytics', computing its convolutions in bfloat16 where the CPU has AMX."""

from pathlib import Path
from typing import Any

import torch
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel

HERE = Path(__file__).parent
# A letterboxed 16:9 frame fills rows 91 to 325 of 416. The first epochs see a band about them, which takes a third less
# time; the rest see the whole square, as the service feeds it.
_CROPPED_SHARE = 0.65
_ROWS_PX, _FIRST_TOPS_PX, _MIN_REST_PX = 288, (40, 88), 4


def has_amx() -> bool:
    """Whether this CPU multiplies bfloat16 tiles; without that, bfloat16 is slower than float32."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "amx_bf16" in cpuinfo.read_text()


def _to_float32(tree: Any) -> Any:
    if isinstance(tree, torch.Tensor):
        return tree.float()
    if isinstance(tree, dict):
        return {name: _to_float32(branch) for name, branch in tree.items()}
    return [_to_float32(branch) for branch in tree]


class StreetModel(DetectionModel):
    """The detector; while training its forward pass runs under bfloat16 autocast, the loss in float32."""

    is_mixed = has_amx()

    def loss(self, batch: dict[str, Any], preds: Any = None) -> Any:
        """The detection loss of a batch."""
        if preds is None and self.training and self.is_mixed:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                raw = self.forward(batch["img"])
            preds = _to_float32(raw)
        return super().loss(batch, preds)


class StreetTrainer(DetectionTrainer):
    """Ultralytics' trainer with our model, in the memory layout CPUs convolve fastest."""

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> StreetModel:  # noqa: FBT001, FBT002
        """The untrained detector."""
        model = StreetModel(cfg, nc=self.data["nc"], ch=self.data["channels"], verbose=verbose)
        if weights:
            model.load(weights)
        layout: Any = torch.channels_last
        return model.to(memory_format=layout)

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch with float pixels in [0, 1], channels last; in the first epochs without most of the letterbox."""
        ready: dict[str, Any] = super().preprocess_batch(batch)
        if self.epoch < _CROPPED_SHARE * self.epochs:
            top = _FIRST_TOPS_PX[0] + int(torch.randint(_FIRST_TOPS_PX[1] - _FIRST_TOPS_PX[0], ()))
            ready = _rows_only(ready, top_px=top, rows_px=_ROWS_PX)
        ready["img"] = ready["img"].contiguous(memory_format=torch.channels_last)
        return ready


def _rows_only(batch: dict[str, Any], *, top_px: int, rows_px: int) -> dict[str, Any]:
    """The batch cut to a band of rows; boxes are clipped to it, and dropped where less than 4 px remain."""
    height = batch["img"].shape[2]
    x, y, wide, high = batch["bboxes"].unbind(1)
    y1 = ((y - high / 2) * height - top_px).clamp(0, rows_px)
    y2 = ((y + high / 2) * height - top_px).clamp(0, rows_px)
    kept = y2 - y1 >= _MIN_REST_PX
    boxes = torch.stack([x, (y1 + y2) / 2 / rows_px, wide, (y2 - y1) / rows_px], dim=1)
    cut = {"img": batch["img"][:, :, top_px : top_px + rows_px], "bboxes": boxes[kept]}
    return {**batch, **cut, "cls": batch["cls"][kept], "batch_idx": batch["batch_idx"][kept]}
