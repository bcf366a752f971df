"""Attention by queries that are no positions, a learned one repeated for the batch or a mean, wherever the batch is."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from compare import agree
from nets import Net, picture

import relcam_onnx as rc

X = picture(2, 3, 32, 32)
HEADS, WIDTH = 2, 8
BACKENDS = ["eager", "compiled"]


def whole(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def pooled(form: str, batch: int | str = "N") -> onnx.ModelProto:
    """Sixteen tokens, one query that all are pooled by, and five classes."""
    net = Net(batch, 3, 32, 32)
    x = net("Relu", net.conv(net.x, 3, 16, 8, stride=8), name="seen")
    tokens = net("Transpose", net("Reshape", x, whole(0, 16, -1)), perm=[0, 2, 1])
    probe, queries, keys, values, last = (net.normal(*shape, scale=0.3) for shape in ((1, 1, 16), *[(16, 16)] * 4))
    count = net("Gather", net("Shape", tokens), whole(0))
    rows = net("Mul", count, whole(HEADS))
    parts = [net("Reshape", net("MatMul", tokens, weight), whole(0, 0, HEADS, WIDTH)) for weight in (keys, values)]
    key, value = (
        net("Transpose", part, perm=perm) for part, perm in zip(parts, ([0, 2, 3, 1], [0, 2, 1, 3]), strict=True)
    )
    if form == "plain":
        query = net.constant((probe @ queries).reshape(1, 1, HEADS, WIDTH).transpose(0, 2, 1, 3))
    elif form == "fixed":
        query = net.constant(np.tile((probe @ queries).reshape(1, HEADS, 1, WIDTH), (int(batch), 1, 1, 1)))
    else:
        if form == "repeated":
            given = net("Tile", probe, net("Concat", count, whole(1), whole(1), axis=0))
            given = net("Transpose", given, perm=[1, 0, 2])
        elif form == "expanded":
            given = net("Expand", probe, net("Concat", whole(1), count, whole(1), axis=0))
        else:
            given = net("Transpose", net("ReduceMean", tokens, whole(1)), perm=[1, 0, 2])
        apart = net("Reshape", net("MatMul", given, queries), net("Concat", whole(1), rows, whole(WIDTH), axis=0))
        turned = net("Transpose", apart, perm=[1, 0, 2])
        query = net("Reshape", turned, net("Concat", count, whole(HEADS, 1, WIDTH), axis=0))
    if form == "mean, batch first":
        query = net("Reshape", net("MatMul", net("ReduceMean", tokens, whole(1)), queries), whole(0, HEADS, 1, WIDTH))
    mixed = net("MatMul", net("Softmax", net("MatMul", query, key), axis=-1), value, name="mixed")
    if form in ("plain", "mean, batch first"):
        flat = net("Reshape", net("Transpose", mixed, perm=[0, 2, 1, 3]), whole(0, 16))
        return net.model(net.dense(net("MatMul", flat, last), 16, 5))
    flat = net("Reshape", net("Transpose", mixed, perm=[2, 0, 1, 3]), whole(-1, 16))
    out = net("Reshape", net("Gemm", flat, last), net("Concat", whole(1), count, whole(16), axis=0))
    if form != "expanded":
        out, axis = net("Transpose", out, perm=[1, 0, 2]), 1
    else:
        axis = 0
    return net.model(net.dense(net("Gather", out, whole(0).reshape(()), axis=axis), 16, 5))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("form", "plain", "batch"),
    [("repeated", "plain", "N"), ("expanded", "plain", "N"), ("fixed", "plain", 2), ("repeated", "plain", 1),
     ("mean", "mean, batch first", "N"), ("mean", "mean, batch first", 2)],
)  # fmt: skip
def test_one_query_wherever_the_batch_stands(form: str, plain: str, batch: int | str, backend: str) -> None:
    layers = ["seen", "fused", "input"]
    wanted, found = (
        rc.Explainer(pooled(each, batch), layers, backend=backend)(X, [[1, -1]] * 2) for each in (plain, form)
    )
    for name, value in wanted.maps.items():
        agree(found.maps[name], value)
    assert [layer.name for layer in rc.Explainer(pooled(form, batch)).layers.stages] == ["stride8"]


def with_class_token(*, rounded: bool) -> onnx.ModelProto:
    """Queries, keys and values in one tensor, (3, N, heads, T, d), which a quantiser may round between its moves."""
    net = Net(opset=21)
    x = net("Relu", net.conv(net.x, 3, 16, 8, stride=8), name="seen")
    tokens = net("Transpose", net("Reshape", x, whole(0, 16, -1)), perm=[0, 2, 1])
    shape = net("Concat", net("Gather", net("Shape", tokens), whole(0)), whole(1, 16), axis=0)
    tokens = net("Concat", net("Expand", net.normal(1, 1, 16), shape), tokens, axis=1)

    def again(value: str) -> str:
        """In 16 bits, which leaves it next to what it was."""
        if not rounded:
            return value
        parts = np.float32(2**-12), np.uint16(2**15)
        return net("DequantizeLinear", net("QuantizeLinear", value, *parts), *parts)

    packed = net("Reshape", net("MatMul", tokens, net.normal(16, 48, scale=0.2)), whole(0, 0, 3, HEADS, WIDTH))
    packed = again(net("Transpose", again(packed), perm=[2, 0, 3, 1, 4]))
    net.nodes.append(onnx.helper.make_node("Split", [packed], [f"part{i}" for i in range(3)], axis=0, num_outputs=3))
    q, k, v = (again(net("Squeeze", again(f"part{i}"), whole(0))) for i in range(3))
    weights = net("Softmax", net("MatMul", q, again(net("Transpose", k, perm=[0, 1, 3, 2]))), axis=-1)
    mixed = net("Transpose", again(net("MatMul", weights, v)), perm=[0, 2, 1, 3])
    tokens = net("Add", tokens, net("Reshape", mixed, whole(0, 0, 16)))
    return net.model(net.dense(net("Gather", tokens, whole(0).reshape(()), axis=1), 16, 5))


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_rounded_while_the_batch_is_elsewhere(backend: str) -> None:
    """To a 50th of the maximum: steps of 2^-12 in values of about one, several times in a row."""
    layers = ["seen", "input"]
    wanted, found = (
        rc.Explainer(with_class_token(rounded=rounded), layers, backend=backend)(X, [[1]] * 2)
        for rounded in (False, True)
    )
    for name, value in wanted.maps.items():
        np.testing.assert_allclose(found.maps[name], value, rtol=0, atol=np.abs(value).max() / 50)
