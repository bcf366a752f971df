"""Ops that read an input between its positions: Resize and GridSample, each one matrix of fixed coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.model import producer
from relcam_onnx.ops.backend import Backend, Value
from relcam_onnx.ops.grids import Grid, resize_grids, sizes_of
from relcam_onnx.ops.pool import average
from relcam_onnx.ops.records import Call, Linear, product
from relcam_onnx.ops.table import Nonnegative, op


def resize_refuses(node: gs.Node) -> str | None:
    """What is cut out of the picture or keeps its aspect is not separable by sizes alone."""
    if node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        return "coordinate_transformation_mode tf_crop_and_resize"
    policy = node.attrs.get("keep_aspect_ratio_policy", "stretch")
    return None if policy == "stretch" else f"keep_aspect_ratio_policy {policy}"


def resize_nonnegative(node: gs.Node, nonnegative: Nonnegative) -> bool:
    """Cubic interpolation overshoots."""
    return node.attrs.get("mode") != "cubic" and nonnegative(node.inputs[0])


@op("Resize", grids=resize_grids, nonnegative=resize_nonnegative, role="average", refuses=resize_refuses)
def resize(f: Backend, call: Call) -> Linear:
    """Resize, opset 18 and later: separable, so one matrix an axis, which resizing the identity gives."""
    x = call.x
    before, after = f.dims(x), f.dims(call.output)
    # Not the batch, which shape inference may call by another name behind a Resize.
    changed = [axis for axis in range(1, len(before)) if after[axis] != before[axis]]
    attrs = call.attributes(
        "mode", "coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a", "exclude_outside", "antialias"
    )
    scales = call.numbers(2)
    matrices = {}
    for axis in changed:
        # Of four axes: onnxruntime has no other cubic kernel.
        grid = f.Reshape(np.eye(int(before[axis]), dtype=np.float32), [1, 1, before[axis], before[axis]])
        axes = call.attr("axes", list(range(len(before))))
        if scales:
            grown = f.Resize(grid, None, [1.0, 1.0, 1.0, scales[axes.index(axis)]], None, **attrs)
        else:
            grown = f.Resize(grid, None, None, [1, 1, before[axis], after[axis]], **attrs)
        matrices[axis] = f.Reshape(grown, [before[axis], after[axis]])

    def along(value: Value, axis: int, matrix: Value) -> Value:
        order = [i for i in range(len(before)) if i != axis] + [axis]
        back = [order.index(i) for i in range(len(before))]
        return f.Transpose(f.MatMul(f.Transpose(value, perm=order), matrix), perm=back)

    def apply(value: Value) -> Value:
        for axis, matrix in matrices.items():
            value = along(value, axis, matrix)
        return value

    def adjoint(value: Value) -> Value:
        for axis, matrix in matrices.items():
            value = along(value, axis, f.Transpose(matrix, perm=[1, 0]))
        return value

    return average(f, call, apply, adjoint)


def sampling_grid(node: gs.Node) -> np.ndarray | None:
    """Where each picture is read, (1, *output, axes): the same for all; None where it is not, or a run computes it."""
    held, maker = node.inputs[1], producer(node.inputs[1])
    if maker is not None and maker.op == "Expand" and list(held.shape or ())[1:] == list(maker.inputs[0].shape)[1:]:
        held = maker.inputs[0]  # to the size of the batch
    if not isinstance(held, gs.Constant):
        return None
    first: np.ndarray = held.values[:1]
    return first if (held.values == first).all() else None


def grid_sample_refuses(node: gs.Node) -> str | None:
    """Where it reads is not the picture's to say; cubic reads beyond a border are NumPy's to get wrong (onnx 1.23)."""
    if is_cubic(node) and node.attrs.get("padding_mode") == "border":
        return "mode cubic with padding_mode border"
    return "its grid is computed, or another one for each picture" if sampling_grid(node) is None else None


def is_cubic(node: gs.Node) -> bool:
    """Whether it overshoots: opset 20 has another name for it."""
    return node.attrs.get("mode") in ("cubic", "bicubic")


def grid_sample_nonnegative(node: gs.Node, nonnegative: Nonnegative) -> bool:
    """Cubic interpolation overshoots."""
    return not is_cubic(node) and nonnegative(node.inputs[0])


def sampled_grids(node: gs.Node, axes: Sequence[int]) -> tuple[Grid, ...]:
    """GridSample: the whole picture, as far as sizes tell."""
    strides = (
        Fraction(before, after) if before and after else Fraction(1)
        for before, after in zip(sizes_of(node.inputs[0], axes), sizes_of(node.outputs[0], axes), strict=True)
    )
    return tuple(Grid(stride, (stride - 1) / 2) for stride in strides)


@op("GridSample", grids=sampled_grids, nonnegative=grid_sample_nonnegative, role="average", refuses=grid_sample_refuses)
def grid_sample(f: Backend, call: Call) -> Linear:
    """GridSample, opset 16 and later, at fixed places: one matrix for all channels, sampled from the identity."""
    before, after = f.dims(call.x), f.dims(call.output)
    read, made = product(before[2:]), product(after[2:])
    attrs = call.attributes("mode", "padding_mode", "align_corners")
    grid = sampling_grid(call.node)
    identity = f.Reshape(np.eye(int(read), dtype=np.float32), [1, read, *before[2:]])
    matrix = f.Transpose(f.Reshape(f.GridSample(identity, grid, **attrs), [read, made]), perm=[1, 0])

    def apply(x: Value) -> Value:
        flat = f.Reshape(x, [0, before[1], read])
        return f.Reshape(f.MatMul(flat, f.Transpose(matrix, perm=[1, 0])), [0, *after[1:]])

    def adjoint(s: Value) -> Value:
        return f.Reshape(f.MatMul(f.Reshape(s, [0, after[1], made]), matrix), [0, *before[1:]])

    return average(f, call, apply, adjoint)
