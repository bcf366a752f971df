"""A batch that is open in name only: files exported for one picture, whose inputs were opened afterwards.

Inside, a Reshape to numbers alone or a Concat with something stored still holds for one batch only, and onnxruntime
refuses all others. What such a node says of the batch is the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.size_rules import Size, is_number, is_open
from relcam_onnx.model import Model, is_constant


def fix_batch(model: Model) -> bool:
    """Let inputs whose batch is open have the one that the nodes behind them work for; False: they work for any."""
    names = {t.shape[0] for t in model.graph.inputs if t.shape and t.shape[0] and isinstance(t.shape[0], str)}
    told: dict[str, int] = {}
    for size, number in (each for node in (model.graph.nodes if names else ()) for each in said(node)):
        name, times = parted(size)
        if name in names and number % times == 0:
            told[name] = number // times
    if not told:
        return False
    for tensor in model.graph.tensors().values():
        if isinstance(tensor, gs.Variable) and tensor.shape is not None:
            parts = [(size, *parted(size)) for size in tensor.shape]
            tensor.shape = [told[name] * times if name in told else size for size, name, times in parts]
    return True


def name_batch(model: Model) -> bool:
    """Give the first axis of inputs a name where it is open and has none, so that it is known again behind them."""
    opened = [t for t in model.graph.inputs if t.shape and is_open(t.shape[0])]
    unnamed = [t for t in opened if not t.shape[0] or not isinstance(t.shape[0], str)]
    for tensor in unnamed:
        tensor.shape = [f"{tensor.name}/batch", *tensor.shape[1:]]
    return bool(unnamed)


def parted(size: Size) -> tuple[str, int]:
    """The name in a size, and the number that it stands beside: N and 16 of ``16*N``."""
    factors = size.split("*") if isinstance(size, str) else []
    numbers = [int(factor) for factor in factors if factor.isdigit()]
    return "*".join(factor for factor in factors if not factor.isdigit()), prod(numbers)


def said(node: gs.Node) -> Iterator[tuple[Size, int]]:
    """Sizes that are open of which a node tells the number."""
    if is_op(node, "Reshape") and is_constant(node.inputs[1]) and node.inputs[0].shape is not None:
        yield from counted(node.inputs[0].shape, node.inputs[1].values, zeros=bool(node.attrs.get("allowzero")))
    elif is_op(node, "Concat"):
        yield from alike([t.shape for t in node.inputs if t.shape is not None], node.attrs["axis"])


def counted(before: Sequence[Size], target: np.ndarray, *, zeros: bool) -> Iterator[tuple[Size, int]]:
    """The one open size before a Reshape to numbers alone: the elements stay as many."""
    after = [before[axis] if size == 0 and not zeros else int(size) for axis, size in enumerate(target)]
    unknown = [size for size in before if is_open(size)]
    if len(unknown) != 1 or any(map(is_open, after)):
        return
    elements, rest = (prod(size for size in side if is_number(size)) for side in (after, before))
    if elements and rest and elements % rest == 0:
        yield unknown[0], elements // rest


def alike(shapes: Sequence[Sequence[Size]], axis: int) -> Iterator[tuple[Size, int]]:
    """The sizes of what is joined along another axis: all have the same."""
    for place, sizes in enumerate(zip(*shapes, strict=False)):
        number = next((size for size in sizes if is_number(size)), None)
        if place != axis % len(shapes[0]) and number:
            yield from ((size, number) for size in sizes if is_open(size))
