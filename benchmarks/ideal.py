"""The ideal cost of an explanation: what it would take if only multiply-adds took time."""

from __future__ import annotations

from math import prod

import onnx_graphsurgeon as gs

from relcam_onnx.lrp.plan import Step
from relcam_onnx.prepare import Prepared
from relcam_onnx.rules import Epsilon, ZBox, ZPlus

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def ideal(prepared: Prepared) -> float:
    """Multiply-adds of the explanation over those of the forward pass, one target.

    Only convolutions and matrix products count. The forward pass does each once. On the way back each one that is
    walked is done again as often as `passes` says; activations, pools, sums and batch norms that stand alone are free.
    Sizes must be fixed in the model.
    """
    forward = sum(multiply_adds(node) for node in prepared.model.graph.nodes)
    back = sum(passes(step) * multiply_adds(step.node) for step in prepared.maps.plan.steps)
    return 1 + back / forward


def multiply_adds(node: gs.Node) -> int:
    """Multiply-adds of one node for one image; 0 for ops without a matrix of weights.

    Every output of a convolution takes one for each weight of its filter, every output of a product one for each
    column of the left factor. A transposed convolution does the same from its input.
    """
    if node.op not in WEIGHTED:
        return 0
    x, weight, y = node.inputs[0], node.inputs[1], node.outputs[0]
    if node.op in ("Gemm", "MatMul"):
        return int(prod(y.shape[1:]) * x.shape[-1])
    whole = x if node.op == "ConvTranspose" else y
    return int(prod(whole.shape[1:]) * prod(weight.shape[1:]))


def passes(step: Step) -> int:
    """How many maps of the layer's own price its rule needs.

    ε: the adjoint; its denominator is the output that the forward pass has. z⁺: a denominator and an adjoint where the
    input is known to be ≥ 0; else one adjoint more, for the negative inputs (the denominator is half the sum of W·x,
    which is known, and |W|·|x|). zᴮ: a denominator and two adjoints, W⁺ and W⁻; maps of the bounds are constants.
    """
    match step.rule:
        case Epsilon():
            return 1
        case ZPlus():
            return 2 if 0 in step.nonnegative else 3
        case ZBox():
            return 3
        case _:
            return 0
