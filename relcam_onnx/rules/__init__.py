"""The LRP rules: how the relevance of a linear op's output is shared among its inputs.

Notation: y_j = Σ_i x_i w_ij + b_j, R_j the relevance of output j; x⁺ = max(x, 0), x⁻ = min(x, 0), same for w, b.
Every denominator is stabilised, stab(z) = z + ε · sign(z) with sign(0) = +1. Each class is one formula;
docs/methods.md sets them beside each other.

Sources: Bach et al. 2015, doi:10.1371/journal.pone.0130140 (ε, αβ); Montavon et al. 2017, arXiv:1512.02479
(z⁺, zᴮ, w²); Montavon et al. 2019, doi:10.1007/978-3-030-28954-6_10 (γ, rule 0); Lapuschkin et al. 2019,
arXiv:1902.10178 (flat); Springenberg et al. 2015, arXiv:1412.6806 (guided); Achtibat et al. 2024, arXiv:2402.05602
(halves, taylor).
"""

from __future__ import annotations

from relcam_onnx.rules.base import EPSILON, Messages, Rule
from relcam_onnx.rules.inputs import Flat, WSquare, ZBox
from relcam_onnx.rules.plain import Gradient, Guided, Pass
from relcam_onnx.rules.published import PublishedAdaptivePool, PublishedConv
from relcam_onnx.rules.shares import AlphaBeta, Epsilon, Gamma, Halves, Norm, SignShare, Taylor, Zero, ZPlus

RULES: dict[str, type[Rule]] = {
    rule.name: rule
    for rule in (
        Zero,
        Epsilon,
        Gamma,
        AlphaBeta,
        ZPlus,
        ZBox,
        WSquare,
        Flat,
        Pass,
        Norm,
        SignShare,
        Gradient,
        Guided,
        Halves,
        Taylor,
    )
}
"""The rules by the names that TOML presets use."""

__all__ = [
    "EPSILON",
    "RULES",
    "AlphaBeta",
    "Epsilon",
    "Flat",
    "Gamma",
    "Gradient",
    "Guided",
    "Halves",
    "Messages",
    "Norm",
    "Pass",
    "PublishedAdaptivePool",
    "PublishedConv",
    "Rule",
    "SignShare",
    "Taylor",
    "WSquare",
    "ZBox",
    "ZPlus",
    "Zero",
]
