"""Convolutions whose weights say that they learned nothing: means of windows, windows as channels, and copies.

As tools write them that have no op for it: an average pool as equal taps, YOLOv5's Focus and pixel unshuffling as one
tap each, a pixel shuffle or nearest upsampling as a transposed convolution. But for these, one whose result is bent is
a layer like others, whatever its weights are.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import Step, is_op, result_of, sweep, written
from relcam_onnx.canon.places import shape_of_one
from relcam_onnx.canon.scales import as_batch_norm, reached
from relcam_onnx.model import Model
from relcam_onnx.ops import lookup

BENT = frozenset({
    "Celu", "Clip", "Elu", "Gelu", "HardSwish", "LeakyRelu", "Max", "Mish", "PRelu", "Relu", "Selu", "Softplus",
    "Softsign", "Swish", "Tanh",
})  # fmt: skip
"""What bends what a layer makes."""
EQUAL = 1e-6
"""So far apart, of themselves, numbers of float32 may be that are meant to be one."""


def name_fixed(model: Model) -> None:
    """Rewrite every such convolution by what it does."""
    for node in list(model.graph.nodes):
        if not is_op(node, "Conv", "ConvTranspose") or not isinstance(node.inputs[1], gs.Constant):
            continue
        layer = lookup(node).layer_of(node)
        shift = layer.offset(node) if layer is not None else None
        if shift is None or len(node.inputs[1].shape) < 3 or np.prod(node.inputs[1].shape[2:]) == 1:
            continue
        if is_op(node, "Conv"):
            if any(is_op(reader, *BENT) for reader in reached(node, behind=True)):
                continue
            found = single_channels(node)
            if found is not None and not is_average(model, node, *found, shift) and not shift.any():
                name_taps(model, node, *found)
        elif not shift.any():
            name_spread(model, node)
    sweep(model)


def single_channels(node: gs.Node) -> tuple[np.ndarray, np.ndarray] | None:
    """Which channel each output of a convolution reads, and its taps, (outputs, taps); None where one reads several."""
    weight, group = np.asarray(node.inputs[1].values), int(node.attrs.get("group", 1))
    outputs, inputs = weight.shape[:2]
    taps = weight.reshape(outputs, inputs, -1)
    if np.count_nonzero(taps[0].any(axis=1)) != 1:  # most are found out so
        return None
    reads = taps.any(axis=2)
    if np.any(reads.sum(axis=1) != 1):
        return None
    own, outputs_of_each = reads.argmax(axis=1), outputs // group
    return own + np.arange(outputs) // outputs_of_each * inputs, taps[np.arange(outputs), own]


def is_average(model: Model, node: gs.Node, order: np.ndarray, taps: np.ndarray, shift: np.ndarray) -> bool:
    """Make a convolution by equal taps a mean of windows, padding counted, and a scale; False where it is none."""
    if not np.allclose(taps, taps[:, :1], rtol=EQUAL, atol=0):
        return False
    x, result, channels = node.inputs[0], node.outputs[0], node.inputs[0].shape
    scale = taps[:, 0].astype(np.float64) * taps.shape[1]
    attrs = {k: v for k, v in node.attrs.items() if k != "group"}
    attrs |= {"kernel_shape": list(node.inputs[1].shape[2:]), "count_include_pad": 1}
    if channels is None or list(order) != list(range(channels[1])):
        like = gs.Variable("", x.dtype, None if channels is None else [channels[0], len(order), *channels[2:]])
        x = result_of(model, like, f"{result.name}/reordered", "Gather", x, order, axis=1)
    if np.allclose(scale, 1, rtol=EQUAL, atol=0) and not shift.any():
        node.op, node.attrs, node.inputs = "AveragePool", attrs, [x]
        return True
    mean = result_of(model, result, f"{result.name}/pooled", "AveragePool", x, **attrs)
    as_batch_norm(node, mean, scale, shift)
    return True


def name_taps(model: Model, node: gs.Node, order: np.ndarray, taps: np.ndarray) -> None:
    """Write a convolution that reads each position of its windows, side by side, by moves: windows as channels."""
    x, sizes, window = node.inputs[0], shape_of_one(node.inputs[0]), list(node.inputs[1].shape[2:])
    if sizes is None or not beside(node, window) or np.any(np.array(sizes[2:]) % window):
        return
    if np.any(taps.max(axis=1) != 1) or np.any(np.count_nonzero(taps, axis=1) != 1):
        return
    (_, channels, *_), rank = sizes, len(window)
    grid = [size // k for size, k in zip(sizes[2:], window, strict=True)]
    apart = [channels, *(size for pair in zip(grid, window, strict=True) for size in pair)]
    deep, perm = (channels * taps.shape[1], *grid), [0, 1, *range(3, 3 + 2 * rank, 2), *range(2, 2 + 2 * rank, 2)]
    steps: list[Step] = [
        ("Reshape", apart, (np.array([0, *apart]),), {}),
        ("Transpose", [channels, *window, *grid], (), {"perm": perm}),
        ("Reshape", deep, (np.array([0, *deep]),), {}),
        ("Gather", (len(order), *grid), (order * taps.shape[1] + taps.argmax(axis=1),), {"axis": 1}),
    ]
    written(model, node, x, steps)


def beside(node: gs.Node, window: list[int]) -> bool:
    """Whether the windows of a convolution lie side by side from the first position on."""
    plain = node.attrs.get("auto_pad", "NOTSET") in ("NOTSET", "VALID") and not any(
        value for name in ("pads", "output_padding", "output_shape") for value in node.attrs.get(name) or ()
    )
    spaced = set(node.attrs.get("dilations") or [1]) != {1}
    return plain and not spaced and list(node.attrs.get("strides") or ()) == window


def name_spread(model: Model, node: gs.Node) -> None:
    """Write a transposed convolution that makes each value of one other by what it does: copies, channels as blocks."""
    weight, group, x = np.asarray(node.inputs[1].values), int(node.attrs.get("group", 1)), node.inputs[0]
    inputs, outputs, *window = weight.shape
    if not beside(node, window) or not all(np.all(some * (some - 1) == 0) for some in (weight[0], weight)):
        return
    count = int(np.prod(window))
    read, made, tap = np.nonzero(weight.reshape(inputs, outputs, count))
    made = (read // (inputs // group) * outputs + made) * count + tap
    if not np.array_equal(np.sort(made), np.arange(outputs * group * count)):
        return
    order, sizes = read[np.argsort(made)], shape_of_one(x)
    if np.array_equal(order, np.repeat(np.arange(inputs), count)):
        scales = gs.Constant(f"{node.outputs[0].name}/scales", np.array([1, 1, *window], np.float32))
        node.op, node.inputs = "Resize", [x, gs.Variable.empty(), scales]
        node.attrs = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    elif sizes is not None:
        (_, _, *grid), whole, rank = sizes, outputs * group, len(window)
        apart, wide = (whole, *window, *grid), [size * k for size, k in zip(grid, window, strict=True)]
        pairs = [axis for place in range(rank) for axis in (2 + rank + place, 2 + place)]
        steps: list[Step] = [
            ("Gather", (len(order), *grid), (order,), {"axis": 1}),
            ("Reshape", apart, (np.array([0, *apart]),), {}),
            ("Transpose", [([0, whole, *window, *grid])[axis] for axis in (1, *pairs)], (), {"perm": [0, 1, *pairs]}),
            ("Reshape", (whole, *wide), (np.array([0, whole, *wide]),), {}),
        ]
        written(model, node, x, steps)
