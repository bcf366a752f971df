"""The reverse pass: relevance meets at each tensor and passes its node by the node's rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast

import onnx_graphsurgeon as gs

from relcam_onnx.backends.symbols import UnknownSizeError
from relcam_onnx.lrp.plan import Plan, Step
from relcam_onnx.model import View
from relcam_onnx.ops import ZERO, Backend, Call, Linear, Message, Record, Value, lookup, meet
from relcam_onnx.ops.records import product
from relcam_onnx.rules.base import Messages, pass_back

T = TypeVar("T")


Watch: TypeAlias = Callable[[Step, Message, Messages], None]
"""Is told of each node: what arrived at its output, and what goes on to its inputs."""


def walk(
    f: Backend,
    plan: Plan,
    values: Mapping[str, Value],
    seed: Value,
    layers: Iterable[gs.Tensor],
    watch: Watch | None = None,
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
    watch
        Is told of every step.

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
        handed = going_on(step, handed_back(f, step, values, message))
        if watch is not None:
            watch(step, message, handed)
        for index, part in handed.items():
            name = step.node.inputs[index].name
            arriving[name].append(replace(part, value=f.arrived(part.value, values[name])))
    for name, messages in arriving.items():
        if name in wanted:
            kept[name] = meet(f, messages)
    return kept


def going_on(step: Step, handed: Messages) -> Messages:
    """Of what a rule hands back, what is worth passing: to inputs that receive, and not nothing."""
    return {i: part for i, part in handed.items() if i in step.receivers and part.value is not ZERO}


def handed_back(f: Backend, step: Step, values: Mapping[str, Value], message: Message) -> Messages:
    """What each input of one node gets."""
    try:
        if step.rounded:  # what is promised holds of the rounded value
            message = replace(message, support=None)
        return pass_back(f, step.rule, describe(f, step, values), message)
    except UnknownSizeError as error:
        error.node = step.node
        raise


def describe(f: Backend, step: Step, values: Mapping[str, Value]) -> Record:
    """A node's linear part or relay, with the values of this run."""
    inputs = tuple(value_of(f, tensor, values) for tensor in step.node.inputs)
    output = values[step.node.outputs[0].name]
    build, call = lookup(step.node).build, Call(step.node, inputs, output, step.nonnegative)
    record = build(f, call)
    return build(f, replace(call, output=unrounded(f, record, output))) if step.rounded else record


def unrounded(f: Backend, record: Record, output: Value) -> Value:
    """What a node makes of its inputs, where the file has that rounded, which may be more than all of it.

    A linear op's is computed anew. Others pass on what their inputs hold: they are given another value than the one
    that messages name, so that relevance itself goes on, and no quotient by what rounded to 0.
    """
    if isinstance(record, Linear):
        parts = [term.apply(term.x, term.weight) for term in record.terms]
        made = f.Sum(*parts, *([] if record.bias is None else [record.bias]))
    else:
        made = f.Identity(output)
    return f.sized(made, f.dims(output))


def activations(f: Backend, plan: Plan, value: Callable[[str], T]) -> dict[str, T]:
    """The values that a plan reads: ``value`` of the file's tensors, and views made of them."""
    values: dict[str, T] = {}
    return {name: activation(f, plan, value, values, name) for name in plan.tensors}


def activation(f: Backend, plan: Plan, value: Callable[[str], T], values: dict[str, T], name: str) -> T:
    """One of them, kept in ``values``.

    No closure that calls itself: that would hold all values until Python's collector comes by.
    """
    if name not in values:
        view = plan.views.get(name)
        known = partial(activation, f, plan, value, values)
        values[name] = value(name) if view is None else seen(f, view, known)
    return values[name]


def seen(f: Backend, view: View, value: Callable[[str], T]) -> T:
    """A view's value."""
    inputs: list[Any] = [value(part.name) if isinstance(part, gs.Tensor) else part for part in view.inputs]
    if view.op == "Like":
        return cast(T, f.Reshape(inputs[0], f.dims(inputs[1])))
    if view.op == "Part":
        rows, number = f.dims(inputs[1])[0], view.attrs["part"]
        return cast(T, f.Slice(inputs[0], [product([rows, number])], [product([rows, number + 1])], [0]))
    made = getattr(f, view.op)(*inputs, **view.attrs)
    return cast(T, made[0] if isinstance(made, tuple) else made)  # of MaxPool, not where the largest stand


def value_of(f: Backend, tensor: gs.Tensor, values: Mapping[str, Value]) -> Value | None:
    """A tensor's value in this run: the file's for constants, None for an optional input left out."""
    if isinstance(tensor, gs.Constant):
        value: Value = f.constant(tensor)
        return value
    return None if tensor.is_empty() else values[tensor.name]
