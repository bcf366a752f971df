"""Products of two computed tensors, as in attention: y = a · b.

For relevance a factor that comes from a Softmax (or another gate) is a matrix of fixed numbers that mixes the other
one: R_V = V ⊙ (Aᵀ R / stab(y)), and A gets nothing (Ali et al. 2022, arXiv:2202.07304). Where none does, and under
rule ``halves``, each factor counts half (Achtibat et al. 2024, arXiv:2402.05602, equation 14).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_graphsurgeon as gs

from relcam_onnx.model import producer, static_shape, variables
from relcam_onnx.ops.arithmetic import GATES, SCALING, SHAPING
from relcam_onnx.ops.backend import Backend, Value
from relcam_onnx.ops.records import Call, Linear, Term

MIXED = SHAPING | SCALING | {"Concat", "Where", "ReduceSum", "ReduceMean", "MatMul", "Gemm", "Einsum", "Conv"}
"""What attention's weights may pass: a mean over heads, a layer over heads, a sum of two, a division by their sum."""
HELD = "held"
"""The attribute that canon gives a product: the factor of these two that is held fixed, since no picture is in it."""
FAR = 64
"""So many tensors back a gate is looked for."""

Backs = tuple[Callable[[Value, Any], Value], Callable[[Value, Any], Value]]
"""For each factor: (what arrives at the product, the other factor) -> what arrives at this one."""


def is_product(node: gs.Node) -> bool:
    """Whether a node is a MatMul or Einsum of two computed factors."""
    return node.op in ("MatMul", "Einsum") and len(node.inputs) == 2 and len(list(variables(node))) == 2


def gates_of(tensor: gs.Tensor) -> frozenset[str]:
    """The gates that a tensor is made of alone, by what moves, scales and sums them; none where of anything else too.

    ``Div`` is among them where some are divided by others.
    """
    waiting, seen, found = [tensor], {tensor.name}, set()
    while waiting:
        node = producer(waiting.pop())
        if node is None or len(seen) > FAR:
            return frozenset()
        if node.op in GATES:
            found.add(node.op)
            continue
        # What a Where chooses by is none of what it hands on: exporters guard attention as Where(IsNaN(p), 0, p).
        computed = [t for i, t in variables(node) if (node.op, i) != ("Where", 0)]
        if node.op not in MIXED or (node.op in ("MatMul", "Einsum") and len(computed) > 1):
            return frozenset()
        if node.op == "Div" and len(computed) > 1:
            found.add("Div")
        fresh = [t for t in computed if t.name not in seen]
        waiting += fresh
        seen.update(t.name for t in fresh)
    return frozenset(found) if found != {"Div"} else frozenset()


def is_shares(tensor: gs.Tensor) -> bool:
    """Whether a tensor is made of a softmax, or of gates divided by their sum: what attention weighs by."""
    return bool(gates_of(tensor) & {"Softmax", "Div"})


def mixed(node: gs.Node) -> tuple[int, ...]:
    """The factors of a product that get relevance: all but the one that mixes; both where neither or both do."""
    if HELD in node.attrs:
        return (1 - int(node.attrs[HELD]),)
    mixing = [index for index in (0, 1) if gates_of(node.inputs[index])]
    return (1 - mixing[0],) if len(mixing) == 1 else (0, 1)


def moving(node: gs.Node) -> tuple[int, ...]:
    """The inputs that gradients go to: all that a run computes, but for a factor that is held."""
    return tuple(index for index, _ in variables(node) if index != node.attrs.get(HELD))


def receivers(node: gs.Node) -> tuple[int, ...]:
    """Of MatMul and Einsum the operand that is no constant; of two computed ones, what is mixed."""
    if is_product(node):
        return mixed(node)
    return (1,) if isinstance(node.inputs[0], gs.Constant) else (0,)


def role(node: gs.Node) -> str:
    """A layer, or a product of two computed tensors."""
    return "product" if is_product(node) else "conv"


def attends(node: gs.Node) -> bool:
    """Whether a node is attention's product: one factor, of shares, mixes the other, or is held."""
    if not is_product(node) or len(own := mixed(node)) > 1:
        return False
    return HELD in node.attrs or is_shares(node.inputs[1 - own[0]])


def product_refuses(node: gs.Node) -> str | None:
    """Each picture of a batch has a matrix of its own, or all have one that is held."""
    if HELD in node.attrs:
        return None
    ranks = {len(shape) for t in node.inputs if (shape := static_shape(t)) is not None}
    if len(ranks) == 1 and min(ranks) >= 3:
        return None
    return "both factors are computed, and it is not told that each picture has its own matrices"


def product(f: Backend, call: Call, apply: Callable[[Value, Any], Value], backs: Backs) -> Linear:
    """A product as the linear map of the factor that is mixed, and as that of both."""
    factors = (call.value(0), call.value(1))

    def term(index: int, share: float) -> Term:
        other = factors[1 - index]
        return Term(
            factors[index],
            apply=apply if index == 0 else lambda x, w: apply(w, x),
            adjoint=backs[index],
            weight=other if share == 1 else other * share,
            nonnegative=index in call.nonnegative,
            index=index,
        )

    def halves() -> Linear:
        return Linear((term(0, 0.5), term(1, 0.5)), call.output)

    def derivative(g: Value) -> dict[int, Value]:
        return {index: backs[index](g, factors[1 - index]) for index in moving(call.node)}

    signals = mixed(call.node)
    terms = (term(signals[0], 1.0),) if len(signals) == 1 else halves().terms
    return Linear(terms, call.output, derivative=derivative, halves=halves)


def matrix_product(f: Backend, call: Call) -> Linear:
    """MatMul, opset 13, of two computed stacks of matrices."""
    rank = len(f.dims(call.output))

    def turned(value: Value) -> Value:
        matrices = f.Transpose(value, perm=[*range(rank - 2), rank - 1, rank - 2])
        return matrices if HELD in call.node.attrs else f.each(matrices)

    def summed(s: Value, index: int) -> Value:
        """The sum over the leading axes along which a factor was repeated."""
        own, whole = f.dims(call.value(index))[1:-2], f.dims(call.output)[1:-2]
        axes = [axis for axis, (few, many) in enumerate(zip(own, whole, strict=True), 1) if few == 1 and many != 1]
        return f.ReduceSum(s, axes, keepdims=1) if axes else s

    backs: Backs = (
        lambda s, w: summed(f.MatMul(s, turned(w)), 0),
        lambda s, w: summed(f.MatMul(turned(w), s), 1),
    )
    return product(f, call, f.MatMul, backs)


def einsum_product(f: Backend, call: Call, a: str, b: str, y: str) -> Linear:
    """Einsum, opset 12, of two computed tensors, their axes a letter each."""
    backs: Backs = (
        lambda s, w: f.Einsum(s, f.each(w), equation=f"{y},{b}->{a}"),
        lambda s, w: f.Einsum(s, f.each(w), equation=f"{y},{a}->{b}"),
    )
    return product(f, call, lambda left, right: f.Einsum(left, right, equation=f"{a},{b}->{y}"), backs)
