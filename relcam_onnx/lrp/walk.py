"""The reverse pass: relevance meets at each tensor and passes its node by the node's rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

import onnx_graphsurgeon as gs

from relcam_onnx.lrp.plan import Plan, Step
from relcam_onnx.ops import ZERO, Backend, Call, Message, Record, Value, lookup, meet
from relcam_onnx.rules.base import pass_back


def walk(
    f: Backend, plan: Plan, values: Mapping[str, Value], seed: Value, layers: Iterable[gs.Tensor]
) -> dict[str, Message]:
    """Run a plan backwards.

    Parameters
    ----------
    f
        The backend.
    plan
        The steps, from the scores down.
    values
        Tensor name -> activation, (N, ...), for every name in ``plan.tensors``.
    seed
        What relevance starts as, (K·N, ...) in the shape of the scores.
    layers
        The tensors whose relevance is wanted.

    Returns
    -------
    dict
        Tensor name -> what arrived there, for each of ``layers`` that relevance reaches.
    """
    arriving: dict[str, list[Message]] = defaultdict(list)
    arriving[plan.scores.name].append(Message(seed))
    wanted = {t.name for t in layers}
    kept = {}
    for step in plan.steps:
        output = step.node.outputs[0].name
        if output not in arriving:
            continue
        message = meet(f, arriving.pop(output))
        if output in wanted:
            kept[output] = message
        for index, handed in pass_back(f, step.rule, describe(f, step, values), message).items():
            if index not in step.receivers or handed.value is ZERO:
                continue
            name = step.node.inputs[index].name
            arriving[name].append(replace(handed, value=f.arrived(handed.value, values[name])))
    for name, messages in arriving.items():
        if name in wanted:
            kept[name] = meet(f, messages)
    return kept


def describe(f: Backend, step: Step, values: Mapping[str, Value]) -> Record:
    """A node's linear part or relay, with the values of this run."""
    inputs = tuple(value_of(f, tensor, values) for tensor in step.node.inputs)
    output = values[step.node.outputs[0].name]
    return lookup(step.node).build(f, Call(step.node, inputs, output, step.nonnegative))


def value_of(f: Backend, tensor: gs.Tensor, values: Mapping[str, Value]) -> Value | None:
    """A tensor's value in this run: the file's for constants, None for an optional input left out."""
    if isinstance(tensor, gs.Constant):
        value: Value = f.constant(tensor)
        return value
    return None if tensor.is_empty() else values[tensor.name]
