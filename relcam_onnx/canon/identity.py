"""Nodes that hand their input on go, and their output's name means the input; twice the same node is one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.axes import RESHAPES, permutation
from relcam_onnx.canon.edit import bypass, detach, is_op, is_output, read_instead, sweep
from relcam_onnx.model import Model, consumers, producer, static_shape

WHOLE = 2**31 - 1
"""Where exporters write that a Slice ends at the end."""
SHARED = 4096
"""Constants of more elements are told apart by name, not by value."""


def drop_identities(model: Model) -> None:
    """Take out, in the order of the forward pass, whatever changes no value of what it reads."""
    for node in model.graph.nodes:
        join_moves(node)
        source = handed_on(node)
        if source is not None:
            bypass(model, node, source)
    sweep(model)


def handed_on(node: gs.Node) -> gs.Tensor | None:
    """The input whose values a node hands on unchanged; None where it computes something."""
    if not node.outputs or not node.inputs or not is_op(node, node.op) or node.op not in HANDS_ON:
        return None
    return HANDS_ON[node.op](node)


def join_moves(node: gs.Node) -> None:
    """Of moves behind moves one counts; a Slice cuts along each of its axes, a mean has several values to take."""
    before = producer(node.inputs[0]) if node.inputs else None
    if is_op(node, "Transpose") and is_op(before, "Transpose"):
        first, second = permutation(before), permutation(node)
        node.attrs = {"perm": [first[axis] for axis in second]}
        node.inputs[0] = before.inputs[0]
    elif is_op(node, *RESHAPES) and is_op(before, *RESHAPES):
        # Shapes stand on the tensors; a target of the old form could name sizes of the tensor in between.
        node.op, node.attrs = "Reshape", {}
        node.inputs = [before.inputs[0]]
    elif is_op(node, "Slice"):
        keep_cuts(node)
    elif is_op(node, *REDUCES) and not node.attrs.get("keepdims", 1) and reduces_nothing(node):
        node.op, node.attrs = "Squeeze", {}
    elif is_op(node, "Gather") and takes_the_only(node):
        axis = gs.Constant(f"{node.outputs[0].name}/axis", np.array([node.attrs.get("axis", 0)], np.int64))
        node.op, node.attrs, node.inputs = "Squeeze", {}, [node.inputs[0], axis]


def takes_the_only(node: gs.Node) -> bool:
    """Whether a Gather takes what stands alone along an axis, and the axis away."""
    shape, index = static_shape(node.inputs[0]), node.inputs[1]
    one = isinstance(index, gs.Constant) and index.values.ndim == 0
    return one and shape is not None and shape[int(node.attrs.get("axis", 0))] == 1


def first_if(test: Callable[[gs.Node], bool]) -> Callable[[gs.Node], gs.Tensor | None]:
    """The first input where a test holds."""
    return lambda node: node.inputs[0] if test(node) else None


def same_shape(node: gs.Node) -> bool:
    """Whether a node's first input and output are known to have one shape."""
    before, after = node.inputs[0].shape, node.outputs[0].shape
    return before is not None and after is not None and list(before) == list(after) and None not in before


def is_float(tensor: gs.Tensor) -> bool:
    """Whether a tensor holds floating-point numbers, which relevance takes as float32 whatever their width."""
    return tensor.dtype is not None and np.dtype(tensor.dtype).kind == "f"


def are_whole(tensor: gs.Tensor) -> bool:
    """Whether a tensor is known to hold whole numbers."""
    # onnx-graphsurgeon has ONNX's number where NumPy has no such type; all of those are floats.
    return tensor.dtype is not None and not isinstance(tensor.dtype, int) and np.dtype(tensor.dtype).kind in "iu"


def neutral(value: float) -> Callable[[gs.Node], gs.Tensor | None]:
    """The operand beside a constant that is ``value`` everywhere and broadcasts to it."""

    def other(node: gs.Node) -> gs.Tensor | None:
        if len(node.inputs) != 2:
            return None
        for index in (1, 0) if node.op in ("Add", "Mul", "Sum") else (1,):
            constant, source = node.inputs[index], node.inputs[1 - index]
            if not isinstance(constant, gs.Constant) or isinstance(source, gs.Constant) or source.shape is None:
                continue
            fits = same_shape(node) or (
                max(constant.shape, default=1) == 1 and len(constant.shape) <= len(source.shape)
            )
            if fits and np.all(constant.values == value):
                return source
        return None

    return other


def always(node: gs.Node) -> gs.Tensor | None:
    """What a Where chooses everywhere, where that is as large as its result."""
    told, result = node.inputs[0], node.outputs[0]
    if not isinstance(told, gs.Constant) or not (told.values.all() or not told.values.any()):
        return None
    chosen = node.inputs[1 if told.values.all() else 2]
    same = chosen.shape is not None and result.shape is not None and list(chosen.shape) == list(result.shape)
    return chosen if same and None not in chosen.shape and not isinstance(chosen, gs.Constant) else None


def integers(node: gs.Node, index: int) -> list[int] | None:
    """A constant input as integers, [] where it is left out; None where a run computes it."""
    if len(node.inputs) <= index or node.inputs[index].is_empty():
        return []
    tensor = node.inputs[index]
    return [int(v) for v in tensor.values.reshape(-1)] if isinstance(tensor, gs.Constant) else None


def over(node: gs.Node, rank: int | None = None) -> list[int] | None:
    """The axes that a reduction, or a global pool, goes over in a tensor of this rank, its own input's else.

    In order, counted from the first; None where a run tells them, or the rank.
    """
    rank = len(node.inputs[0].shape or ()) if rank is None else rank
    if is_op(node, "GlobalAveragePool", "GlobalMaxPool"):
        return list(range(2, rank))
    axes, all_ = integers(node, 1), [] if node.attrs.get("noop_with_empty_axes") else range(rank)
    return sorted(axis % rank for axis in axes or all_) if axes is not None and rank else None


def cuts(node: gs.Node) -> list[int] | None:
    """Which of a Slice's entries leave anything of an axis out; None where that is not known."""
    starts, ends, axes, steps = (integers(node, i) for i in range(1, 5))
    shape = static_shape(node.inputs[0])
    if starts is None or ends is None or axes is None or steps is None or shape is None:
        return None
    sizes = [WHOLE if (size := shape[axis]) is None else size for axis in axes or range(len(starts))]
    told = zip(starts, ends, sizes, steps or [1] * len(starts), strict=True)
    return [i for i, (start, end, size, step) in enumerate(told) if start or end < size or step != 1]


def keep_cuts(node: gs.Node) -> None:
    """Leave a Slice the axes that it cuts along, where it cuts along some."""
    kept, starts = cuts(node), integers(node, 1)
    if not kept or starts is None or len(kept) == len(starts):
        return
    entries = [
        integers(node, i) or default
        for i, default in ((1, []), (2, []), (3, range(len(starts))), (4, [1] * len(starts)))
    ]
    name = node.outputs[0].name
    told = [
        gs.Constant(f"{name}/{part}", np.array([entry[i] for i in kept], np.int64))
        for part, entry in zip(("starts", "ends", "axes", "steps"), entries, strict=True)
    ]
    node.inputs = [node.inputs[0], *told]


def gathers_all(node: gs.Node) -> bool:
    """A Gather of every index in order."""
    shape, indices = static_shape(node.inputs[0]), integers(node, 1)
    size = shape[int(node.attrs.get("axis", 0))] if shape else None
    return size is not None and node.inputs[1].shape == (size,) and indices == list(range(size))


def one_position(node: gs.Node) -> bool:
    """A pool over a single position, or a reduction over axes of length one that are kept."""
    if node.op == "AveragePool" and (
        set(node.attrs["kernel_shape"]) != {1}
        or set(node.attrs.get("strides", [1])) != {1}
        or any(node.attrs.get("pads", ()))
    ):
        return False
    shape = static_shape(node.inputs[0])
    if node.op == "AveragePool" or shape is None:
        return same_shape(node) and node.op == "AveragePool"
    if node.op == "GlobalAveragePool":
        return all(size == 1 for size in shape[2:])
    return bool(node.attrs.get("keepdims", 1)) and reduces_nothing(node)


def reduces_nothing(node: gs.Node) -> bool:
    """Whether all axes that a node reduces are of length one."""
    axes, shape = integers(node, 1), static_shape(node.inputs[0])
    return bool(axes) and shape is not None and all(shape[axis] == 1 for axis in axes or ())


REDUCES = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum")
"""What leaves a single number as it is."""


def alone(node: gs.Node) -> bool:
    """A Sum, Concat, Max or Min of one."""
    return len(node.inputs) == 1


HANDS_ON: dict[str, Callable[[gs.Node], gs.Tensor | None]] = {
    "Identity": first_if(lambda node: True),
    "Dropout": first_if(lambda node: True),
    "Cast": first_if(lambda node: is_float(node.inputs[0]) and is_float(node.outputs[0])),
    "CastLike": first_if(lambda node: is_float(node.inputs[0]) and is_float(node.outputs[0])),
    "Transpose": first_if(lambda node: permutation(node) == sorted(permutation(node)) != []),
    **dict.fromkeys((*RESHAPES, "Expand", "Tile", "Resize"), first_if(same_shape)),
    **dict.fromkeys(("Add", "Sub"), neutral(0.0)),
    **dict.fromkeys(("Div", "Mul", "Pow"), neutral(1.0)),
    "Where": always,
    "Sum": lambda node: node.inputs[0] if alone(node) else neutral(0.0)(node),
    **dict.fromkeys(("Concat", "Max", "Min", "Mean"), first_if(alone)),
    "Pad": first_if(lambda node: integers(node, 1) is not None and not any(integers(node, 1) or ())),
    "Slice": first_if(lambda node: cuts(node) == []),
    "Gather": first_if(gathers_all),
    **dict.fromkeys(("AveragePool", "GlobalAveragePool", *REDUCES), first_if(one_position)),
}
"""What an op hands on unchanged in some of its forms."""


def merge_twins(model: Model) -> None:
    """Of nodes that compute the same from the same, one stays: equal constants count as the same too."""
    constants: dict[tuple[object, ...], str] = {}
    first: dict[tuple[object, ...], gs.Node] = {}

    def identity(tensor: gs.Tensor) -> object:
        if not isinstance(tensor, gs.Constant) or np.prod(tensor.shape) > SHARED:
            return tensor.name
        value = np.asarray(tensor.values)
        return constants.setdefault((value.dtype.str, value.shape, value.tobytes()), f"={tensor.name}")

    for node in model.graph.nodes:
        if not node.inputs or len(node.outputs) != 1 or any(isinstance(v, gs.Graph) for v in node.attrs.values()):
            continue
        # The target of a Reshape that was joined of two stands on its result alone.
        shape = tuple(node.outputs[0].shape or ()) if is_op(node, *RESHAPES) else ()
        told = (node.op, getattr(node, "domain", None), repr(sorted(node.attrs.items())), shape)
        key = (*told, *map(identity, node.inputs))
        twin = first.setdefault(key, node)
        if twin is node:
            continue
        result, kept = node.outputs[0], twin.outputs[0]
        if is_output(model, result):
            continue
        for reader in consumers(result):
            read_instead(reader, result, kept)
        detach(node)
        model.replaced[result.name] = kept.name
    sweep(model)
