"""Lets the CUDA-built torchvision wheel work beside CPU torch: import this before anything imports torchvision.

Declares the two operators torchvision registers at import and gives `nms` a CPU implementation in plain torch;
its other C++ operators stay unavailable, and neither training nor export of a detector uses them.
"""

from typing import Any

import torch

_LIBRARY = torch.library.Library("torchvision", "DEF")
for _operator in ("nms", "qnms"):
    _LIBRARY.define(_operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def nms(dets: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Indices of the boxes (n, 4) that survive greedy suppression, best first; empty for no boxes."""
    order = scores.argsort(descending=True, stable=True)
    x1, y1, x2, y2 = dets.unbind(1)
    area = (x2 - x1) * (y2 - y1)
    keep: list[torch.Tensor] = []
    while order.numel():
        best, rest = order[0], order[1:]
        keep.append(best)
        wide = (torch.minimum(x2[best], x2[rest]) - torch.maximum(x1[best], x1[rest])).clamp_(min=0)
        high = (torch.minimum(y2[best], y2[rest]) - torch.maximum(y1[best], y1[rest])).clamp_(min=0)
        shared = wide * high
        order = rest[shared / (area[best] + area[rest] - shared) <= iou_threshold]
    return torch.stack(keep) if keep else torch.empty(0, dtype=torch.int64)


_LIBRARY.impl("nms", nms, "CPU")

import torchvision.extension  # noqa: E402 - the operators above must exist first
import torchvision.ops.boxes  # noqa: E402


def _assert_has_ops(*_: Any) -> None:
    """Torchvision's check for its C++ library, which is not there."""


torchvision.extension._assert_has_ops = _assert_has_ops  # noqa: SLF001
torchvision.ops.boxes._assert_has_ops = _assert_has_ops  # noqa: SLF001
