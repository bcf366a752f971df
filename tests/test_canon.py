"""Rewrites of the graph: values stay, spellings become one form, names that go are kept track of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from nets import Net, canonical, inverted, ops, picture, plain, residual, run
from onnx.reference import ReferenceEvaluator

from relcam_onnx.canon import canonicalise
from relcam_onnx.model import Model
from relcam_onnx.onnx_file.load import load


def exact(model: onnx.ModelProto | Model, **inputs: np.ndarray) -> np.ndarray:
    """The first output in float64, by onnx.reference; weights are widened, which changes no value of theirs."""
    if isinstance(model, Model):
        for node in model.graph.nodes:
            if node.op == "MatMul" and len(node.inputs) == 3:  # the engine's MatMul has a bias; ONNX's Gemm is that
                node.op = "Gemm"
        model = gs.export_onnx(model.graph, do_type_check=False)
    wide, narrow = onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for info in (*copy.graph.input, *copy.graph.output, *copy.graph.value_info):
        if info.type.tensor_type.elem_type == narrow:
            info.type.tensor_type.elem_type = wide
    for tensor in copy.graph.initializer:
        if tensor.data_type == narrow:
            array = onnx.numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    doubles = {name: value.astype(np.float64) for name, value in inputs.items()}
    (y,) = ReferenceEvaluator(copy).run(None, doubles)
    return np.asarray(y)


def bn_after(op: str) -> onnx.ModelProto:
    """One layer of this kind and a batch norm."""
    net = Net("N", 4, 6, 6)
    if op == "Conv":
        y = net.conv(net.x, 4, 6, group=2)
    elif op == "ConvTranspose":
        y = net("ConvTranspose", net.x, net.normal(4, 6, 3, 3), net.normal(6), strides=[2, 2])
    elif op == "BatchNormalization":
        y = net.batch_norm(net.batch_norm(net.x, 4), 4)
        return net.model(net.head(y, 4))
    else:
        flat = net("Flatten", net("GlobalAveragePool", net.x))
        y = net.dense(flat, 4, 6) if op == "Gemm" else net("MatMul", flat, net.normal(4, 6))
        return net.model(net.batch_norm(y, 6))
    return net.model(net.head(net.batch_norm(y, 6), 6))


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization"])
def test_batch_norm_folds_into_every_layer_and_values_stay(op: str) -> None:
    """Weights are rounded to float32 once: 1e-6 of the largest score."""
    model, x = bn_after(op), picture(2, 4, 6, 6)
    folded = canonical(model)
    assert "BatchNormalization" not in ops(folded)
    wanted = exact(model, x=x)
    np.testing.assert_allclose(exact(folded, x=x), wanted, atol=1e-6 * np.abs(wanted).max())


def test_batch_norm_folds_into_a_grouped_transposed_convolution() -> None:
    """onnx.reference has no such op; onnxruntime's float32 leaves 1e-5."""
    net = Net("N", 4, 6, 6)
    y = net("ConvTranspose", net.x, net.normal(4, 3, 3, 3), net.normal(6), group=2, strides=[2, 2])
    model, x = net.model(net.head(net.batch_norm(y, 6), 6)), picture(2, 4, 6, 6)
    folded = canonical(model)
    assert "BatchNormalization" not in ops(folded)
    (got,) = run(gs.export_onnx(folded.graph, do_type_check=False), x=x)
    np.testing.assert_allclose(got, run(model, x=x)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", [plain, residual, inverted])
def test_whole_networks_keep_their_values(build: Callable[[], onnx.ModelProto]) -> None:
    model, x = build(), picture(1, 3, 32, 32)
    wanted = exact(model, x=x)
    for batch_norm in (True, False):
        got = exact(canonical(model, batch_norm=batch_norm), x=x)
        np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())


def test_the_runnable_model_is_left_alone() -> None:
    loaded = load(residual())
    before = loaded.proto.SerializeToString()
    canonicalise(loaded, batch_norm=True)
    assert loaded.proto.SerializeToString() == before


def test_what_was_folded_is_known() -> None:
    net = Net("N", 3, 8, 8)
    x = net("Relu", net.batch_norm(net.conv(net.x, 3, 4, name="conv"), 4, name="bn"), name="relu")
    model = net.model(net.head(x, 4))
    assert canonical(model).folded == {"conv": "bn"}
    kept = canonical(model, batch_norm=False)
    assert not kept.folded
    assert ops(kept).count("BatchNormalization") == 1


def test_batch_norm_stays_where_others_read_the_layer() -> None:
    net = Net("N", 3, 8, 8)
    y = net.conv(net.x, 3, 4)
    model = net.model(net.head(net("Add", net.batch_norm(y, 4), y), 4))
    assert ops(canonical(model))[:4] == ["Conv", "Mul", "Add", "GlobalAveragePool"]  # its shift goes to the head


@pytest.mark.parametrize(("scale", "shift"), [("Mul", "Add"), ("Div", "Sub"), ("Mul", "Sub"), ("Div", "Add")])
def test_scale_and_shift_per_channel_are_batch_norm(scale: str, shift: str) -> None:
    """Alone behind a Relu they stay one; behind a convolution they fold."""
    net = Net("N", 3, 8, 8)
    y = net("Relu", net.conv(net.x, 3, 4))
    factor, offset = net.rng.uniform(0.5, 2, (1, 4, 1, 1)), net.normal(4, 1, 1)
    model = net.model(net.head(net("Relu", net(shift, net(scale, y, factor), offset, name="out")), 4))
    loaded, x = canonical(model), picture(1, 3, 8, 8)
    assert ops(loaded).count("BatchNormalization") == 1
    assert not {"Mul", "Div", "Add", "Sub"} & set(ops(loaded))
    np.testing.assert_allclose(exact(loaded, x=x), exact(model, x=x), rtol=1e-5, atol=1e-6)

    behind = Net("N", 3, 8, 8)
    y = behind(shift, behind(scale, behind.conv(behind.x, 3, 4), factor), offset)
    folded = canonical(behind.model(behind.head(y, 4)))
    assert [op for op in ops(folded) if op not in ("GlobalAveragePool", "Flatten", "Gemm")] == ["Conv"]


def test_a_constant_added_to_a_layer_is_its_bias() -> None:
    net = Net("N", 3, 8, 8)
    y = net("Sub", net("Add", net.conv(net.x, 3, 4, bias=False), net.normal(4, 1, 1)), 0.5)
    scores = net("Add", net("MatMul", net("Flatten", net("GlobalAveragePool", y)), net.normal(4, 5)), net.normal(5))
    model = net.model(scores)
    loaded, x = canonical(model), picture(1, 3, 8, 8)
    assert ops(loaded) == ["Conv", "GlobalAveragePool", "Flatten", "MatMul"]
    np.testing.assert_allclose(exact(loaded, x=x), exact(model, x=x), rtol=1e-5, atol=1e-6)


def test_a_constant_that_varies_over_positions_is_no_bias() -> None:
    net = Net("N", 3, 8, 8)
    model = net.model(net.head(net("Add", net.conv(net.x, 3, 4), net.normal(1, 4, 8, 8)), 4))
    assert "Add" in ops(canonical(model))


def test_identity_and_dropout_mean_their_input() -> None:
    net = Net("N", 3, 8, 8)
    y = net("Identity", net("Dropout", net("Relu", net.conv(net.x, 3, 4), name="relu"), name="drop"), name="same")
    loaded = canonical(net.model(net.head(y, 4)))
    assert not {"Identity", "Dropout"} & set(ops(loaded))
    assert loaded.current("same") == loaded.current("drop") == "relu"


def test_shape_arithmetic_becomes_constant() -> None:
    """Flatten as older exporters write it: Shape, Gather, Unsqueeze, Concat, Reshape."""
    net = Net(1, 3, 8, 8)
    y = net("GlobalAveragePool", net.conv(net.x, 3, 4))
    first = net("Gather", net("Shape", y), np.array(0), axis=0)
    shape = net("Concat", net("Unsqueeze", first, np.array([0])), np.array([-1]), axis=0)
    loaded = canonical(net.model(net.dense(net("Reshape", y, shape), 4, 5)))
    assert ops(loaded) == ["Conv", "GlobalAveragePool", "Reshape", "Gemm"]


def test_split_becomes_slices() -> None:
    net = Net("N", 3, 8, 8)
    y = net.conv(net.x, 3, 5)
    net.nodes.append(onnx.helper.make_node("Split", [y], ["a", "b"], "split", axis=1, num_outputs=2))
    model = net.model(net.head(net("Concat", "b", "a", axis=1), 5))
    loaded, x = canonical(model), picture(2, 3, 8, 8)
    assert "Split" not in ops(loaded)
    np.testing.assert_allclose(exact(loaded, x=x), run(model, x=x)[0], rtol=1e-4, atol=1e-5)


def test_an_output_that_a_branch_without_an_end_reads_stays() -> None:
    """Layers lead on from it, but to nothing that the file returns."""
    net = Net("N", 3, 16, 16)
    masks = net.conv(net("Relu", net.conv(net.x, 3, 6)), 6, 4, name="masks")
    net("Relu", net.conv(masks, 4, 4), name="dead")
    assert [t.name for t in canonical(net.model("masks")).graph.outputs] == ["masks"]


def test_each_tensor_of_many_diamonds_is_looked_at_once() -> None:
    """2^64 ways lead to a convolution of one number for each channel, and none of them to a layer."""
    net = Net("N", 4, 8, 8)
    x = net("Relu", net.x)
    for _ in range(64):
        x = net("Add", net("Mul", x, np.float32(0.5)), net("Mul", x, np.float32(0.25)))
    y = net("Conv", x, np.eye(4, dtype=np.float32)[:, :, None, None])
    assert "Conv" in ops(canonical(net.model(net.head(net("Relu", y), 4))))
