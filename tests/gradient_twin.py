"""AttnLRP without an engine: PyTorch's own gradient through a forward pass of the same values, times the input.

Along ε relevance is value times gradient, if what is held fixed is detached: the deviation of a layer norm, the gate of
GELU; and a product of two tensors hands half to each. So LXT computes it (Achtibat et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

PRODUCTS = (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.bmm)


class Detached(TorchFunctionMode):
    """Layer norm, GELU and products of two computed tensors as rules see them."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is functional.layer_norm:
            x, weight, bias, eps = args[0], *(given.get(k) for k in ("weight", "bias")), given.get("eps", 1e-5)
            if len(args) > 2:
                weight, bias, eps = (*args[2:], eps)[:3]
            rest = x - x.mean(dim=-1, keepdim=True)
            deviation = (rest.square().mean(dim=-1, keepdim=True) + eps).sqrt().detach()
            return rest / deviation * weight + bias
        if func is functional.gelu:
            return args[0] * (func(*args, **given) / args[0]).detach()
        if func in PRODUCTS and all(isinstance(a, torch.Tensor) and a.requires_grad for a in args[:2]):
            a, b = args[:2]
            half = (func(a, b.detach()) + func(a.detach(), b)) / 2
            return func(a, b).detach() + half - half.detach()
        return func(*args, **given)


def relevance(module: torch.nn.Module, x: torch.Tensor, target: int) -> torch.Tensor:
    """AttnLRP's relevance of the input, seed logit, in double precision."""
    double = module.double()
    for parameter in double.parameters():
        parameter.requires_grad_(False)
    leaf = x.double().requires_grad_()
    with Detached():
        double(leaf)[:, target].sum().backward()
    module.float()
    assert leaf.grad is not None
    return (leaf * leaf.grad).detach()
