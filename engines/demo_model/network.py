"""The detector and its trainer: Ultralytics', computing its convolutions in bfloat16 where the CPU has AMX."""

from pathlib import Path
from typing import Any

import torch
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel

HERE = Path(__file__).parent


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
        """The batch with float pixels in [0, 1], channels last."""
        ready: dict[str, Any] = super().preprocess_batch(batch)
        ready["img"] = ready["img"].contiguous(memory_format=torch.channels_last)
        return ready
