"""What the files of transformers' vision models have that other exports have not."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from compare import agree
from nets import Dim, Net, canonical, picture

import relcam_onnx as rc
from relcam_onnx.analysis.frames import rows_for
from relcam_onnx.analysis.layout import Layout
from relcam_onnx.analysis.merging import merged
from relcam_onnx.analysis.rows import leaves_row
from relcam_onnx.canon.sizes import infer_sizes
from relcam_onnx.listing import layer_table
from relcam_onnx.onnx_file.load import load

CHANNELS, SIDE = 8, 16


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def tokens(*, guarded: bool, free: bool = False, blocks: int = 1) -> onnx.ModelProto:
    """Patches and a class token through attention; ``guarded``: where its weights are NaN they are made 0."""
    sides: tuple[Dim, ...] = ("h", "w") if free else (SIDE, SIDE)
    net = Net("N", 3, *sides)
    patches = net("Conv", net.x, net.normal(CHANNELS, 3, 4, 4, scale=0.2), strides=[4, 4])
    row = net("Transpose", net("Reshape", patches, ints(0, CHANNELS, -1)), perm=[0, 2, 1])
    batch = net("Slice", net("Shape", net.x), ints(0), ints(1))
    first = net("Expand", net.normal(1, 1, CHANNELS), net("Concat", batch, ints(1, CHANNELS), axis=0))
    x = net("Concat", first, row, axis=1)
    for _ in range(blocks):
        q, k, v = (net("MatMul", x, net.normal(CHANNELS, CHANNELS, scale=0.3)) for _ in range(3))
        weights = net("Softmax", net("MatMul", q, net("Transpose", k, perm=[0, 2, 1])), axis=-1)
        if guarded:
            weights = net("Where", net("IsNaN", weights), np.float32(0), weights)
        x = net("Add", x, net("MatMul", weights, v))
        x = net("Add", x, net("Relu", net("MatMul", x, net.normal(CHANNELS, CHANNELS, scale=0.3))))
    head = net("Gather", x, np.array(0), axis=1)
    return net.model(net.dense(head, CHANNELS, 5, name="scores"))


@pytest.mark.parametrize("preset", ["default", "attn-lrp", "epsilon-plus"])
def test_attention_guarded_from_nan_is_attention(preset: str) -> None:
    """The newer exporter guards masked attention as Where(IsNaN(p), 0, p)."""
    x, found = picture(2, 3, SIDE, SIDE), []
    for guarded in (True, False):
        with rc.Explainer(tokens(guarded=guarded), ["last", "input"], preset=preset) as explainer:
            found.append(explainer(x, targets=[[0, 3]] * 2).maps)
    for name, wanted in found[1].items():
        agree(found[0][name], wanted)


def test_class_token_is_known_where_pictures_have_any_size() -> None:
    """Behind the last block only the class token is read: that block is no stage, be the row's length known or not."""
    fixed, free = (
        [line.tensor for line in layer_table(tokens(guarded=True, free=free, blocks=6)) if line.stage]
        for free in (False, True)
    )
    assert len(fixed) == 4
    assert free == fixed


@pytest.mark.parametrize(
    ("op", "read", "left"),
    [
        ("Gather", [0], True), ("Gather", [-1], True), ("Gather", [2], False), ("Gather", [-2], False),
        ("Slice", [0, 2], True), ("Slice", [0, 3], False), ("Slice", [-1, 2**31 - 1], True), ("Slice", [-2, -1], False),
        ("Slice", [1, -1], False),
    ],
)  # fmt: skip
def test_entries_are_counted_from_both_ends(op: str, read: list[int], left: bool) -> None:
    """Two entries before and one behind positions of which nothing tells how many there are."""
    net = Net("N", "row", CHANNELS)
    if op == "Gather":
        made = net(op, net.x, ints(*read), axis=1)
    else:
        made = net(op, net.x, ints(read[0]), ints(read[1]), ints(1))
    model = canonical(net.model(net("Relu", made)))
    (node,) = (node for node in model.graph.nodes if node.op in ("Gather", "Slice"))
    assert leaves_row(node, Layout((1,), 3, ("h", "w"), before=2, after=1)) is left


def folded(net: Net) -> str:
    """Channels in the batch, as heads of deformable attention are, behind a Resize and a Tile that keep the batch."""
    x = net("Resize", net.conv(net.x, 3, CHANNELS, stride=4), None, np.float32([1, 1, 2, 2]), mode="nearest")
    x = net("Tile", net("Relu", net.conv(x, CHANNELS, 2, name="last")), ints(1, 4, 1, 1))
    apart = net("Shape", x)
    batch = net("Mul", net("Slice", apart, ints(0), ints(1)), ints(4))
    heads = net("Reshape", x, net("Concat", batch, ints(-1, SIDE // 2, SIDE // 2), axis=0))
    whole = net("Reshape", net("Tanh", net.conv(heads, 2, 2)), apart)
    return net.head(whole, CHANNELS)


def test_names_of_sizes_pass_what_enlarges_and_repeats() -> None:
    net = Net("N", 3, SIDE, SIDE)
    scores = folded(net)
    tensors = canonical(net.model(scores)).graph.tensors()
    shapes = {node.op_type: tensors[node.output[0]].shape for node in net.nodes if node.output[0] in tensors}
    assert (shapes["Resize"], shapes["Tile"]) == (["N", 8, 8, 8], ["N", 8, 8, 8])
    assert next(t.shape[0] for t in tensors.values() if t.inputs and t.inputs[0].op == "Tanh") == "4*N"


def test_flatten_of_the_batch_and_a_row_tells_how_often_the_batch() -> None:
    """LeViT normalises rows of (N · tokens, channels)."""
    net = Net("N", 4, CHANNELS)
    rows = net("Flatten", net.x, axis=2)
    model = load(net.model(net("Tanh", rows)))
    infer_sizes(model)
    assert list(model.graph.tensors()[rows].shape) == ["4*N", CHANNELS]


def test_two_classes_where_channels_stand_in_the_batch() -> None:
    net = Net("N", 3, SIDE, SIDE)
    scores = folded(net)
    model, x = net.model(scores), picture(1, 3, SIDE, SIDE)
    with rc.Explainer(model, "last") as compiled, rc.Explainer(model, "last", backend="eager") as eager:
        agree(compiled(x, targets=[[1, 2]]).maps["last"], eager(x, targets=[[1, 2]]).maps["last"])


def test_times_tell_where_the_name_of_the_batch_was_lost() -> None:
    net = Net("4*unk__1", 8)
    other = Net("N", 5)
    rows = [canonical(one.model(one("Relu", one.x))).graph.inputs[0] for one in (net, other)]
    assert rows_for(*rows) == 4


@pytest.mark.parametrize(("axis", "index", "kept"), [(0, -1, True), (1, 1, True), (2, 0, True), (0, [1], False)])
def test_one_of_a_stack_is_what_was_stacked(axis: int, index: int | list[int], kept: bool) -> None:
    """Deformable DETR stacks the scores of all layers in front of the batch, and hands on the last."""
    net = Net("N", 3, SIDE, SIDE)
    x = net("Flatten", net("GlobalAveragePool", net("Relu", net.conv(net.x, 3, CHANNELS))))
    parts = [net("Tanh", net.dense(x, CHANNELS, 4)), net("Relu", net.dense(x, CHANNELS, 4))]
    stack = net("Concat", *(net("Unsqueeze", part, ints(axis)) for part in parts), axis=axis)
    model = canonical(net.model(net("Sigmoid", net("Gather", stack, np.array(index, np.int64), axis=axis))))
    assert ("Concat" not in [node.op for node in model.graph.nodes]) is kept
    if kept:
        (last,) = (node for node in model.graph.nodes if node.op == "Sigmoid")
        assert last.inputs[0].name == parts[index if isinstance(index, int) else 0]


def test_heads_that_stood_in_the_batch_are_no_rows_of_a_picture() -> None:
    """Table Transformer's attention multiplies (4 N, tokens, channels); what joins the heads again is a dense layer."""
    net = Net("N", 3, SIDE, SIDE)
    patches = net("Conv", net.x, net.normal(CHANNELS, 3, 4, 4, scale=0.2), strides=[4, 4])
    x = net("Transpose", net("Reshape", patches, ints(0, CHANNELS, -1)), perm=[0, 2, 1])
    heads = []
    for _ in range(3):
        made = net("Reshape", net("MatMul", x, net.normal(CHANNELS, CHANNELS)), ints(0, 16, 4, 2))
        heads.append(net("Reshape", net("Transpose", made, perm=[0, 2, 1, 3]), ints(-1, 16, 2)))
    weights = net("Softmax", net("MatMul", heads[0], net("Transpose", heads[1], perm=[0, 2, 1])))
    apart = net("Reshape", net("MatMul", weights, heads[2]), ints(-1, 4, 16, 2))
    joined = net("Reshape", net("Transpose", apart, perm=[0, 2, 1, 3]), ints(0, 16, CHANNELS))
    dense = net("MatMul", joined, net.normal(CHANNELS, CHANNELS))
    scores = net.dense(net("ReduceMean", dense, ints(1), keepdims=0), CHANNELS, 5)
    assert [node.op for node in canonical(net.model(scores)).graph.nodes].count("Conv") == 1


@pytest.mark.parametrize("backend", ["compiled", "eager"])
def test_window_far_larger_than_what_it_reads(backend: str) -> None:
    """EfficientNet ends in a pool of as many rows as it has channels that rounds up: the mean over all positions."""
    found, x = [], picture(2, 3, SIDE, SIDE)
    for large in (True, False):
        net = Net("N", 3, "h", "w")
        made = net("Relu", net.conv(net.x, 3, CHANNELS, stride=2, name="last"))
        if large:
            size = {name: [2560, 2560] for name in ("kernel_shape", "strides")}
            made = net("AveragePool", made, **size, ceil_mode=1, count_include_pad=1)
        else:
            made = net("GlobalAveragePool", made)
        model = net.model(net.dense(net("Flatten", made), CHANNELS, 5, name="scores"))
        with rc.Explainer(model, ["last", "input"], backend=backend) as explainer:
            found.append(explainer(x, targets=[[0, 3]] * 2))
    agree(found[0].outputs["scores"], found[1].outputs["scores"])
    for name, wanted in found[1].maps.items():
        agree(found[0].maps[name], wanted)


def test_sizes_read_beside_a_layer_keep_no_norm_from_it() -> None:
    """LeViT's older exports give rows back the shape of what a dense layer made, whose batch only a run knows."""
    found, x = [], picture(2, 3, SIDE, SIDE)
    for reads in (True, False):
        net = Net("N", 3, SIDE, SIDE)
        patches = net("Conv", net.x, net.normal(CHANNELS, 3, 4, 4, scale=0.2), strides=[4, 4])
        rows = net("Transpose", net("Reshape", patches, ints(0, CHANNELS, -1)), perm=[0, 2, 1])
        dense = net("MatMul", rows, net.normal(CHANNELS, CHANNELS))
        normed = net.batch_norm(net("Flatten", dense, axis=2), CHANNELS)
        shape = net("Shape", dense) if reads else ints(-1, 16, CHANNELS)
        made = net("Relu", net("Reshape", normed, shape))
        model = net.model(net.dense(net("ReduceMean", made, ints(1), keepdims=0), CHANNELS, 5, name="scores"))
        assert "BatchNormalization" not in [node.op for node in canonical(model).graph.nodes]
        with rc.Explainer(model, "input") as explainer:
            found.append(explainer(x, targets=[[0, 3]] * 2).maps["input"])
    agree(*found)


def test_a_slice_whose_bounds_a_run_computes_leaves_no_row() -> None:
    net = Net("N", "row", CHANNELS)
    length = net("Slice", net("Shape", net.x), ints(1), ints(2))
    made = net("Slice", net.x, ints(0), net("Sub", length, ints(2)), ints(1))
    model = canonical(net.model(net("Relu", made)))
    (node,) = (node for node in model.graph.nodes if node.op == "Slice" and len(node.outputs[0].shape) == 3)
    assert not leaves_row(node, Layout((1,), 3, ("h", "w"), before=2, after=1))


def test_rows_of_open_sizes_are_in_no_blocks() -> None:
    net = Net("N", 16, CHANNELS)
    model = canonical(net.model(net("Relu", net("Transpose", net.x, perm=[0, 2, 1]))))
    (node,) = (node for node in model.graph.nodes if node.op == "Transpose")
    assert merged(node.outputs[0], {node.inputs[0].name: Layout((1,), 3, ("h", "w"))}) is None
