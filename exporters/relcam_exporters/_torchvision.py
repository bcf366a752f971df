"""torchvision, beside whichever PyTorch is installed.

A torchvision wheel built for CUDA cannot load its compiled operators beside a CPU build of PyTorch, and then
fails to import at all, since it describes two of them. Classifiers use neither, so declaring them is enough.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

import torch

from relcam_exporters._extra import require


@cache
def torchvision() -> ModuleType:
    """Import torchvision; on an ordinary installation this is nothing but the import.

    Raises
    ------
    OptionError
        It is not installed.
    """
    try:
        return require("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return require("torchvision")
