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
from relcam_onnx.canon.edit import is_op, only_reader, result_of, sweep, take_over
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

    And of a product with as many equal shares of 1.
    """
    for node in list(model.graph.nodes):
        if is_op(node, "MatMul") and len(node.inputs) == 2:
            name_equal_shares(node)
        if is_op(node, "ReduceSum") and (share := only_reader(model, node.outputs[0])) is not None:
            name_mean(model, node, share)
    sweep(model)


def name_equal_shares(node: gs.Node) -> None:
    """Make a product with a row or a column of 1 / n, n times, the mean that it is."""
    for index in (0, 1):
        constant, computed = node.inputs[index], node.inputs[1 - index]
        if not isinstance(constant, gs.Constant) or isinstance(computed, gs.Constant) or len(computed.shape or ()) < 2:
            continue
        rank, values = constant.values.ndim, constant.values
        axis, count = (-1, constant.shape[0]) if index and rank else (-2, constant.shape[-1] if rank else 1)
        alone = rank <= len(computed.shape) and values.size == count > 1
        if alone and np.allclose(values, 1 / count, rtol=1e-6, atol=0):
            axes = gs.Constant(f"{node.outputs[0].name}/axes", np.array([axis], np.int64))
            node.op, node.attrs = "ReduceMean", {"keepdims": int(rank > 1)}
            node.inputs = [computed, axes]
            return


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
