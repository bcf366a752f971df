"""Seeded residual networks at sane magnitudes.

With random He-scaled weights every residual block adds about as much variance as its input has, so the activations and
logits of deep ResNets grow from block to block (a seeded resnet101 reaches 1e8). `calm` damps the last batch norm of
every residual branch and touches nothing else.
"""

import re

import torch

FACTOR = 0.3
BATCH_NORM = re.compile(r"^(layer\d+\.\d+)\.bn(\d)\.weight$")  # never the batch norm in `downsample`


def calm(state: dict[str, torch.Tensor], factor: float = FACTOR) -> dict[str, torch.Tensor]:
    """A copy of a torchvision ResNet's state dict in which the weight (not the bias) of the last batch norm of each
    residual branch, bn2 in basic blocks and bn3 in bottlenecks, is multiplied by `factor` in float32."""
    found = {name: match for name in state if (match := BATCH_NORM.match(name))}
    last: dict[str, int] = {}
    for match in found.values():
        last[match[1]] = max(last.get(match[1], 0), int(match[2]))
    return {
        name: value * factor if name in found and int(found[name][2]) == last[found[name][1]] else value.clone()
        for name, value in state.items()
    }
