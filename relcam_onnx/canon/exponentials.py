"""The logarithm of a sum of exponentials is one op, also where something is taken from them and added again."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import detach, fold, is_op, is_output, sweep
from relcam_onnx.canon.identity import over
from relcam_onnx.model import Model, consumers, producer

NAME = "ReduceLogSumExp"


def name_log_sums(model: Model) -> None:
    """Write every Log of a ReduceSum of an Exp as a ReduceLogSumExp; of what was shifted, as that of the whole."""
    for node in model.graph.nodes:
        summed = producer(node.inputs[0]) if is_op(node, "Log") else None
        raised = producer(summed.inputs[0]) if is_op(summed, "ReduceSum") else None
        if is_op(raised, "Exp") and summed is not None:
            become(model, node, raised.inputs[0], summed)
        elif is_op(node, "Add") and (found := shifted(node)) is not None:
            become(model, node, *found)
    sweep(model)


def name_softmaxes(model: Model) -> None:
    """Write every Exp of a LogSoftmax, or of values less the logarithm of their sum of exponentials, as a Softmax."""
    for node in model.graph.nodes:
        before = producer(node.inputs[0]) if is_op(node, "Exp") else None
        if is_op(before, "LogSoftmax"):
            axis = int(before.attrs.get("axis", -1))
        elif is_op(before, "Sub") and len(axes := less_its_sum(before)) == 1:
            (axis,) = axes
        else:
            continue
        node.op, node.attrs, node.inputs = "Softmax", {"axis": axis}, [before.inputs[0]]
    sweep(model)


def less_its_sum(node: gs.Node) -> list[int]:
    """The axes of the sum of exponentials whose logarithm a Sub takes from the very values; [] where it does not."""
    taken = producer(node.inputs[1])
    own = is_op(taken, NAME) and taken.inputs[0] is node.inputs[0] and taken.attrs.get("keepdims", 1)
    return (over(taken) or []) if own and taken is not None else []


def shifted(node: gs.Node) -> tuple[gs.Tensor, gs.Node] | None:
    """The values, and the op over those less a number, where an Add adds that number again."""
    for index, number in enumerate(node.inputs):
        inner = producer(node.inputs[1 - index])
        less = producer(inner.inputs[0]) if is_op(inner, NAME) else None
        same = inner is not None and list(number.shape or ()) == list(inner.outputs[0].shape or (None,))
        if inner is not None and same and is_op(less, "Sub") and less.inputs[1] is number:
            return less.inputs[0], inner
    return None


def become(model: Model, node: gs.Node, source: gs.Tensor, over: gs.Node) -> None:
    """Let a node be that op of a tensor, over the axes of one that it reads so far; what nobody reads now is gone."""
    result, maker = node.outputs[0], over
    node.op, node.attrs, node.inputs = NAME, dict(over.attrs), [source, *over.inputs[1:]]
    while (tensor := maker.outputs[0]) is not source and not consumers(tensor) and not is_output(model, tensor):
        before = producer(maker.inputs[0])
        fold(model, tensor, result)
        detach(maker)
        if before is None:
            break
        maker = before
