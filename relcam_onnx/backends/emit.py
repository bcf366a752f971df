"""The emitting backend: the same calls as `eager`, recorded as ONNX nodes.

A call whose arguments are all constants is folded at once, unless that would store a second copy of a weight: W⁺ stays
a node over W, which onnxruntime folds when it loads the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from relcam_onnx.backends.eager import Eager
from relcam_onnx.backends.inference import COUNTS, integral, is_constant, result_dims, result_types
from relcam_onnx.backends.lowering import conv_adjoint
from relcam_onnx.backends.peepholes import PEEPHOLES
from relcam_onnx.backends.symbols import Dim, Symbol, operand
from relcam_onnx.errors import UnsupportedModelError
from relcam_onnx.model import Derived
from relcam_onnx.ops.backend import Size

LARGE = 4096
"""Constants of more elements are not stored twice: what is made of them stays a node."""


class Emit:
    """Every op of ONNX's default domain as a method that records a node and returns a `Symbol`.

    Relevance and activations meet by broadcasting: see `relcam_onnx.compiling.compile` for how K·N and N come to agree.

    Parameters
    ----------
    taken
        Names that the model has; none of them is given away again.
    derived
        `Model.derived`: weights that need not be stored twice.
    prefix
        Of the names that are made.
    """

    def __init__(
        self, taken: frozenset[str], derived: Mapping[str, Derived] | None = None, prefix: str = "relcam"
    ) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.shapes: dict[str, onnx.ValueInfoProto] = {}
        self._taken, self._prefix, self._derived = taken - {""}, prefix, derived or {}  # "" is no name
        self._counts: Counter[str] = Counter()
        self.repeat: Symbol | None = None
        self.single = False
        self._arrays: dict[int, tuple[np.ndarray, str]] = {}
        self._sizes: dict[str, Dim] = {}
        self._small: dict[tuple[Any, ...], str] = {}
        self._recorded: dict[tuple[Any, ...], tuple[Symbol, ...]] = {}
        self.makers: dict[str, tuple[str, Sequence[Any], Mapping[str, Any]]] = {}

    def __getattr__(self, op: str) -> Callable[..., Any]:
        if op.startswith("_"):
            raise AttributeError(op)
        return partial(self.record, op)

    def symbol(self, name: str, dtype: Any, dims: tuple[Size, ...] | None = None, **told: bool) -> Symbol:
        """A tensor of the graph by name, and what is told of it: see `Symbol`."""
        return Symbol(name, np.dtype(dtype), self.record, dims, **told)

    def MaxPool(self, x: Any, **attributes: Any) -> tuple[Symbol, Symbol]:
        """The values, and where in the input they stand."""
        values, places = self.record("MaxPool", x, outputs=2, **attributes)
        return values, places

    def TopK(self, x: Any, k: Any, **attributes: Any) -> tuple[Symbol, Symbol]:
        """The largest or smallest values along an axis, and where they stand."""
        values, places = self.record("TopK", x, k, outputs=2, **attributes)
        return values, places

    def each(self, a: Any) -> Any:
        """What comes from activations meets relevance: by broadcasting, or repeated where ``repeat`` is set."""
        sizes = a.dims if isinstance(a, Symbol) else np.shape(a)
        if self.repeat is None or (sizes is not None and sizes[:1] in ((), (1,))):
            return a
        shape = self.Shape(a)
        copies = self.Expand(self.Unsqueeze(a, [0]), self.Concat(self.repeat, shape, axis=0))
        rest = self.Slice(shape, [1], [np.iinfo(np.int32).max])
        return self.Reshape(copies, self.Concat(self.sizes([-1]), rest, axis=0))

    def dims(self, a: Any) -> tuple[Size, ...]:
        """The sizes of a tensor of the model, or of a constant."""
        if isinstance(a, Symbol):
            if a.dims is None:
                raise UnsupportedModelError(
                    f"the sizes of {a.name!r} are not tracked: of weights only what is made element by element or by "
                    "Transpose has known ones (or take backend='eager')"
                )
            return a.dims
        return tuple(np.shape(a))

    def sized(self, a: Any, dims: Sequence[Size]) -> Any:
        """The same tensor, its sizes told."""
        return replace(a, dims=tuple(dims)) if isinstance(a, Symbol) else a

    def constant(self, tensor: gs.Constant) -> Any:
        """A constant of the model: a small one as an array; a large one as a symbol, stored once.

        Where the file has it, or what it was made of, it is not stored again.
        """
        derived = self._derived.get(tensor.name) or Derived(tensor.name, np.dtype(tensor.dtype), np.ones(()))
        whole = derived.dtype.kind != "f" and tensor.name not in self._derived
        if whole or np.prod(tensor.shape) <= LARGE:
            array = np.asarray(tensor.values)
            return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array
        if derived.origin not in self._taken:
            name = self.initializer_name(np.asarray(tensor.values, np.float32))
            return self.symbol(name, np.float32, tuple(tensor.shape), constant=True)
        weight = self.symbol(derived.origin, derived.dtype, tuple(tensor.shape), constant=True)
        if derived.dtype != np.float32:
            weight = self.Cast(weight, to=onnx.TensorProto.FLOAT)
        if derived.zero is not None:
            weight = weight - derived.zero
        return weight * derived.factor.astype(np.float32) if derived.factor.ndim else weight

    def size(self, tensor: Symbol, axis: int, key: str) -> Dim:
        """The size of one axis of a tensor, known when the model runs; ``key`` names it, the first tensor tells it."""
        if key not in self._sizes:
            self._sizes[key] = Dim(self.record, key, lambda: self.Gather(self.Shape(tensor), [axis]))
        return self._sizes[key]

    def record(self, op: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """One node, or its value where everything is constant and small; the same call gives the same node."""
        values = self._arguments(op, inputs)
        if op in PEEPHOLES and (spared := PEEPHOLES[op](self, values, attributes)) is not None:
            return spared
        folded = None
        if not any(isinstance(value, Symbol) for value in values):
            folded = getattr(Eager(), op)(*values, **attributes)
            stored = (folded,) if op in COUNTS else (*values, folded)
            if all(value is None or np.size(value) <= LARGE for value in stored):
                return folded
        names = [self.initializer_name(value) for value in values]
        while names and not names[-1]:
            names.pop()
        settings = {key: value for key, value in attributes.items() if value is not None}
        node = onnx.helper.make_node(op, names, [], **settings)
        key = (op, outputs, *names, *(attribute.SerializeToString() for attribute in node.attribute))
        if key not in self._recorded:
            node.output.extend(self.fresh(op) for _ in range(outputs))
            node.name = node.output[0]
            self.nodes.append(node)
            dims = (
                result_dims(op, values, settings) if folded is None or isinstance(folded, tuple) else np.shape(folded)
            )
            types = result_types(op, values, settings, outputs)
            constant = is_constant(values)
            self._recorded[key] = tuple(
                self.symbol(name, dtype, dims, constant=constant)
                for name, dtype in zip(node.output, types, strict=True)
            )
            self.makers[node.name] = (op, values, settings)
        symbols = self._recorded[key]
        return symbols[0] if outputs == 1 else symbols

    def _arguments(self, op: str, inputs: Sequence[Any]) -> list[Any]:
        """Symbols, arrays and None; numbers become arrays of the type that they meet."""
        whole = integral(op)
        arguments = [
            self.sizes(value if isinstance(value, Sequence) else [value])
            if index in whole and not isinstance(value, Symbol | np.ndarray | None)
            else value.tensor if isinstance(value, Dim) else value
            for index, value in enumerate(inputs)
        ]  # fmt: skip
        untyped = whole | ({0} if op == "Where" else set())
        typed = [v.dtype for i, v in enumerate(arguments) if i not in untyped and isinstance(v, Symbol | np.ndarray)]
        dtype = typed[0] if typed else np.dtype(np.float32)
        return [
            value if value is None or isinstance(value, Symbol | np.ndarray) else np.asarray(value, dtype)
            for value in arguments
        ]

    def sizes(self, sizes: Sequence[Size]) -> Any:
        """A list of sizes as an int64 vector; some may be known only to a run."""
        if not any(isinstance(size, Dim) for size in sizes):
            return np.array(sizes, np.int64)
        return self.record("Concat", *(operand(size) for size in sizes), axis=0)

    def conv_adjoint(self, s: Any, w: Any, **attributes: Any) -> Any:
        """The adjoint of Conv, in the nodes that onnxruntime runs fastest."""
        return conv_adjoint(self, s, w, **attributes)

    def arrived(self, relevance: Any, activation: Any) -> Any:
        """Say that relevance has an activation's sizes, where K is one; shape inference cannot see it everywhere."""
        if self.single and isinstance(relevance, Symbol) and activation.dims is not None:
            sizes = [d if isinstance(d, int) else d.key if isinstance(d, Dim) else None for d in activation.dims]
            kind = onnx.helper.np_dtype_to_tensor_dtype(relevance.dtype)
            self.shapes[relevance.name] = onnx.helper.make_tensor_value_info(relevance.name, kind, sizes)
        return relevance

    def number(self, size: Any) -> Any:
        """A size as a float32 operand."""
        return self.Cast(size.tensor, to=onnx.TensorProto.FLOAT) if isinstance(size, Dim) else float(size)

    def fresh(self, op: str) -> str:
        """A name that nothing has yet."""
        while True:
            self._counts[op] += 1
            name = f"{self._prefix}/{op}_{self._counts[op]}"
            if name not in self._taken:
                return name

    def initializer_name(self, value: Any) -> str:
        """The name of an argument; an array becomes an initializer, each only once."""
        if value is None:
            return ""
        if isinstance(value, Symbol):
            return value.name
        if id(value) in self._arrays:
            return self._arrays[id(value)][1]
        key = (value.dtype.str, value.shape, value.tobytes()) if value.size <= LARGE else None
        if key is not None and key in self._small:
            return self._small[key]
        name = self.fresh("constant")
        self.initializers.append(onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        if key is not None:
            self._small[key] = name
        else:
            self._arrays[id(value)] = (value, name)
        return name
