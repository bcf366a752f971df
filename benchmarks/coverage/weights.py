"""Seeded weights that are calm: no published ones are needed, and what a check finds means something.

Freshly initialised networks are no good for that: batch norms do nothing, layer scales of 1e-6 switch blocks off, a
head of zeros has no score. Here norms scale by .5 to 1.5, biases are drawn, scales that begin near 0 are drawn
around .3, heads that begin at 0 get weights; then batch norms take the mean and variance that random pictures have
there, so that activations are neither cut off nor grow with depth.
"""

from __future__ import annotations

import torch

SMALL = 0.05
"""A vector or number that begins nearer to 0 than this, and is no bias, is a layer scale."""


SEEN = 32
"""Pictures that batch norms see: few positions of few pictures would make wild statistics."""


def calm(module: torch.nn.Module, x: torch.Tensor, seed: int) -> torch.nn.Module:
    """Give a freshly built module such weights, in place; ``x`` is a batch that it takes."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.named_parameters():
            if name.endswith("bias"):
                value.normal_(0, 0.1, generator=draw)
            elif value.dim() <= 1 or value.numel() == max(value.shape):
                scale = value.abs().max() < SMALL
                value.uniform_(0.1 if scale else 0.5, 0.5 if scale else 1.5, generator=draw)
            elif not value.any():
                value.normal_(0, value[0].numel() ** -0.5, generator=draw)
        norms = [part for part in module.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
        if norms:
            module.eval()
            for norm in norms:
                norm.train()
            module(torch.randn((SEEN, *x.shape[1:]), generator=draw))
    return module.eval()
