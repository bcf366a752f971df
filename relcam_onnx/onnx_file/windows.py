"""Checks of ops that slide a window: runtimes divide by their strides and groups, before they look at them."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from relcam_onnx.errors import ModelFileError

_LISTS = ("kernel_shape", "strides", "dilations", "pads", "output_padding", "output_shape")
_POSITIVE = ("kernel_shape", "strides", "dilations", "group")
_OPS = frozenset(
    {"Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "MaxPool", "AveragePool", "LpPool", "MaxUnpool"}
)


def check_windows(nodes: Iterable[onnx.NodeProto]) -> None:
    """Check the windows of convolutions and pools; an empty list says what an absent one says, and goes.

    Raises
    ------
    ModelFileError
        A kernel, stride, dilation or group is less than 1, or two of the lists are of different ranks.
    """
    for node in nodes:
        if node.op_type not in _OPS:
            continue
        for attribute in [a for a in node.attribute if a.name in _LISTS and not a.ints]:
            node.attribute.remove(attribute)
        told = {a.name: list(a.ints) or [a.i] for a in node.attribute if a.name in {*_LISTS, "group"}}
        wrong = [f"{name} {told[name]}" for name in _POSITIVE if min(told.get(name, [1])) < 1]
        ranks = {len(told[name]) / (2 if name == "pads" else 1) for name in told if name in _LISTS[:-1]}
        if not wrong and len(ranks) > 1:
            wrong = [f"{name} {values}" for name, values in told.items() if name != "group"]
        if wrong:
            raise ModelFileError(
                f"{node.op_type} {node.name or ', '.join(node.output)!r} has {', '.join(wrong)}, which is no window: "
                "numbers are at least 1, one for each axis (pads two); the file is damaged: export the model again"
            )
