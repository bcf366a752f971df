"""What a plan of a network is, and how its tensors are put, with shapes of one image and weights of its seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from nets import Dim, Net

Choose = Callable[[int], int]
SIZE = 16
OPSET = 21
BIG = 2**31 - 1


@dataclass(frozen=True)
class Plan:
    """A network: the blocks by name, the head, the seed of its weights, and whether its sizes are free."""

    blocks: tuple[str, ...]
    head: str
    seed: int
    free: bool = False


class Base(Net):
    """Writes a plan; shapes of tensors are kept so that every spelling can name sizes."""

    def __init__(self, plan: Plan, choose: Choose) -> None:
        batch: Dim = "N" if plan.free else 1
        sizes: tuple[Dim, Dim] = ("h", "w") if plan.free else (SIZE, SIZE)
        super().__init__(batch, 3, *sizes, opset=OPSET, seed=plan.seed)
        self.plan, self.pick = plan, choose
        self.shapes: dict[str, tuple[int, ...]] = {self.x: (1, 3, SIZE, SIZE)}
        self.draws, self.noise = (np.random.default_rng([plan.seed, stream]) for stream in (1, 2))

    def put(self, shape: Sequence[int], op: str, *inputs: Any, **attrs: Any) -> str:
        """A node whose output has this shape (of one image)."""
        name = self(op, *inputs, **attrs)
        self.shapes[name] = tuple(shape)
        return name

    def same(self, x: str, op: str, *inputs: Any, **attrs: Any) -> str:
        """A node whose output is shaped like ``x``."""
        return self.put(self.shapes[x], op, *inputs, **attrs)

    def transpose(self, x: str, perm: Sequence[int]) -> str:
        return self.put([self.shapes[x][a] for a in perm], "Transpose", x, perm=list(perm))

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """To a shape of one image; the batch stays as free as it is."""
        return self.put(shape, "Reshape", x, np.array([0, *shape[1:]] if not self.plan.free else self.target(x, shape)))

    def target(self, x: str, shape: Sequence[int]) -> list[int]:
        """The shape with -1 where sizes of the picture stand, and 0 for what stays."""
        old, new = self.shapes[x], list(shape)
        kept = 0
        while kept < min(len(old), len(new)) and old[kept] == new[kept]:
            new[kept] = 0
            kept += 1
        changed = [i for i in range(kept, len(new)) if new[i] % 2 == 0 and new[i] >= 4]
        if changed and len(new) < len(old):
            new[changed[-1]] = -1
        return new

    def value(self, shape: Sequence[int], scale: float = 1.0) -> np.ndarray:
        """A weight of the network, the same in every spelling."""
        return (self.draws.standard_normal(shape) * scale).astype(np.float32)

    def detour(self, shape: Sequence[int], scale: float = 1.0) -> np.ndarray:
        """A number of one spelling, which the next takes back."""
        return (self.noise.standard_normal(shape) * scale).astype(np.float32)

    def one_of(self, *ways: Callable[[], str]) -> str:
        return ways[self.pick(len(ways))]()

    def thinned(self, x: str) -> str:
        """Every second position of either axis, from the first one on."""
        n, c, h, w = self.shapes[x]
        out, tall, ends = (n, c, -(-h // 2), -(-w // 2)), (n, c, -(-h // 2), w), np.array([BIG] * 2)

        def gathered() -> str:
            rows = self.put(tall, "Gather", x, np.arange(0, h, 2), axis=2)
            return self.put(out, "Gather", rows, np.arange(0, w, 2), axis=3)

        def axis_by_axis() -> str:
            rows = self.put(tall, "Slice", x, np.array([0]), ends[:1], np.array([2]), np.array([2]))
            return self.put(out, "Slice", rows, np.array([0]), ends[:1], np.array([3]), np.array([2]))

        return self.one_of(
            lambda: self.put(out, "Slice", x, np.array([0, 0]), ends, np.array([2, 3]), np.array([2, 2])),
            lambda: self.put(out, "MaxPool", x, kernel_shape=[1, 1], strides=[2, 2]),
            lambda: self.put(out, "AveragePool", x, kernel_shape=[1, 1], strides=[2, 2]),
            axis_by_axis,
            *([] if self.plan.free else [gathered]),
        )

    def idle(self, x: str) -> str:
        """Perhaps a node that changes no value."""
        shape = self.shapes[x]
        rank, channels = len(shape), shape[1]
        per_channel = (1, channels) + (1,) * (rank - 2)
        back = [0, *range(2, rank), 1]
        return self.one_of(
            lambda: x,
            lambda: x,
            lambda: x,
            lambda: x,
            lambda: self.same(x, "Add", x, np.zeros(per_channel, np.float32)),
            lambda: self.same(x, "Mul", np.ones((), np.float32), x),
            lambda: self.same(x, "Identity", x),
            lambda: self.same(x, "Dropout", x),
            lambda: self.same(
                x, "Cast", self.same(x, "Cast", x, to=onnx.TensorProto.DOUBLE), to=onnx.TensorProto.FLOAT
            ),
            lambda: self.transpose(self.transpose(x, back), [back.index(a) for a in range(rank)]),
            lambda: self.same(x, "Sub", x, np.zeros(1, np.float32)),
        )
