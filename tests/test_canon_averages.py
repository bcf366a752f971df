"""Averages of averages, maxima of maxima: the canonical form of each spelling, and near misses."""

from __future__ import annotations

import numpy as np
import pytest
from test_canon_forms import Drawn, Write, conv, holds, relu, shown


def pool(net: Drawn, x: str, kernel: tuple[int, int], *, tile: bool = True, **attrs: object) -> str:
    return net("AveragePool", x, kernel_shape=list(kernel), strides=list(kernel) if tile else [1, 1], **attrs)


def mean(net: Drawn, x: str, *axes: int, op: str = "ReduceMean", keep: bool = False) -> str:
    return net(op, x, np.array(axes), keepdims=int(keep))


def largest(net: Drawn, x: str, *kernel: int, strides: tuple[int, ...] = (), **attrs: object) -> str:
    return net("MaxPool", x, kernel_shape=list(kernel), strides=list(strides or kernel), **attrs)


def rows(net: Drawn, x: str, **attrs: object) -> str:
    return pool(net, x, (1, 3), tile=False, pads=[0, 1, 0, 1], **attrs)


def columns(net: Drawn, x: str, **attrs: object) -> str:
    return pool(net, x, (3, 1), tile=False, pads=[1, 0, 1, 0], **attrs)


def grouped(net: Drawn) -> str:
    return net("Reshape", conv(net), np.array([1, 2, 2, 8, 8]))


def tiles(net: Drawn, x: str) -> str:
    """Their sums, as a convolution, divided."""
    summed = net("Conv", x, np.ones((4, 1, 2, 2), np.float32), group=4, strides=[2, 2])
    return net("Div", summed, np.float32(4))


FORMS: dict[str, tuple[Write, list[str]]] = {
    "sums of tiles, divided, and their mean": (
        lambda n: pool(n, tiles(n, relu(n)), (4, 4)), ["Conv", "Relu", "AveragePool"],
    ),
    "rows, then columns": (lambda n: mean(n, mean(n, conv(n), 3), 2), ["Conv", "ReduceMean"]),
    "the same axis twice by number": (lambda n: mean(n, mean(n, conv(n), -1), -1), ["Conv", "ReduceMean"]),
    "kept and not": (
        lambda n: mean(n, mean(n, conv(n), 3, keep=True), 2), ["Conv", "ReduceMean", "Unsqueeze"],
    ),
    "a sum of means": (
        lambda n: mean(n, mean(n, relu(n), 3), 2, op="ReduceSum"), ["Conv", "Relu", "ReduceMean", "Mul"],
    ),
    "a sum of sums": (
        lambda n: mean(n, mean(n, conv(n), 3, op="ReduceSum"), 2, op="ReduceSum"), ["Conv", "ReduceSum"],
    ),
    "turned between": (
        lambda n: mean(n, n("Transpose", mean(n, conv(n), 3), perm=[0, 2, 1]), 1), ["Conv", "ReduceMean"],
    ),
    "turned behind": (
        lambda n: mean(n, n("Transpose", mean(n, grouped(n), 1), perm=[0, 2, 1, 3]), 3),
        ["Conv", "Reshape", "ReduceMean", "Transpose"],
    ),
    "rows before all": (
        lambda n: n("GlobalAveragePool", mean(n, conv(n), 3, keep=True)), ["Conv", "ReduceMean"],
    ),
    "- a mean that the file returns": (
        lambda n: mean(n, shown(n, mean(n, conv(n), 3)), 2), ["Conv", "ReduceMean", "ReduceMean"],
    ),
    "- a curve between": (
        lambda n: mean(n, n("Relu", mean(n, conv(n), 3)), 2), ["Conv", "ReduceMean", "Relu", "ReduceMean"],
    ),
    "stripes": (lambda n: pool(n, pool(n, conv(n), (1, 2)), (2, 1)), ["Conv", "AveragePool"]),
    "tiles of tiles": (lambda n: pool(n, pool(n, conv(n), (2, 2)), (2, 2)), ["Conv", "AveragePool"]),
    "windows of tiles": (lambda n: pool(n, pool(n, conv(n), (2, 2)), (3, 3), tile=False), ["Conv", "AveragePool"]),
    "windows of tiles that leave some out": (
        lambda n: pool(n, pool(n, conv(n), (3, 3)), (2, 2)), ["Conv", "AveragePool"],
    ),
    "padded by axis": (lambda n: columns(n, rows(n, conv(n))), ["Conv", "AveragePool"]),
    "padded by axis, all counted": (
        lambda n: columns(n, rows(n, conv(n), count_include_pad=1), count_include_pad=1), ["Conv", "AveragePool"],
    ),
    "- padded by axis, one counted": (
        lambda n: columns(n, rows(n, conv(n), count_include_pad=1)), ["Conv", "AveragePool", "AveragePool"],
    ),
    "- windows of windows": (
        lambda n: pool(n, pool(n, conv(n), (2, 2), tile=False), (2, 2)), ["Conv", "AveragePool", "AveragePool"],
    ),
    "- padded tiles that leave some out": (
        lambda n: pool(n, pool(n, conv(n), (3, 3)), (2, 2), pads=[1, 1, 1, 1]), ["Conv", "AveragePool", "AveragePool"],
    ),
    "all of tiles": (lambda n: n("GlobalAveragePool", pool(n, relu(n), (2, 4))), ["Conv", "Relu", "GlobalAveragePool"]),
    "both axes of tiles": (lambda n: mean(n, pool(n, conv(n), (2, 2)), 2, 3), ["Conv", "ReduceMean"]),
    "a sum of tiles": (
        lambda n: mean(n, pool(n, relu(n), (2, 2)), 2, 3, op="ReduceSum"), ["Conv", "Relu", "ReduceSum", "Mul"],
    ),
    "- one axis of tiles": (lambda n: mean(n, pool(n, conv(n), (2, 2)), 3), ["Conv", "AveragePool", "ReduceMean"]),
    "- all of tiles that leave some out": (
        lambda n: n("GlobalAveragePool", pool(n, conv(n), (3, 3))), ["Conv", "AveragePool", "GlobalAveragePool"],
    ),
    "a row of means, then columns": (
        lambda n: mean(n, pool(n, conv(n), (1, 8)), 2, keep=True), ["Conv", "ReduceMean"],
    ),
    "maxima of rows, then columns": (
        lambda n: mean(n, mean(n, conv(n), 3, op="ReduceMax"), 2, op="ReduceMax"), ["Conv", "ReduceMax"],
    ),
    "minima of rows, then columns": (
        lambda n: mean(n, mean(n, relu(n), 3, op="ReduceMin"), 2, op="ReduceMin"), ["Conv", "Relu", "ReduceMin"],
    ),
    "the largest of a row, then columns": (
        lambda n: mean(n, largest(n, conv(n), 1, 8), 2, op="ReduceMax", keep=True), ["Conv", "ReduceMax"],
    ),
    "all of largest tiles": (lambda n: n("GlobalMaxPool", largest(n, conv(n), 2, 2)), ["Conv", "GlobalMaxPool"]),
    "all of windows that overlap": (
        lambda n: n("GlobalMaxPool", largest(n, conv(n), 3, 3, strides=(2, 2), pads=[1] * 4)),
        ["Conv", "GlobalMaxPool"],
    ),
    "largest stripes": (lambda n: largest(n, largest(n, conv(n), 1, 2), 2, 1), ["Conv", "MaxPool"]),
    "- all of windows that leave some out": (
        lambda n: n("GlobalMaxPool", largest(n, conv(n), 2, 2, strides=(3, 3))), ["Conv", "MaxPool", "GlobalMaxPool"],
    ),
    "- all of tiles that leave the last out": (
        lambda n: n("GlobalMaxPool", largest(n, conv(n), 3, 3)), ["Conv", "MaxPool", "GlobalMaxPool"],
    ),
    "- a mean of maxima": (
        lambda n: mean(n, mean(n, conv(n), 3, op="ReduceMax"), 2), ["Conv", "ReduceMax", "ReduceMean"],
    ),
    "- a mean of largest tiles": (
        lambda n: n("GlobalAveragePool", largest(n, conv(n), 2, 2)), ["Conv", "MaxPool", "GlobalAveragePool"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_the_form_of_averages(name: str) -> None:
    holds(*FORMS[name])
