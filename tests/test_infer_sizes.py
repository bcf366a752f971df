"""What a file tells of sizes is known: computed sizes, pools that round up, names of sizes that only a run knows."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from compare import agree
from nets import Net, canonical, picture, run
from onnx import TensorProto
from relcam_exporters._torchvision import torchvision
from test_compile import explained, results

import relcam_onnx as rc
from relcam_onnx.canon.size_rules import factors

Build = Callable[[Net, str], str]
INPUTS: dict[str, Sequence[int | str]] = {
    "fixed": (2, 3, 20, 24), "batch": ("N", 3, 20, 24), "free": ("N", 3, "h", "w"),
}  # fmt: skip


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def size(net: Net, x: str, axis: int) -> str:
    """One size of a tensor, (1,), as PyTorch's older exporter computes it."""
    return net("Unsqueeze", net("Gather", net("Shape", x), np.array(axis)), ints(0))


def halves(net: Net, x: str) -> str:
    """torch.chunk and torch.cat of the parts in the other order."""
    half = net("Div", net("Add", size(net, x, 1), ints(1)), ints(2))
    first = net("Slice", x, ints(0), half, ints(1))
    second = net("Slice", x, half, net("Mul", half, ints(2)), ints(1))
    return net("Concat", second, first, axis=1)


def shuffled(net: Net, x: str) -> str:
    """The channels in another order by way of five axes, all sizes but the groups computed."""
    n, c, h, w = (size(net, x, axis) for axis in range(4))
    apart = net("Reshape", x, net("Concat", n, ints(2), net("Div", c, ints(2)), h, w, axis=0))
    turned = net("Transpose", apart, perm=[0, 2, 1, 3, 4])
    return net("Reshape", turned, net("Concat", n, ints(-1), h, w, axis=0))


def in_int32(net: Net, x: str) -> str:
    """As PaddlePaddle writes a change of shape: sizes as int32, positions as one axis, and back."""
    sizes = net("Cast", net("Shape", x), to=TensorProto.INT32)
    front = net("Slice", sizes, ints(0), ints(2), ints(0))
    rest = net("ReduceProd", net("Slice", sizes, ints(2), ints(4), ints(0)), ints(0), keepdims=1)
    flat = net("Cast", net("Concat", front, rest, axis=0), to=TensorProto.INT64)
    return net("Reshape", net("Tanh", net("Reshape", x, flat)), net("Cast", sizes, to=TensorProto.INT64))


def same_padding(net: Net, x: str) -> str:
    """TensorFlow's SAME padding at stride 2, computed from the size."""
    amounts = []
    for axis in (2, 3):
        n = size(net, x, axis)
        reach = net(
            "Add", net("Mul", net("Sub", net("Div", net("Add", n, ints(1)), ints(2)), ints(1)), ints(2)), ints(3)
        )
        amounts.append(net("Max", net("Sub", reach, n), ints(0)))
    before = [net("Div", amount, ints(2)) for amount in amounts]
    after = [net("Sub", amount, less) for amount, less in zip(amounts, before, strict=True)]
    padded = net("Pad", x, net("Concat", ints(0, 0), *before, ints(0, 0), *after, axis=0))
    return net("Conv", padded, net.normal(8, 8, 3, 3, scale=0.2), strides=[2, 2])


def zeros_beside(net: Net, x: str) -> str:
    """Channels of zeros, as large as the sizes say."""
    zero = onnx.numpy_helper.from_array(np.zeros(1, np.float32))
    filled = net("ConstantOfShape", net("Shape", x), value=zero)
    return net.conv(net("Concat", x, filled, axis=1), 16, 8)


def expanded(net: Net, x: str) -> str:
    """torch's expand(n, -1, -1, -1) of a constant: -1 keeps a size, by Equal and Where."""
    one = onnx.numpy_helper.from_array(ints(1))
    asked = net("Concat", size(net, x, 0), ints(-1, -1, -1), axis=0)
    minus = net("Mul", net("ConstantOfShape", net("Shape", asked), value=one), ints(-1))
    ones = net("ConstantOfShape", net("Shape", asked), value=one)
    target = net("Where", net("Equal", asked, minus), ones, asked)
    return net("Add", x, net("Expand", net.normal(1, 8, 1, 1), target))


BUILDS: dict[str, Build] = {
    "halves": halves, "shuffled": shuffled, "int32": in_int32, "SAME": same_padding, "zeros": zeros_beside,
    "expanded": expanded, "twice": lambda net, x: shuffled(net, net("Relu", halves(net, x))),
}  # fmt: skip


def network(build: Build, shape: Sequence[int | str]) -> onnx.ModelProto:
    """A convolution, what is tried, a convolution, a dense layer; nothing infers its shapes beforehand."""
    net = Net(*shape)
    x = build(net, net("Relu", net.conv(net.x, 3, 8), name="first"))
    x = net("Relu", net.conv(x, 8, 8, stride=2), name="second")
    model = net.model(net.head(x, 8))
    del model.graph.value_info[:]
    return model


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("name", BUILDS)
def test_what_is_told_is_what_a_run_has(name: str, inputs: str) -> None:
    """Numbers are the sizes; one name means one size in the whole graph, and 4*N four times N."""
    model = network(BUILDS[name], INPUTS[inputs])
    tensors = {t: v for t, v in canonical(model).graph.tensors().items() if not hasattr(v, "values")}
    made = {output for node in model.graph.node for output in node.output}
    told = {name: tensor.shape for name, tensor in tensors.items() if name in made}
    assert all(shape is not None for shape in told.values())
    if inputs != "free":
        assert all(isinstance(d, int) for name, shape in told.items() for d in shape[1:] if name != "shape")
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in told if name != "scores")
    for batch, height, width in [(2, 20, 24)] if inputs == "fixed" else [(2, 20, 24), (3, 20, 24)]:
        arrays = dict(zip(told, run(model, *told, x=picture(batch, 3, height, width)), strict=True))
        names: dict[str, int] = {"N": batch}
        for tensor, shape in told.items():
            assert len(shape) == arrays[tensor].ndim, tensor
            for d, actual in zip(shape, arrays[tensor].shape, strict=True):
                count, symbol = factors(d) if d is not None else (1, None)
                if symbol is not None:
                    count *= names.setdefault(symbol, actual // count)
                assert d is None or count == actual, (tensor, shape)


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("name", BUILDS)
def test_computed_sizes_are_compiled(name: str, inputs: str) -> None:
    model, layers = network(BUILDS[name], INPUTS[inputs]), ("stages", "fused", "input")
    x, targets = picture(2, 3, 20, 24), [[0, -1], [1, 2]]
    wanted = explained(model, x, targets, layers=layers)
    with rc.Explainer(model, layers) as explainer:
        got = explainer(x, targets)
    assert list(got.maps) == list(wanted.maps)
    for layer, value in wanted.maps.items():
        assert np.abs(value).max() > 0
        agree(got.maps[layer], value)


POOLS: list[dict[str, Any]] = [
    {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 3], "pads": [0, 0, 1, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "dilations": [2, 1], "pads": [1, 0, 2, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2]},
]


@pytest.mark.parametrize("inputs", [(1, 3, 17, 17), (1, 3, 18, 17), ("N", 3, 17, 20), ("N", 3, "h", "w")], ids=str)
@pytest.mark.parametrize("pool", POOLS, ids=str)
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "AveragePool with padding"])
def test_pools_that_round_up(op: str, pool: dict[str, Any], inputs: Sequence[int | str]) -> None:
    """No window begins in the padding, where ONNX's inference has one; what follows is as large as in onnxruntime."""
    kind, _, counted = op.partition(" ")
    attrs = {**pool, "ceil_mode": 1, **({"count_include_pad": 1} if counted else {})}
    net = Net(*inputs, opset=19)
    x = net(kind, net("Relu", net.conv(net.x, 3, 8), name="first"), name="pooled", **attrs)
    x = net("Relu", net.conv(x, 8, 8), name="second")
    model = net.model(net.dense(net("Flatten", net("ReduceMean", x, ints(2, 3))), 8, 5, name="scores"))
    values = picture(1, 3, *(d if isinstance(d, int) else 17 for d in inputs[2:]))
    shapes = [value.shape for value in run(exposed(model, "pooled", "second"), "pooled", "second", x=values)]
    if "h" not in inputs:
        tensors = canonical(model).graph.tensors()
        assert [tuple(tensors[name].shape)[1:] for name in ("pooled", "second")] == [shape[1:] for shape in shapes]
    for options in ({"preset": "gradient", "method": "lrp"}, {}):
        layers = ("second", "first", "input")
        wanted = explained(model, values, [[0, -1]], layers=layers, **options)
        with rc.Explainer(model, layers, **options) as explainer:
            got = explainer(values, [[0, -1]])
        for layer, value in wanted.maps.items():
            agree(got.maps[layer], value)


def exposed(model: onnx.ModelProto, *names: str) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return copy


def test_a_compiled_file_of_fixed_sizes_tells_them() -> None:
    """Tensors behind computed sizes and behind a pool that rounds up: as the model's run has them."""
    net = Net(1, 3, 17, 17)
    attrs: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1] * 4, "ceil_mode": 1}
    x = net("MaxPool", halves(net, net.conv(net.x, 3, 8)), name="pooled", **attrs)
    model = net.model(net.head(net("Sigmoid", x), 8))
    compiled = rc.compile_model(model, ("input", "pooled"), method="lrp")
    onnx.checker.check_model(compiled, full_check=True)
    told = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in compiled.graph.value_info}
    assert told["pooled"] == [1, 8, 9, 9]
    x0 = picture(1, 3, 17, 17)
    np.testing.assert_array_equal(results(compiled, x=x0, relcam_targets=ints(0)[None])["scores"], run(model, x=x0)[0])


@pytest.mark.parametrize("free", [False, True])
def test_shufflenet_as_the_older_exporter_writes_it(free: bool) -> None:
    """Channel shuffles and chunk() over and over: each hangs on the sizes that the one before it left."""
    module, x = torchvision().models.shufflenet_v2_x0_5(weights=None).eval(), torch.zeros(1, 3, 64, 64)
    buffer = io.BytesIO()
    axes = {"x": {0: "n"}} if free else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (x,), buffer, dynamo=False, opset_version=17, dynamic_axes=axes, input_names=["x"])
    model, values = onnx.load_from_string(buffer.getvalue()), picture(1, 3, 64, 64)
    wanted = explained(model, values, [[0, 1]], layers=("stages", "fused", "input"))
    with rc.Explainer(model, ("stages", "fused", "input")) as explainer:
        got = explainer(values, [[0, 1]])
    for layer, value in wanted.maps.items():
        agree(got.maps[layer], value, 1e-3)
    assert onnx.checker.check_model(rc.compile_model(model), full_check=True) is None
