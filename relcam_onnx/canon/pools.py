"""Pools: the windows of those that round up, what is a mean by its constants, and what bends before a maximum.

No window begins in the padding, where ONNX's inference counts one that does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.backends._windows import Axis, layout
from relcam_onnx.canon.affine import read
from relcam_onnx.canon.edit import is_op, only_reader, result_of, scaled, sweep, take_over
from relcam_onnx.canon.identity import over
from relcam_onnx.model import Model, producer, static_shape, variables


def windows(node: gs.Node, sizes: Sequence[int | str | None]) -> list[Axis | None]:
    """How the windows of a pool lie along each axis whose size is a number."""
    names, rank = ("strides", "pads", "dilations"), len(sizes)
    lists = {name: list(node.attrs[name]) for name in names if node.attrs.get(name) is not None}
    modes = {name: node.attrs[name] for name in ("auto_pad", "ceil_mode") if node.attrs.get(name) is not None}
    placement: list[dict[str, Any]] = [{**modes, **{k: v[i::rank] for k, v in lists.items()}} for i in range(rank)]
    return [
        layout([size], [kernel], **place)[0] if isinstance(size, int) and size >= 0 else None
        for size, kernel, place in zip(sizes, node.attrs["kernel_shape"], placement, strict=True)
    ]


def round_down(node: gs.Node) -> None:
    """Write a pool that rounds up with padding up to the end of its last window, which every inference can count.

    Where that much padding is not allowed, or would count in the mean, it only ends earlier.
    """
    shape = node.inputs[0].shape
    axes = [axis for axis in windows(node, shape[2:]) if axis is not None] if shape is not None else []
    if shape is None or len(axes) < len(shape) - 2 or node.attrs.get("auto_pad", "NOTSET") != "NOTSET":
        return
    # A window over all that is there may be far larger: EfficientNet's last one has as many rows as it has channels.
    reach = [a.size + a.before + a.after for a in axes]
    whole = [a.count == 1 and a.dilation == 1 and a.kernel > r for a, r in zip(axes, reach, strict=True)]
    axes = [replace(a, kernel=r, stride=r) if w else a for a, r, w in zip(axes, reach, whole, strict=True)]
    node.attrs |= {"kernel_shape": [a.kernel for a in axes], "strides": [a.stride for a in axes]}
    ends = [(a.count - 1) * a.stride + (a.kernel - 1) * a.dilation + 1 - a.size - a.before for a in axes]
    most = [a.after if node.attrs.get("count_include_pad") else max(a.after, a.kernel - 1) for a in axes]
    if any(end > limit for end, limit in zip(ends, most, strict=True)):
        after = [min(max(end, 0), axis.after) for end, axis in zip(ends, axes, strict=True)]
    else:
        node.attrs["ceil_mode"] = 0
        after = [max(end, axis.after) for end, axis in zip(ends, axes, strict=True)]
    node.attrs["pads"] = [*(axis.before for axis in axes), *after]


def name_means(model: Model) -> None:
    """Make a ReduceMean of each ReduceSum that what alone reads it divides by how many numbers it is of.

    And of a product with equal numbers.
    """
    for node in list(model.graph.nodes):
        if is_op(node, "MatMul", "Einsum") and len(node.inputs) == 2:
            name_equal_shares(model, node)
        if is_op(node, "MatMul") and isinstance(node.inputs[1], gs.Constant):
            name_centring(model, node)
        if is_op(node, "ReduceSum") and (share := only_reader(model, node.outputs[0])) is not None:
            name_mean(model, node, share)
    sweep(model)


def name_equal_shares(model: Model, node: gs.Node) -> None:
    """Make a product with one number for all that is summed the mean or the sum that it is."""
    for index in (0, 1):
        constant, computed = node.inputs[index], node.inputs[1 - index]
        if not isinstance(constant, gs.Constant) or isinstance(computed, gs.Constant) or len(computed.shape or ()) < 2:
            continue
        values, axes = np.asarray(constant.values), summed_axes(node, index)
        share = float(values.flat[0]) if axes and values.size > 1 else 0.0
        if share and np.allclose(values, share, rtol=1e-6, atol=0):
            is_mean = np.isclose(share, 1 / values.size, rtol=1e-6, atol=0)
            kept = is_op(node, "MatMul") and values.ndim > 1
            node.op, node.attrs = "ReduceMean" if is_mean else "ReduceSum", {"keepdims": int(kept)}
            node.inputs = [computed, gs.Constant(f"{node.outputs[0].name}/axes", np.array(axes, np.int64))]
            if not is_mean and share != 1:
                scaled(model, node, share)
            return


def name_centring(model: Model, node: gs.Node) -> None:
    """Make a product with I - 1 / n the difference from the mean that it is: tools for accelerators centre so."""
    x, table, result = node.inputs[0], np.asarray(node.inputs[1].values), node.outputs[0]
    if table.ndim != 2 or len(set(table.shape)) != 1 or len(table) < 2 or x.shape is None:
        return
    first = np.eye(1, len(table)) - 1 / len(table)  # one row tells nearly all weights, which are large, apart
    if not np.allclose(table[:1], first, rtol=0, atol=1e-6):
        return
    if np.allclose(table, np.eye(len(table)) - 1 / len(table), rtol=0, atol=1e-6):
        like = gs.Variable("", result.dtype, [*x.shape[:-1], 1])
        mean = result_of(model, like, f"{result.name}/mean", "ReduceMean", x, np.array([-1]), keepdims=1)
        node.op, node.attrs, node.inputs = "Sub", {}, [x, mean]


def summed_axes(node: gs.Node, index: int) -> list[int]:
    """The axes of a product's other factor that one without axes of its own, input ``index``, is summed along."""
    constant, rank = node.inputs[index].values, len(node.inputs[1 - index].shape)
    if is_op(node, "MatMul"):
        count = constant.shape[0 if index else -1] if constant.ndim else 1
        return [rank - (1 if index else 2)] if constant.ndim <= rank and constant.size == count else []
    terms, _, result = node.attrs["equation"].replace(" ", "").partition("->")
    own, other = terms.split(",")[index], terms.split(",")[1 - index]
    rest = "".join(label for label in other if label not in own)
    alone = "." not in terms and len(set(other)) == len(other) and set(own) <= set(other)
    return [other.index(label) for label in own] if alone and result == rest else []


def name_mean(model: Model, node: gs.Node, share: gs.Node) -> None:
    """Make a sum a mean where what alone reads it divides it by how many numbers it is of."""
    spelled, shape, axes = read(share), static_shape(node.inputs[0]), over(node)
    if spelled is None or shape is None or axes is None or spelled[0] is not node.outputs[0]:
        return
    sizes = [shape[axis] for axis in axes]
    affine = spelled[1]
    if None in sizes or affine.axis is not None or not affine.is_scale:
        return
    if np.isclose(affine.scale[0] * math.prod(size or 1 for size in sizes), 1, rtol=1e-6):
        node.op = "ReduceMean"
        take_over(model, node, share)


def bend_first(model: Model) -> None:
    """Let what bends values bend them before a maximum, as most networks have it, and not behind it.

    The largest stays so under what never falls: the maximum of ReLUs is the ReLU of the maximum.
    """
    for node in list(model.graph.nodes):
        while never_falls(node) and (pool := maximum_before(model, node)) is not None:
            largest, source = pool.outputs[0], pool.inputs[0]
            inputs = [source if t is largest else t.values for t in node.inputs]
            bent = result_of(model, source, f"{node.outputs[0].name}/before", node.op, *inputs, **node.attrs)
            take_over(model, pool, node)
            pool.inputs[0] = bent
            (node,) = bent.inputs  # noqa: PLW2901 - it may stand behind a maximum again
    sweep(model)


def maximum_before(model: Model, node: gs.Node) -> gs.Node | None:
    """The maximum of windows, or of axes, that this node alone reads; None where it reads something else."""
    ((_, tensor),) = variables(node)
    pool = producer(tensor)
    if is_op(pool, "MaxPool", "GlobalMaxPool", "ReduceMax") and len(pool.outputs) == 1:
        return pool if only_reader(model, tensor) is node else None
    return None


def never_falls(node: gs.Node) -> bool:
    """Whether a node bends numbers, each by itself, in straight pieces of which none falls."""
    if is_op(node, "LeakyRelu"):
        return float(node.attrs.get("alpha", 0.01)) >= 0
    computed = list(variables(node))
    return is_op(node, "Relu", "Clip", "Max", "Min") and [type(t) for _, t in computed] == [gs.Variable]
