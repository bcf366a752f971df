"""The law of two backends: what is written into a file computes what NumPy does, under every rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import helper

from relcam_onnx.backends.emit import Emit
from relcam_onnx.backends.symbols import Symbol
from relcam_onnx.laws.arithmetic import noise, pass_through, rules_for
from relcam_onnx.laws.case import BEYOND_ONNXRUNTIME, Array, Case, session
from relcam_onnx.ops import Backend, Call, Message, Record, Value, lookup
from relcam_onnx.rules import Gradient, Rule

COPIES = "copies"
"""The input that says how often activations are repeated where they meet relevance."""


def handed(
    f: Backend, record: Record, rules: Sequence[Rule], relevance: Value, y: Value, support: Value
) -> dict[str, Any]:
    """What each rule hands each input, for relevance as it is, as a quotient, and with a support."""
    parts = {}
    for number, rule in enumerate(rules):
        forms = {"relevance": Message(relevance)}
        if not isinstance(rule, Gradient):
            forms |= {"quotient": Message(relevance, y), "supported": Message(relevance, support=support)}
        for form, message in forms.items():
            for index, got in pass_through(rule, f, record, message).items():
                parts[f"{number}:{type(rule).__name__}/{form}/{index}"] = got.relevance(f)
    return parts


def emitted(case: Case, call: Call, rules: Sequence[Rule], relevance: Array, support: Array) -> dict[str, Array]:
    """The same in one ONNX file: the node, and behind it what every rule makes of it."""
    proto = case.model()
    f = Emit(frozenset({t.name for t in (*case.node.inputs, *case.node.outputs)}))
    f.repeat = f.symbol(COPIES, np.int64)

    def symbol(name: str, array: Array) -> Symbol:
        return f.symbol(name, array.dtype, array.shape)

    inputs = tuple(
        f.constant(t) if isinstance(t, gs.Constant) else None if t.is_empty() else symbol(t.name, case.values[t.name])
        for t in case.node.inputs
    )
    output = np.asarray(call.output)
    y = symbol("y", output)
    record = lookup(case.node).build(f, Call(case.node, inputs, y, call.nonnegative))
    told = {"relevance": relevance, "support": support, COPIES: np.array([len(relevance) // len(support)])}
    extra = [symbol(name, array) for name, array in told.items()]
    parts = handed(f, record, rules, extra[0], y, extra[1])
    for name, value in parts.items():
        f.nodes.append(helper.make_node("Identity", [f.initializer_name(value)], [name]))
    proto.graph.input.extend(
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in told.items()
    )
    proto.graph.initializer.extend(f.initializers)
    proto.graph.node.extend(f.nodes)
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in parts)
    arrays = session(proto, case.options).run(list(parts), {**case.values, **told})
    return dict(zip(parts, arrays, strict=True))


def inferred(case: Case) -> tuple[int, ...]:
    """What onnxruntime infers: () where that is nothing, wrong where ceil_mode ends in a window of padding."""
    model = case.model()
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return tuple(session(model, case.options).get_outputs()[0].shape)


def emitted_is_eager(case: Case, seed: int) -> None:
    """To 1e-4 of the largest share, or of the largest relevance where shares cancel; in float32 on both sides."""
    targets = 1 + seed % 2
    f, call, record = case.describe(targets)
    y = np.asarray(call.output)
    if case.node.op in BEYOND_ONNXRUNTIME or y.dtype != np.float32 or inferred(case) not in ((), y.shape):
        return
    near = np.abs(f.each(y)) <= 0.05
    relevance: Array = np.where(near, np.float32(0), noise(seed, targets * len(y), *y.shape[1:]))
    support: Array = np.where(np.abs(y) > 0.05, y, np.float32(0))
    rules = rules_for(record)
    wanted = handed(f, record, rules, relevance, y, support)
    got = emitted(case, call, rules, relevance, support)
    assert got.keys() == wanted.keys(), sorted({*got} ^ {*wanted})
    for name, value in wanted.items():
        most = max(float(np.abs(value).max()), float(np.abs(relevance).max()))
        whole = np.broadcast_to(value, got[name].shape)
        np.testing.assert_allclose(got[name], whole, rtol=0, atol=1e-4 * most, err_msg=name)
