"""Every op under every rule: what the emitting backend writes computes what the eager backend does."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime
import pytest
from case import BEYOND_ONNXRUNTIME, Case, noise
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from onnx import helper
from test_laws import CASES, pass_through, rules_for

from relcam_onnx.backends.emit import Emit
from relcam_onnx.backends.symbols import Symbol
from relcam_onnx.ops import Backend, Call, Message, Record, Value, lookup
from relcam_onnx.rules import Gradient

EMITTED = sorted({*CASES} - BEYOND_ONNXRUNTIME)
COPIES = "copies"
"""The input that says how often activations are repeated where they meet relevance."""


def handed(f: Backend, record: Record, rules: Any, relevance: Value, y: Value, support: Value) -> dict[str, Value]:
    """What each rule hands each input, for relevance as it is, as a quotient, and with a support."""
    found = {}
    for number, rule in enumerate(rules):
        forms = {"relevance": Message(relevance)}
        if not isinstance(rule, Gradient):
            forms |= {"quotient": Message(relevance, y), "supported": Message(relevance, support=support)}
        for form, message in forms.items():
            for index, got in pass_through(rule, f, record, message).items():
                found[f"{number}:{type(rule).__name__}/{form}/{index}"] = got.relevance(f)
    return found


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def emitted(case: Case, call: Call, rules: Any, relevance: np.ndarray, support: np.ndarray) -> dict[str, np.ndarray]:
    """The same in one ONNX file: the node, and behind it what every rule makes of it."""
    proto = case.model()
    f = Emit(frozenset({t.name for t in (*case.node.inputs, *case.node.outputs)}))
    f.repeat = f.symbol(COPIES, np.int64)

    def symbol(name: str, array: np.ndarray) -> Symbol:
        return f.symbol(name, array.dtype, array.shape)

    inputs = tuple(
        f.constant(t) if isinstance(t, gs.Constant) else None if t.is_empty() else symbol(t.name, case.values[t.name])
        for t in case.node.inputs
    )
    y = symbol(case.node.outputs[0].name, call.output)
    record = lookup(case.node).build(f, Call(case.node, inputs, y, call.nonnegative))
    given = {"relevance": relevance, "support": support, COPIES: np.array([len(relevance) // len(support)])}
    extra = [symbol(name, array) for name, array in given.items()]
    found = handed(f, record, rules, extra[0], y, extra[1])
    for name, value in found.items():
        f.nodes.append(helper.make_node("Identity", [f.initializer_name(value)], [name]))
    proto.graph.input.extend(
        helper.make_tensor_value_info(s.name, helper.np_dtype_to_tensor_dtype(s.dtype), s.dims) for s in extra
    )
    proto.graph.initializer.extend(f.initializers)
    proto.graph.node.extend(f.nodes)
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in found)
    arrays = session(proto).run(list(found), {**case.values, **given})
    return dict(zip(found, arrays, strict=True))


def inferred(case: Case) -> tuple[int, ...]:
    """What onnxruntime infers: () where that is nothing, wrong where ceil_mode ends in a window of padding."""
    model = case.model()
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return tuple(session(model).get_outputs()[0].shape)


@pytest.mark.parametrize("op", EMITTED)
@settings(phases=(Phase.generate,))  # a session for each example: shrinking a failure would take minutes
@given(data=st.data(), seed=st.integers(0, 99), targets=st.sampled_from([1, 2]))
def test_emitted_is_eager(op: str, data: st.DataObject, seed: int, targets: int) -> None:
    """To 1e-4 of the largest share, or of the largest relevance where shares cancel; in float32 on both sides."""
    case = data.draw(CASES[op])
    f, call, record = case.describe(targets)
    assume(inferred(case) in ((), call.output.shape))
    if call.output.dtype != np.float32:
        return
    relevance = noise(seed, targets * len(call.output), *call.output.shape[1:])
    relevance = np.where(np.abs(f.each(call.output)) > 0.05, relevance, np.float32(0))
    support = np.where(np.abs(call.output) > 0.05, call.output, np.float32(0))
    rules = rules_for(record)
    wanted = handed(f, record, rules, relevance, call.output, support)
    got = emitted(case, call, rules, relevance, support)
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        most = max(float(np.abs(value).max()), float(np.abs(relevance).max()))
        whole = np.broadcast_to(value, got[name].shape)
        np.testing.assert_allclose(got[name], whole, rtol=0, atol=1e-4 * most, err_msg=name)
