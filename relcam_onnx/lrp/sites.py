"""Ops as presets match them: by role, type, module path or node name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

ROLES: dict[str, str] = {
    "input-shift": "a constant that is added to the image before any layer",
    "first": "every linear op that the image reaches without passing another",
    "first-rgb": "the same, where what it reads has three channels",
    "output": "the last linear op before the scores",
    "dense": "Gemm, MatMul by a constant, Conv over a single position; beside attention any map over channels alone",
    "conv": "every other Conv, ConvTranspose and MatMul by a constant",
    "product": "MatMul and Einsum of two computed tensors, as in attention",
    "batch-norm": "BatchNormalization that is not folded",
    "norm": "instance, group and layer normalisation",
    "bias": "a constant that is added",
    "sum": "Add, Sum and Sub of computed tensors",
    "global-average": "average pools and means over all positions",
    "average": "average pools, ReduceMean, ReduceSum, Resize",
    "attention-sum": "sums and averages in a network with attention",
    "*": "every op",
}
"""What a match may name besides op types and globs."""


@dataclass(frozen=True)
class Site:
    """An op as a match sees it: its type, node name, module path ("" where unknown) and roles."""

    op: str
    name: str
    path: str
    roles: frozenset[str]


Match: TypeAlias = str | Callable[[Site], bool]


def matches(match: Match, site: Site) -> bool:
    """Whether a match covers an op."""
    if callable(match):
        return match(site)
    return (
        match == "*"
        or match in site.roles
        or match == site.op
        or any(fnmatchcase(text, match) for text in (site.path, site.name) if text)
    )
