"""How an op is written with the batch in front, wherever it stood: the new attributes, and where it stands behind."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.axes import RESHAPES, Size, permutation
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.identity import WHOLE, integers
from relcam_onnx.canon.leading import AXES, AXIS, EACH
from relcam_onnx.canon.sizes import READS_SIZES
from relcam_onnx.model import variables

TABLE = 2
"""The axes of a table, which a dense layer reads: there positions and images stand on one."""


class Home(NamedTuple):
    """Where the batch stands: an axis of outer · N · inner indices, in row-major order."""

    axis: int = 0
    outer: int = 1
    inner: int = 1

    @property
    def leads(self) -> bool:
        """Whether it is in front."""
        return self.axis == 0 and self.outer == 1

    @property
    def parts(self) -> list[int]:
        """What the axis leaves behind where the batch goes."""
        return [size for size in (self.outer, self.inner) if size > 1]

    def moved(self, axis: int) -> int | None:
        """Where another axis is once the batch is in front."""
        if axis == self.axis:
            return None
        return axis + (1 if axis < self.axis else len(self.parts))


def read(node: gs.Node) -> list[gs.Variable]:
    """The computed tensors whose values a node works on: shapes, bounds, scales of integers and the like are not."""
    shaped = is_op(node, *READS_SIZES, *RESHAPES, *AXES, "Gather", "QuantizeLinear", "DequantizeLinear")
    return [t for index, t in variables(node) if index == 0 or not shaped]


Written: TypeAlias = tuple[Home, Sequence[gs.Tensor], str, dict[str, object]]
"""Where the batch stands in the result; inputs, op and attributes of the new node."""


def each(batch: Size, node: gs.Node, homes: list[Home]) -> Written | None:
    """Element by element: computed operands alike, constants turned."""
    rank, home = len(node.outputs[0].shape), homes[0]
    computed = [t for _, t in variables(node)]
    if any(other != home for other in homes) or any(len(t.shape or ()) != rank for t in computed):
        return None
    inputs = all_turned(node.inputs, rank, home, batch)
    return None if inputs is None else (home, inputs, node.op, dict(node.attrs))


def all_turned(tensors: Sequence[gs.Tensor], rank: int, home: Home, batch: Size) -> list[gs.Tensor] | None:
    """Inputs with their constants as `turned` makes them; None where one of them varies along the batch's axis."""
    inputs = [turned(t, rank, home, batch) if isinstance(t, gs.Constant) else t for t in tensors]
    known = [t for t in inputs if t is not None]
    return known if len(known) == len(inputs) else None


def turned(tensor: gs.Constant, rank: int, home: Home, batch: Size) -> gs.Constant | None:
    """A constant that broadcasts to a tensor of this rank, as it broadcasts to that with the batch in front.

    What is the same for each image of a batch whose size the file fixes is told once.
    """
    shape = list(tensor.shape)
    if home == Home():
        return tensor
    if len(shape) < rank - home.axis and len(shape) < rank:
        return tensor  # it ends before the batch
    sizes = [1] * (rank - len(shape)) + shape
    before, values, parts = sizes[: home.axis], tensor.values, [1] * len(home.parts)
    if sizes[home.axis] != 1:
        if not isinstance(batch, int) or sizes[home.axis] != home.outer * batch * home.inner:
            return None
        apart = values.reshape([math.prod(before) * home.outer, batch, -1])
        if (apart != apart[:, :1]).any():
            return None
        values, parts = apart[:, 0], home.parts
    fitting = [1, *before, *parts, *sizes[home.axis + 1 :]]
    return tensor if shape == fitting else gs.Constant(f"{tensor.name}/front", values.reshape(fitting))


def reshape(batch: Size, node: gs.Node, homes: list[Home]) -> Written | None:
    """Any change of shape keeps the order within each image."""
    home = through_reshape(node.inputs[0].shape, node.outputs[0].shape, homes[0], batch)
    return None if home is None else (home, node.inputs[:1], "Reshape", {})


def through_reshape(
    before: Sequence[Size] | None, after: Sequence[Size] | None, home: Home, batch: Size
) -> Home | None:
    """Where the batch stands in another shape of the same elements; None where that is not told.

    One image fits in many places: but in a table, with as little else on its axis as may be, heads behind it.
    """
    if before is None or after is None:
        return None
    first, last = [*before[: home.axis], home.outer], [home.inner, *before[home.axis + 1 :]]
    fitting = []
    for axis, size in enumerate(after):
        outer, inner = over(first, after[:axis]), over(last, after[axis + 1 :])
        if outer is None or inner is None:
            continue
        if isinstance(size, int) and (not isinstance(batch, int) or size != outer * batch * inner):
            continue
        fitting.append(Home(axis, outer, inner))
    if len(after) > TABLE:
        fitting.sort(key=lambda new: (new.outer, new.inner))
    if not fitting and None not in (up_to := list(after[: home.axis + 1])) and up_to == list(before[: home.axis + 1]):
        return home  # what is behind it has as many elements as before, whatever its sizes are called
    return next(iter(fitting), None)


def over(sizes: Sequence[Size], by: Sequence[Size]) -> int | None:
    """The product of some sizes over that of others, where it is a whole number."""
    names = [Counter(s for s in part if not isinstance(s, int)) for part in (sizes, by)]
    whole, share = (math.prod(s for s in part if isinstance(s, int)) for part in (sizes, by))
    return whole // share if names[0] == names[1] and None not in names[0] and share and whole % share == 0 else None


def transpose(batch: Size, node: gs.Node, homes: list[Home]) -> Written | None:
    """The batch goes along, and so does what stands on its axis; of one image an axis of length one moves nothing."""
    perm, home = permutation(node), homes[0]
    shape = node.inputs[0].shape or ()
    long = [axis for axis in perm if shape[axis] != 1]
    stays = home.parts or shape[perm[0]] == 1
    if batch == 1 and stays and long == sorted(long) and perm.index(home.axis):
        return reshape(batch, node, homes)
    new = Home(perm.index(home.axis), home.outer, home.inner)
    parts = [home.axis + 1 + i for i in range(len(home.parts))]
    order = [0]
    for axis in perm:
        moved = home.moved(axis)
        order += parts if moved is None else [moved]
    return new, node.inputs, "Transpose", {"perm": order}


def along(batch: Size, node: gs.Node, homes: list[Home]) -> Written | None:
    """Ops with one axis, which is not the batch's; Gather by one index drops it."""
    rank, home = len(node.inputs[0].shape or ()), homes[0]
    default = -1 if is_op(node, "LayerNormalization", "LogSoftmax", "Softmax") else 0
    axis = int(node.attrs.get("axis", default)) % max(rank, 1)
    moved = home.moved(axis)
    if moved is None or any(other != home for other in homes):
        return None
    attrs = {**node.attrs, "axis": moved}
    if is_op(node, "Concat"):
        inputs = all_turned(node.inputs, rank, home, batch)
        return None if inputs is None else (home, inputs, node.op, attrs)
    if is_op(node, "Gather"):
        if not isinstance(node.inputs[1], gs.Constant):
            return None
        home = home._replace(axis=home.axis + (len(node.inputs[1].shape) - 1) * (axis < home.axis))
    return None if is_op(node, "LayerNormalization") and axis < home.axis else (home, node.inputs, node.op, attrs)


def gather(batch: Size, node: gs.Node, homes: list[Home]) -> Written | None:
    """Of one image a run may choose among positions that stand on the batch's axis."""
    chosen, home = node.inputs[1], homes[0]
    if isinstance(chosen, gs.Constant):
        return along(batch, node, homes)
    count = chosen.shape[0] if len(chosen.shape or ()) == 1 else None
    if batch != 1 or not home.leads or not isinstance(count, int) or node.attrs.get("axis", 0) != 0:
        return None
    return home._replace(inner=count), node.inputs, node.op, dict(node.attrs)


def along_some(batch: Size, node: gs.Node, homes: list[Home]) -> Written | None:
    """Ops with a list of axes, the batch's not among them."""
    place, rank, home = AXES[node.op], len(node.inputs[0].shape or ()), homes[0]
    axes = integers(node, place)
    if not axes:
        return None
    axes = [axis % rank for axis in axes]
    if home.axis in axes:
        whole = is_op(node, "Slice") and home == Home() and takes_all(node, axes.index(home.axis))
        return (home, node.inputs, node.op, dict(node.attrs)) if whole else None
    moved = [home.moved(axis) for axis in axes]
    if node.op != "Slice" and not node.attrs.get("keepdims", 1):
        home = home._replace(axis=home.axis - sum(axis < home.axis for axis in axes))
    listed = gs.Constant(f"{node.outputs[0].name}/axes", np.array(moved, np.int64))
    return home, [*node.inputs[:place], listed, *node.inputs[place + 1 :]], node.op, dict(node.attrs)


def takes_all(node: gs.Node, place: int) -> bool:
    """Whether a Slice takes all of the axis that stands at this place of its lists."""
    starts, ends, steps = (integers(node, index) for index in (1, 2, 4))
    if starts is None or ends is None or steps is None:
        return False
    return starts[place] == 0 and ends[place] >= WHOLE and (not steps or steps[place] == 1)


def matmul(batch: Size, node: gs.Node, homes: list[Home]) -> Written | None:
    """Products that leave the batch's axis alone."""
    home, factors = homes[0], [t for _, t in variables(node)]
    rank = len(factors[0].shape or ())
    if len(factors) == 2:
        alike = homes[1] == home and len(factors[1].shape or ()) == rank
        return (home, node.inputs, "MatMul", {}) if alike and home.axis < rank - 2 else None
    left = isinstance(node.inputs[0], gs.Constant)
    matrix = node.inputs[0 if left else 1]
    if len(matrix.shape) == rank > TABLE and home.axis < rank - 2:  # queries that are the same for each image
        inputs = all_turned(node.inputs, rank, home, batch)
        return None if inputs is None else (home, inputs, "MatMul", {})
    kept = len(matrix.shape) == 2 and home.axis < rank - (2 if left else 1)
    return (home, node.inputs, "MatMul", {}) if kept else None


def gemm(batch: Size, node: gs.Node, homes: list[Home]) -> Written | None:
    """A dense layer over a table whose rows are images, or positions of several."""
    if homes[0].axis or [place for place, _ in variables(node)] != [0] or node.attrs.get("transA"):
        return None
    if not homes[0].parts:
        return homes[0], node.inputs, node.op, dict(node.attrs)
    name, weight = node.outputs[0].name, node.inputs[1]
    matrix = (weight.values.T if node.attrs.get("transB") else weight.values) * node.attrs.get("alpha", 1.0)
    inputs = [node.inputs[0], gs.Constant(f"{name}/factor", np.ascontiguousarray(matrix, weight.values.dtype))]
    if len(node.inputs) > 2 and not node.inputs[2].is_empty():
        bias = np.broadcast_to(node.inputs[2].values * node.attrs.get("beta", 1.0), (1, matrix.shape[1])).reshape(-1)
        inputs.append(gs.Constant(f"{name}/bias", bias.astype(weight.values.dtype)))
    return homes[0], inputs, "MatMul", {}


WRITE: dict[str, Callable[[Size, gs.Node, list[Home]], Written | None]] = {
    **dict.fromkeys(RESHAPES, reshape),
    "Transpose": transpose,
    **dict.fromkeys(EACH, each),
    **dict.fromkeys(AXIS, along),
    "Gather": gather,
    **dict.fromkeys(AXES, along_some),
    "MatMul": matmul,
    "Gemm": gemm,
}
"""How an op is written with the batch in front."""
