"""Import this before torchvision: lets a CUDA-built torchvision wheel (installed --no-deps) work beside CPU torch.

Pure Python, no compiler: declares torchvision::nms and qnms (the only ops torchvision registers unconditionally)
and gives nms a CPU implementation; the other C++ ops (roi_align, ...) stay unavailable.
"""

import torch

_lib = torch.library.Library("torchvision", "DEF")
for _op in ("nms", "qnms"):
    _lib.define(_op + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def _nms(dets, scores, iou_threshold):
    order = scores.argsort(descending=True, stable=True)
    x1, y1, x2, y2 = dets.unbind(1)
    area = (x2 - x1) * (y2 - y1)
    keep = []
    while order.numel():
        i = order[0]
        keep.append(i)
        rest = order[1:]
        w = (torch.minimum(x2[i], x2[rest]) - torch.maximum(x1[i], x1[rest])).clamp_(min=0)
        h = (torch.minimum(y2[i], y2[rest]) - torch.maximum(y1[i], y1[rest])).clamp_(min=0)
        inter = w * h
        order = rest[inter / (area[i] + area[rest] - inter) <= iou_threshold]
    return torch.stack(keep) if keep else torch.empty(0, dtype=torch.int64)


_lib.impl("nms", _nms, "CPU")
import torchvision.extension as _ext
import torchvision.ops.boxes as _b

_ext._assert_has_ops = _b._assert_has_ops = lambda: None
