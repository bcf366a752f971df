"""Every op of the eager backend's table against onnxruntime, and the rules for dtypes, scalars and targets.

Convolution, pools and Resize stand in ``test_eager_windows.py``.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto

from relcam_onnx.backends.eager import Eager

f = Eager()
UNARY = "Neg Abs Sign Sqrt Exp Log Reciprocal Erf Relu Sigmoid Tanh Softplus"
UNARY_BY_REFERENCE = "Floor Ceil Round Sin Cos Elu Celu Selu HardSigmoid HardSwish Mish Gelu LeakyRelu"
BINARY = "Add Sub Mul Div Pow Max Min Sum Greater Less Equal GreaterOrEqual LessOrEqual"
REDUCTIONS = "ReduceSum ReduceMean ReduceMax ReduceMin ReduceL2 ReduceL1 ReduceProd ReduceSumSquare"


def array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def ints(*values: Any) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.mark.parametrize("op", [*UNARY.split(), *UNARY_BY_REFERENCE.split()])
def test_unary(check: Any, op: str) -> None:
    edges = np.array([0, -0.0, 1, -1, 0.5, -2.5, 30, -30, 100, -100, np.inf, -np.inf], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(op, np.concatenate([edges, 3 * array(50)]))


@pytest.mark.parametrize("op", BINARY.split())
@settings(max_examples=8, deadline=None)
@given(shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=4), seed=st.integers(0, 9))
def test_binary_broadcasts(check: Any, op: str, shapes: Any, seed: int) -> None:
    a, b = (np.asarray(np.round(2 * array(*shape, seed=seed + i))) for i, shape in enumerate(shapes.input_shapes))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(op, a, b)


@pytest.mark.parametrize("op", ["And", "Or"])
def test_logic(check: Any, op: str) -> None:
    a, b = array(4, 1) > 0, array(3, seed=1) > 0
    check(op, a, b)
    check("Not", a)


def test_integers_divide_towards_zero(check: Any) -> None:
    check("Div", ints(7, -7, 7, -7, 6, -6, 0), ints(2, 2, -2, -2, 3, 3, 5))


@pytest.mark.parametrize("op", ["Max", "Min", "Sum"])
def test_variadic(check: Any, op: str) -> None:
    check(op, array(3, 1), array(4, seed=1), array(2, 1, 1, seed=2))


def test_the_rest_of_the_elementwise_ops(check: Any) -> None:
    x = array(2, 3, 4)
    check("Where", x > 0, x, array(4, seed=1))
    low, high = np.float32(-0.5), np.float32(0.75)
    for bounds in ((low, high), (None, high), (low,), ()):
        check("Clip", x, *(None if b is None else np.asarray(b) for b in bounds))
    for axis in (0, 1, -1):
        check("Softmax", 50 * x, axis=axis)
    check("Pow", x, ints(2))
    check("MatMul", x, array(4, 5, seed=1))
    check("MatMul", x, array(2, 4, 5, seed=1))
    check("Einsum", x, array(4, 5, seed=1), equation="bij,jk->bki")
    check("Cast", 9 * x, to=TensorProto.INT64)
    check("Cast", x, to=TensorProto.BOOL)


@pytest.mark.parametrize("op", REDUCTIONS.split())
@settings(max_examples=10, deadline=None)
@given(
    data=st.data(),
    shape=hnp.array_shapes(min_dims=1, max_dims=4, max_side=4),
    keepdims=st.sampled_from([0, 1]),
)
def test_reduction(check: Any, op: str, data: Any, shape: tuple[int, ...], keepdims: int) -> None:
    axes = data.draw(st.none() | hnp.valid_tuple_axes(len(shape), min_size=1).map(lambda a: ints(*a)))
    # Off zero, so that the sums do not cancel.
    check(op, array(*shape) + 2, axes, keepdims=keepdims)


def test_reduction_over_no_axes(check: Any) -> None:
    check("ReduceSum", array(2, 3), ints(), noop_with_empty_axes=1)
    check("ReduceSum", array(2, 3), ints(), noop_with_empty_axes=0)


X = array(2, 4, 6)
MOVES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Reshape", (X, ints(0, -1, 2)), {}),
    ("Reshape", (np.zeros((0, 3), np.float32), ints(3, 0)), {"allowzero": 1}),
    ("Transpose", (X,), {"perm": [2, 0, 1]}),
    ("Transpose", (X,), {}),
    ("Concat", (X, X[:, :1]), {"axis": 1}),
    ("Concat", (ints(1), ints(2, 3)), {"axis": 0}),
    ("Slice", (X, ints(1, -3), ints(2**62, -1), ints(1, 2)), {}),
    ("Slice", (X, ints(-1, 5), ints(-(2**62), 0), ints(0, -1), ints(-1, -2)), {}),
    ("Slice", (X, ints(0, 1), ints(1, 3)), {}),
    ("Pad", (X, ints(0, 1, 2, 0, 3, 1), np.float32(7)), {}),
    ("Pad", (X, ints(1, -2), None, ints(2)), {}),
    ("Pad", (X, ints(0, 2, 1, 0, 1, 3)), {"mode": "reflect"}),
    ("Pad", (X, ints(0, 2, 1, 0, 1, 3)), {"mode": "edge"}),
    ("Pad", (X, ints(0, 2, 1, 0, 1, 3)), {"mode": "wrap"}),
    ("Gather", (X, ints([0, -1], [2, 2])), {"axis": 1}),
    ("GatherElements", (X, ints([[0, -1]])), {"axis": 2}),
    ("ScatterElements", (X, ints([[0, -1]]), X[:1, :1, :2]), {"axis": 2}),
    ("ScatterElements", (X, ints([[1, -2, 1, 1]]), X[:1, :1, :4]), {"axis": 2, "reduction": "add"}),
    ("ScatterElements", (X, ints([[1, -2, 1, 1]]), X[:1, :1, :4]), {"axis": 1, "reduction": "mul"}),
    ("ScatterElements", (X, ints([[1], [1]]), X[:1, :2, :1]), {"axis": 1, "reduction": "max"}),
    ("Expand", (X[:, :1], ints(3, 1, 4, 1)), {}),
    ("Tile", (X, ints(1, 2, 3)), {}),
    ("Squeeze", (X[:1, :, :1], ints(0, -1)), {}),
    ("Squeeze", (X[:1, :, :1],), {}),
    ("Unsqueeze", (X, ints(0, -1)), {}),
    ("Flatten", (X,), {"axis": 2}),
    ("Flatten", (X,), {"axis": -1}),
    ("Flatten", (X,), {"axis": 0}),
    ("Identity", (X,), {}),
    ("Shape", (X,), {"start": 1}),
    ("DepthToSpace", (array(1, 8, 2, 3),), {"blocksize": 2}),
    ("DepthToSpace", (array(1, 8, 2, 3),), {"blocksize": 2, "mode": "CRD"}),
    ("SpaceToDepth", (array(1, 2, 4, 6),), {"blocksize": 2}),
    ("OneHot", (ints(0, 2, -1), ints(3), np.array([0, 5], np.float32)), {}),
    ("OneHot", (ints([0, 2]), ints(3), np.array([0, 5], np.float32)), {"axis": 1}),
    ("Range", (ints(2)[0, ...], ints(9)[0, ...], ints(3)[0, ...]), {}),
    ("CumSum", (X, ints(1)[0, ...]), {"reverse": 1}),
    ("ArgMax", (np.round(X),), {"axis": 1, "keepdims": 0}),
    ("ArgMax", (np.round(X),), {"axis": -1, "select_last_index": 1}),
    ("Gemm", (X[0], X[1], X[0, 0, 0]), {"transB": 1, "alpha": 0.5}),
    ("PRelu", (X, X[0, 0]), {}),
    ("LogSoftmax", (X,), {"axis": 1}),
]


@pytest.mark.parametrize(("op", "inputs", "attributes"), MOVES, ids=lambda v: v if isinstance(v, str) else "")
def test_movement_and_reference(check: Any, op: str, inputs: Any, attributes: Any) -> None:
    check(op, *(None if value is None else np.asarray(value) for value in inputs), **attributes)


def test_ops_of_several_outputs(check: Any) -> None:
    check("Split", X, ints(1, 3), outputs=2, axis=1)
    check("Split", X, outputs=4, axis=2, num_outputs=4)
    for largest in (0, 1):
        check("TopK", np.round(X), ints(3), outputs=2, axis=2, largest=largest)


def test_scatter_leaves_its_input_alone() -> None:
    x = np.zeros(3, np.float32)
    f.ScatterElements(x, [0, 0, 2], [1, 2, 3], reduction="add")
    assert not x.any()


def test_numbers_take_the_dtype_of_the_arrays_that_they_meet() -> None:
    x = array(3)
    for y in (f.Mul(x, 2), f.Add(1, x), f.Where(x > 0, x, 0.0), f.Max(x, 0), f.Clip(x, 0, 1), f.Pow(x, 0.5)):
        assert y.dtype == np.float32
    assert f.Add(ints(1), 1).dtype == np.int64
    assert f.Concat([1], f.Shape(x), axis=0).dtype == np.int64
    assert f.Exp(1).dtype == np.float32
    assert f.Relu(x.astype(np.float64)).dtype == np.float64
    assert f.Range(0, 4, 1).dtype == np.int64


def test_arrays_of_two_dtypes_are_refused() -> None:
    with pytest.raises(TypeError, match=r"float32, float64.*Cast"):
        f.Add(array(2), np.zeros(2))
    with pytest.raises(TypeError):
        f.Mul(ints(1), 0.5)


def test_an_op_that_does_not_exist() -> None:
    with pytest.raises(AttributeError, match=r"no op 'Convolve' \(did you mean"):
        f.Convolve  # noqa: B018
    assert not hasattr(f, "__deepcopy__")


def test_each_repeats_blocks_of_images() -> None:
    a = array(2, 3)
    one, two = Eager(), Eager(targets=2)
    assert one.each(a) is a
    np.testing.assert_array_equal(two.each(a), np.concatenate([a, a]))
    for broadcasts in (a[:1], np.float32(1) * a[0, 0, ...]):
        assert two.each(np.asarray(broadcasts)).shape == np.shape(broadcasts)


def test_relevance_of_another_dtype_does_not_arrive() -> None:
    """NumPy widens where ONNX refuses: a rule that mixes dtypes must not pass here and fail in a file."""
    x = array(2, 3)
    assert Eager().arrived(x * 2.0 + 1.0, x) is not None
    with pytest.raises(TypeError, match="relevance has become float64"):
        Eager().arrived(x * np.arange(3.0), x)
