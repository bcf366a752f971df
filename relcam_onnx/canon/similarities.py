"""Pictures beside texts (CLIP, Radford et al. 2021): how alike each picture's and each text's embedding are.

The texts are a batch of their own, and what is made of them alone is held fixed: the product is a layer of the
pictures, whose classes are the texts. It is brought into the form (pictures, D) · (D, texts), which such files turn.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_graphsurgeon as gs

from relcam_onnx.canon.affine import read
from relcam_onnx.canon.axes import permutation
from relcam_onnx.canon.edit import is_op, sweep
from relcam_onnx.canon.moving import transposed, turned
from relcam_onnx.model import Model, producer, variables
from relcam_onnx.ops.product import HELD, is_product

TURN = [1, 0]
PICTURE = 4
"""So many axes has a picture, or more."""


def hold_texts(model: Model) -> None:
    """Mark every product of pictures' rows by what is made of other inputs alone."""
    pictures = [t for t in model.graph.inputs if len(t.shape or ()) >= PICTURE]
    others = [t for t in model.graph.inputs if 0 < len(t.shape or ()) < PICTURE]
    if not pictures or not others:
        return
    seen, told = made_of(model, pictures), made_of(model, others)
    for node in list(model.graph.nodes):
        if is_op(node, "MatMul") and is_product(node) and all(len(t.shape or ()) == 2 for t in node.inputs):
            sides = [t.name in seen for t in node.inputs]
            if sides == [True, False] and node.inputs[1].name in told:
                node.attrs[HELD] = 1
            elif sides == [False, True] and node.inputs[0].name in told:
                turn(model, node)
    sweep(model)


def made_of(model: Model, inputs: Iterable[gs.Tensor]) -> set[str]:
    """The tensors that depend on some inputs, these included."""
    found = {t.name for t in inputs}
    for node in model.graph.nodes:
        if any(t.name in found for _, t in variables(node)):
            found.update(t.name for t in node.outputs)
    return found


def turn(model: Model, node: gs.Node) -> None:
    """Write texts · picturesᵀ as (pictures · textsᵀ)ᵀ, and what turns it again, scaled or not, without a turn."""
    texts, pictures = node.inputs
    before, result = producer(pictures), node.outputs[0]
    if not is_op(before, "Transpose") or permutation(before) != TURN:
        return
    source, name = before.inputs[0], result.name
    columns = turned(model, texts, TURN, f"{name}/texts")
    alike = transposed(model, result, TURN, f"{name}/alike")
    node.inputs, node.outputs, node.attrs = [source, columns], [alike], {HELD: 1}
    model.graph.nodes.append(gs.Node("Transpose", name, {"perm": TURN}, [alike], [result]))
    for end in [n for n in model.graph.nodes if is_op(n, "Transpose") and permutation(n) == TURN]:
        chain: list[gs.Node] = []
        tensor = end.inputs[0]
        while tensor is not result and (step := producer(tensor)) is not None and is_scaling(step):
            chain.insert(0, step)
            tensor = next(t for _, t in variables(step))
        if tensor is result and end.outputs[0] is not alike:
            unturned(model, chain, end, alike)


def unturned(model: Model, chain: list[gs.Node], end: gs.Node, alike: gs.Tensor) -> None:
    """Let the scalings that lead to a turn be done before the first one."""
    if not chain:
        return  # two turns: nothing is left of them
    wanted, current = end.outputs[0], alike
    end.outputs.clear()
    for step in chain:
        old = step.outputs[0]
        made = wanted if step is chain[-1] else transposed(model, old, TURN, f"{old.name}/alike")
        inputs = [t if isinstance(t, gs.Constant) else current for t in step.inputs]
        model.graph.nodes.append(gs.Node(step.op, made.name, dict(step.attrs), inputs, [made]))
        current = made


def is_scaling(node: gs.Node) -> bool:
    """Whether a node scales or shifts all of a tensor by one number."""
    spelled = read(node)
    return spelled is not None and spelled[1].axis is None
