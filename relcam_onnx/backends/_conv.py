"""Convolution and its adjoint: windows become columns, and one matrix product per group does the rest.

Columns are copied tap by tap, in blocks that stay in the processor's cache. This keeps BLAS close to its full
speed for dense, grouped and depthwise kernels of any rank, and bounds the memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from relcam_onnx.backends._arrays import Array, as_array, operands
from relcam_onnx.backends._windows import Axis, layout, taps, transposed_layout

_BLOCK_BYTES = 8 << 20  # of columns at a time: measured, half or twice as much is as fast


@np.errstate(all="ignore")
def conv(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    *,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    **placement: Any,
) -> Array:
    """Convolve (ONNX Conv).

    Parameters
    ----------
    x
        (N, C, *spatial), one to three spatial axes or more.
    w
        (M, C / group, *kernel), the dtype of ``x``.
    b
        (M,), or None.
    group
        Into how many parts the channels are divided.
    kernel_shape
        Ignored: ``w`` has it.
    **placement
        ``strides``, ``pads``, ``dilations`` and ``auto_pad``, as in ONNX.

    Returns
    -------
    ndarray
        (N, M, *output), the dtype of ``x``.
    """
    x, w = operands(x, w)
    axes = layout(x.shape[2:], w.shape[2:], **placement)
    out = tuple(axis.count for axis in axes)
    y = np.empty((len(x), len(w), *out), x.dtype)
    kernels = w.reshape(group, len(w) // group, -1)
    if _pointwise(axes):
        steps = tuple(slice(None, None, axis.stride) for axis in axes)
        columns = x[:, :, *steps].reshape(len(x), group, x.shape[1] // group, -1)
        np.matmul(kernels, columns, out=y.reshape(len(x), group, kernels.shape[1], -1))
    else:
        for block, part in _blocks(axes, x.shape[1] * x.itemsize):
            columns = np.zeros((x.shape[1], *w.shape[2:], *(axis.count for axis in part)), x.dtype)
            for image, result in zip(x, y, strict=True):
                for tap, source, target in taps(part):
                    place: tuple[int | slice, ...] = (slice(None), *tap, *target)
                    columns[place] = image[:, *source]
                product = kernels @ columns.reshape(group, kernels.shape[2], -1)
                result[:, block] = product.reshape(len(w), -1, *out[1:])
    if b is not None:
        y += as_array(b).reshape(-1, *(1 for _ in axes))
    return y


@np.errstate(all="ignore")
def conv_transpose(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    *,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    **placement: Any,
) -> Array:
    """Apply the exact adjoint of `conv` with the same weights (ONNX ConvTranspose).

    Parameters
    ----------
    x
        (N, M, *spatial).
    w
        (M, C / group, *kernel), the dtype of ``x``.
    b
        (C,), or None.
    group
        Into how many parts the channels are divided.
    kernel_shape
        Ignored: ``w`` has it.
    **placement
        ``strides``, ``pads``, ``dilations``, ``output_padding``, ``output_shape`` and ``auto_pad``, as in
        ONNX.

    Returns
    -------
    ndarray
        (N, C, *output), the dtype of ``x``.
    """
    x, w = operands(x, w)
    axes = transposed_layout(x.shape[2:], w.shape[2:], **placement)
    channels = w.shape[1] * group
    kernels = w.reshape(group, len(w) // group, -1).swapaxes(1, 2)
    # A depthwise kernel makes outer products, which matmul leaves to a slow loop.
    product = np.multiply if kernels.shape[2] == 1 else np.matmul
    if _pointwise(axes) and all(axis.stride == 1 for axis in axes):
        y = product(kernels, x.reshape(len(x), group, kernels.shape[2], -1))
        y = y.reshape(len(x), channels, *x.shape[2:])
    else:
        y = np.zeros((len(x), channels, *(axis.size for axis in axes)), x.dtype)
        for block, part in _blocks(axes, channels * x.itemsize):
            for image, result in zip(x, y, strict=True):
                columns = product(kernels, image[:, block].reshape(group, kernels.shape[2], -1))
                columns = columns.reshape(channels, *w.shape[2:], *(axis.count for axis in part))
                for tap, source, target in taps(part):
                    place: tuple[int | slice, ...] = (slice(None), *tap, *target)
                    result[:, *source] += columns[place]
    if b is not None:
        y += as_array(b).reshape(-1, *(1 for _ in axes))
    return y


def _pointwise(axes: Sequence[Axis]) -> bool:
    """Whether every window is one position of the tensor, so that there is nothing to gather."""
    return all(axis.kernel == 1 and axis.before == 0 and axis.after == 0 for axis in axes)


def _blocks(axes: Sequence[Axis], tap_bytes: int) -> Iterator[tuple[slice, tuple[Axis, ...]]]:
    """Divide the windows along the first axis so that the columns of each part fit the cache."""
    first, *rest = axes
    row = tap_bytes * math.prod(axis.kernel for axis in axes) * math.prod(axis.count for axis in rest)
    rows = max(1, _BLOCK_BYTES // row)
    for start in range(0, first.count, rows):
        stop = min(start + rows, first.count)
        yield slice(start, stop), (first.block(start, stop), *rest)
