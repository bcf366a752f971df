"""The leading axis: frames folded into the batch, stacked matrices, tensors stacked on a new axis, flattened images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from compare import agree
from nets import Net, canonical, ops, picture, run
from relcam_exporters import to_onnx
from test_compile import explained, results

import relcam_onnx as rc

BACKENDS = ["eager", "compiled"]
PRESETS = ["default", "paper", "epsilon-plus", "epsilon-plus-flat", "epsilon-alpha2-beta1", "gradient"]
FRAMES = 3
pytestmark = pytest.mark.filterwarnings("ignore:seed 'one-hot'")


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def frame_scores(net: Net, x: str) -> str:
    """What one frame (3, 16, 16) gives: convolutions with names, pooled, a dense layer."""
    x = net("Relu", net.conv(x, 3, 8), name="fine")
    x = net("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net("Relu", net.conv(x, 8, 8), name="coarse")
    return net.head(x, 8, name="each")


def clips(batch: int | str) -> onnx.ModelProto:
    """A classifier of clips: frames are folded into the batch, their scores averaged."""
    net = Net(batch, FRAMES, 3, 16, 16)
    each = frame_scores(net, net("Reshape", net.x, ints(-1, 3, 16, 16)))
    n = net("Shape", net.x, start=0, end=1)
    apart = net("Reshape", each, net("Concat", n, ints(FRAMES, -1), axis=0))
    return net.model(net("ReduceMean", apart, ints(1), keepdims=0, name="scores"))


def frames() -> onnx.ModelProto:
    """The same network for single frames."""
    net = Net("N", 3, 16, 16)
    return net.model(frame_scores(net, net.x))


@pytest.mark.parametrize("batch", [1, 2, "N"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_gradient_of_a_clip_is_its_frames(backend: str, batch: int | str) -> None:
    """The mean over frames: each frame's own gradient over their number, which the network of frames gives."""
    images = batch if isinstance(batch, int) else 2
    x, targets = picture(images, FRAMES, 3, 16, 16), np.array([[0, -1]] * images)
    options: dict[str, Any] = {"layers": "input", "preset": "gradient", "method": "lrp"}
    with rc.Explainer(clips(batch), backend=backend, **options) as explainer:
        both, alone = explainer(x, targets), explainer(x, 0)
    np.testing.assert_array_equal(alone.maps["input"][:, 0], both.maps["input"][:, 0])
    for image, classes in enumerate(both.targets):
        each = explained(frames(), x[image], np.tile(classes, (FRAMES, 1)), **options).maps["input"]
        np.testing.assert_allclose(both.maps["input"][image], np.moveaxis(each, 0, 2) / FRAMES, atol=1e-7)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("batch", [1, 2, "N"])
def test_relevance_passes_through_folded_frames(batch: int | str, preset: str) -> None:
    images = batch if isinstance(batch, int) else 2
    x, targets = picture(images, FRAMES, 3, 16, 16), np.array([[0, -1]] * images)
    options: dict[str, Any] = {"layers": "input", "preset": preset, "method": "lrp"}
    wanted = explained(clips(batch), x, targets, **options).maps["input"]
    with rc.Explainer(clips(batch), **options) as explainer:
        agree(explainer(x, targets).maps["input"], wanted)
    compiled = rc.compile_model(clips(batch), **options)
    onnx.checker.check_model(compiled, full_check=True)
    agree(results(compiled, x=x, relcam_targets=targets)["relevance/input"], wanted)


def tokens(middle: Callable[[Net, str], str], width: int = 8) -> onnx.ModelProto:
    """A convolution, its positions as tokens (N, 16, 8), what is tried, the mean, a dense layer."""
    net = Net("N", 3, 8, 8)
    x = net("Relu", net.conv(net.x, 3, 8, stride=2), name="grid")
    x = net("Transpose", net("Reshape", x, ints(0, 8, -1)), perm=[0, 2, 1], name="tokens")
    x = net("Relu", middle(net, x), name="behind")
    flat = net("Flatten", net("ReduceMean", x, ints(1), keepdims=0))
    return net.model(net.dense(flat, width, 5, name="scores"))


def heads(net: Net, x: str) -> str:
    """(N, 1, T, D) by (H, D, d): several heads at once, summed over afterwards."""
    lifted = net("Unsqueeze", x, ints(1))
    each = net("Relu", net("MatMul", lifted, net.normal(4, 8, 6, scale=0.3)))
    return net("ReduceSum", each, ints(1), keepdims=0)


def heads_on_the_left(net: Net, x: str) -> str:
    """(H, d, T) by (N, 1, T, D)."""
    lifted = net("Unsqueeze", x, ints(1))
    return net("ReduceSum", net("MatMul", net.normal(4, 5, 16, scale=0.3), lifted), ints(1), keepdims=0)


def head_by_head(net: Net, x: str) -> str:
    """What `heads` does, spelled as one product for each."""
    weight = net.normal(4, 8, 6, scale=0.3)
    return net("Sum", *(net("Relu", net("MatMul", x, part)) for part in weight))


STACKS: dict[str, tuple[Callable[[Net, str], str], int]] = {"right": (heads, 6), "left": (heads_on_the_left, 8)}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", STACKS)
def test_stacked_matrices(name: str, preset: str) -> None:
    model = tokens(*STACKS[name])
    x, targets = picture(2, 3, 8, 8), [[0, -1], [1, 2]]
    options: dict[str, Any] = {"layers": ("grid", "input"), "preset": preset, "method": "lrp"}
    wanted = explained(model, x, targets, **options)
    with rc.Explainer(model, **options) as explainer:
        got = explainer(x, targets)
    for layer, value in wanted.maps.items():
        assert np.abs(value).max() > 0
        agree(got.maps[layer], value)


@pytest.mark.parametrize("preset", ["gradient", "epsilon-plus"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_stack_is_its_matrices(backend: str, preset: str) -> None:
    """The way back sums what each of them hands back: the same network with a product for each matrix."""
    x, targets = picture(2, 3, 8, 8), [[0, -1], [1, 2]]
    options: dict[str, Any] = {"layers": ("grid", "input"), "preset": preset, "method": "lrp"}
    model, spelled = tokens(heads, 6), tokens(head_by_head, 6)
    np.testing.assert_allclose(run(model, x=x)[0], run(spelled, x=x)[0], atol=1e-5)
    wanted = explained(spelled, x, targets, **options)
    with rc.Explainer(model, backend=backend, **options) as explainer:
        got = explainer(x, targets)
    for layer, value in wanted.maps.items():
        agree(got.maps[layer], value)


def test_matrices_stacked_along_the_batch_are_refused() -> None:
    """(T, D) has no batch left to meet the stack: (N, T, D) by (H, D, d) pairs images with matrices."""
    model = tokens(lambda net, x: net("MatMul", x, net.normal(2, 8, 8, scale=0.3)))
    with pytest.raises(rc.UnsupportedModelError, match=r"MatMul: it stacks matrices along the batch"):
        rc.Explainer(model, "input", method="lrp")


def ensemble(axis: int, reduce: str, keepdims: int = 0, *, axes: tuple[int, ...] | None = None) -> onnx.ModelProto:
    """Three convolutions of one tensor, stacked on a new axis and combined."""
    net = Net("N", 3, 12, 12)
    stem = net("Relu", net.conv(net.x, 3, 8), name="stem")
    parts = [net("Unsqueeze", net("Relu", net.conv(stem, 8, 8)), ints(axis)) for _ in range(3)]
    stacked = net("Concat", *parts, axis=axis)
    x = net(reduce, stacked, ints(*(axes or (axis,))), keepdims=keepdims)
    return net.model(net.head(net("Tanh", x, name="combined"), 8))


def combined(op: str) -> onnx.ModelProto:
    """The same without a new axis."""
    net = Net("N", 3, 12, 12)
    stem = net("Relu", net.conv(net.x, 3, 8), name="stem")
    parts = [net("Relu", net.conv(stem, 8, 8)) for _ in range(3)]
    x = net("Sum", *parts)
    x = net("Mul", x, np.float32(1 / 3)) if op == "ReduceMean" else x
    return net.model(net.head(net("Tanh", x, name="combined"), 8))


@pytest.mark.parametrize("preset", ["default", "epsilon-plus", "gradient"])
@pytest.mark.parametrize("reduce", ["ReduceMean", "ReduceSum"])
@pytest.mark.parametrize("axis", [0, 1, -1, 2])
def test_a_stack_that_is_combined_is_a_sum(axis: int, reduce: str, preset: str) -> None:
    model, spelled = ensemble(axis, reduce), combined(reduce)
    x, targets = picture(2, 3, 12, 12), [[0, -1], [1, 2]]
    np.testing.assert_allclose(run(model, x=x)[0], run(spelled, x=x)[0], atol=1e-5)
    assert "Concat" not in ops(canonical(model))
    wanted = explained(spelled, x, targets, layers=("stem", "input"), preset=preset, method="lrp")
    for backend in BACKENDS:
        with rc.Explainer(model, ("stem", "input"), preset=preset, method="lrp", backend=backend) as explainer:
            got = explainer(x, targets)
        for layer, value in wanted.maps.items():
            agree(got.maps[layer], value)


def test_other_reductions_of_a_stack_stay() -> None:
    assert "Concat" in ops(canonical(ensemble(1, "ReduceMax")))
    assert "Concat" in ops(canonical(ensemble(1, "ReduceMean", axes=(1, 2), keepdims=1)))


def strided(batch: int, *, spelled: bool) -> onnx.ModelProto:
    """A corner of each image: by constant positions of the flattened tensor (as_strided), or by Slice."""
    net = Net(batch, 3, 12, 12)
    x = net("Relu", net.conv(net.x, 3, 8), name="stem")
    if spelled:
        x = net("Slice", x, ints(0, 0), ints(6, 12), ints(2, 3), ints(1, 2))
    else:
        places = np.arange(batch * 8 * 144).reshape(batch, 8, 12, 12)[:, :, :6, ::2]
        x = net("Gather", net("Reshape", x, ints(-1)), places, axis=0)
    return net.model(net.head(net("Relu", net.conv(x, 8, 8)), 8))


@pytest.mark.parametrize("preset", ["default", "gradient"])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("backend", BACKENDS)
def test_positions_of_flattened_images(backend: str, batch: int, preset: str) -> None:
    x, targets = picture(batch, 3, 12, 12), np.array([[0, -1], [1, 2]])[:batch]
    options: dict[str, Any] = {"layers": ("stem", "input"), "preset": preset, "method": "lrp"}
    wanted = explained(strided(batch, spelled=True), x, targets, **options)
    with rc.Explainer(strided(batch, spelled=False), backend=backend, **options) as explainer:
        got, alone = explainer(x, targets), explainer(x, targets[:, :1])
    for layer, value in wanted.maps.items():
        agree(got.maps[layer], value)
        agree(alone.maps[layer], value[:, :1])


def test_positions_of_other_images_are_refused() -> None:
    net = Net(2, 3, 12, 12)
    x = net("Relu", net.conv(net.x, 3, 8))
    places = np.arange(2 * 8 * 144).reshape(2, 8, 12, 12)[::-1].copy()
    x = net("Gather", net("Reshape", x, ints(-1)), places, axis=0)
    with pytest.raises(rc.UnsupportedModelError, match=r"Gather: it picks along the batch \(Gather node .*\)"):
        rc.Explainer(net.model(net.head(net("Relu", net.conv(x, 8, 8)), 8)), "input", method="lrp")


def repeated(batch: int | str, rows: int) -> onnx.ModelProto:
    """A query of the file that pools positions by attention, and a table; each has ``rows`` rows, all alike."""
    net = Net(batch, 3, 8, 8)
    tokens = net("Transpose", net("Reshape", net.conv(net.x, 3, 4, stride=2, name="patches"), ints(0, 4, 16)),
                 perm=[0, 2, 1])  # fmt: skip
    query, table = (np.repeat(net.rng.standard_normal((1, n, 4)), rows, 0).astype(np.float32) for n in (1, 16))
    tokens = net("Add", tokens, table)
    weights = net("Softmax", net("MatMul", query, net("Transpose", tokens, perm=[0, 2, 1])), axis=-1)
    return net.model(net.dense(net("Flatten", net("MatMul", weights, tokens)), 4, 5, name="scores"))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_fixed_batch_repeats_is_one_for_all(backend: str, preset: str) -> None:
    x = picture(3, 3, 8, 8)
    options: dict[str, Any] = {"layers": ["patches", "input"], "preset": preset, "backend": backend, "method": "lrp"}
    wanted = rc.Explainer(repeated("N", 1), **options)(x, [[0, -1]] * 3)
    got = rc.Explainer(repeated(3, 3), **options)(x, [[0, -1]] * 3)
    for layer, values in wanted.maps.items():
        agree(got.maps[layer], values)


def test_numbers_of_a_fixed_batch_are_no_rows_of_it() -> None:
    net = Net(3, 3, 8, 8)
    scores = net.head(net("Relu", net.conv(net.x, 3, 4)), 4)
    total = net("Mul", net("ReduceSum", scores, keepdims=0), np.float32(2), name="total")
    found = rc.Explainer(net.model(scores, total), output=scores)(picture(3, 3, 8, 8))
    np.testing.assert_allclose(found.outputs["total"], 2 * found.outputs["scores"].sum(), rtol=1e-5)


class ChannelsLast(torch.nn.Module):
    """Its pool reads a tensor whose channels lie last in memory, which PyTorch's exporter writes as_strided for."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.dense, self.head = torch.nn.Conv2d(3, 8, 4, 4), torch.nn.Linear(8, 8), torch.nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.dense(self.patches(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.head(torch.nn.functional.adaptive_avg_pool2d(x.relu(), 1).flatten(1))


def test_what_is_strided_of_the_whole_batch_is_of_each_image() -> None:
    x = picture(3, 3, 16, 16)
    files = [to_onnx(ChannelsLast(), torch.tensor(x), exporter=exporter) for exporter in ("dynamo", "torchscript")]
    assert "Range" in {node.op_type for node in files[0].graph.node}
    for options in ({}, {"preset": "gradient"}):
        made = [rc.Explainer(file, ["stages", "input"], **options)(x, [[0, -1]] * 3) for file in files]
        for layer, values in made[1].maps.items():
            agree(made[0].maps[layer], values)


def resized(batch: int | str, *, asked: bool) -> onnx.ModelProto:
    """A picture at another size, its tokens (T, N, C) through a dense layer; the size holds the run's own batch."""
    net = Net(batch, 3, 8, 8)
    size: str | np.ndarray = ints(*([batch] if isinstance(batch, int) else [2]), 3, 12, 12)
    if asked:
        size = net("Concat", net("Shape", net.x, start=0, end=2), ints(12, 12), axis=0)
    x = net("Resize", net.x, None, None, size, mode="linear")
    tokens = net("Reshape", net.conv(x, 3, 4, stride=2, name="patches"), ints(-1, 4, 36))
    behind = net("Relu", net("MatMul", net("Transpose", tokens, perm=[2, 0, 1]), net.normal(4, 6), name="behind"))
    return net.model(net.dense(net("ReduceMean", behind, ints(0), keepdims=0), 6, 5, name="scores"))


@pytest.mark.parametrize("batch", [2, "N"])
def test_a_size_made_of_the_batch_is_no_value_to_follow(batch: int | str) -> None:
    x = picture(2, 3, 8, 8)
    got, wanted = (
        rc.Explainer(resized(n, asked=asked), ["patches", "input"], method="lrp")(x, [[0, -1]] * 2)
        for n, asked in ((batch, True), (2, False))
    )
    for layer, values in wanted.maps.items():
        agree(got.maps[layer], values)
