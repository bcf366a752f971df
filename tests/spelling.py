"""Small networks as plans, and writers that spell one plan in many ways: one function, many files.

Every way of a primitive is one line; `choose(n)` picks among n. Picking 0 everywhere writes the plain file.
"""

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


class Speller(Net):
    """Writes a plan; shapes of tensors are kept so that every spelling can name sizes."""

    def __init__(self, plan: Plan, choose: Choose) -> None:
        batch: Dim = "N" if plan.free else 1
        sizes: tuple[Dim, Dim] = ("h", "w") if plan.free else (SIZE, SIZE)
        super().__init__(batch, 3, *sizes, opset=OPSET, seed=plan.seed)
        self.plan, self.pick = plan, choose
        self.shapes: dict[str, tuple[int, ...]] = {self.x: (1, 3, SIZE, SIZE)}
        self.draws, self.noise = (np.random.default_rng([plan.seed, stream]) for stream in (1, 2))

    # --- shapes ------------------------------------------------------------------------------------------------

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

    # --- what changes nothing ----------------------------------------------------------------------------------

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

    # --- layers ------------------------------------------------------------------------------------------------

    def padded(self, x: str, pad: int) -> tuple[str, dict[str, Any]]:
        """Room around: by the layer's own pads, or a Pad before it."""
        if not pad or self.pick(3) < 2:
            return x, {"pads": [pad] * 4}
        n, c, h, w = self.shapes[x]
        return self.put((n, c, h + 2 * pad, w + 2 * pad), "Pad", x, np.array([0, 0, pad, pad, 0, 0, pad, pad])), {}

    def biased(self, x: str, bias: np.ndarray, axis: int = 1) -> str:
        """A bias behind a layer, in one of the places where exporters leave it."""
        rank, shape = len(self.shapes[x]), self.shapes[x]
        across = [-1 if a == axis else 1 for a in range(rank)]
        plain, part = bias.reshape(across), self.detour(bias.shape)

        def behind_reshape() -> str:
            flat = (shape[0], shape[1], int(np.prod(shape[2:])))
            added = self.put(flat, "Add", self.reshape(x, flat), bias.reshape(1, -1, 1))
            return self.put(shape, "Reshape", added, np.array(shape))

        def behind_transpose() -> str:
            perm = [0, *range(2, rank), 1]
            turned = self.transpose(x, perm)
            return self.transpose(self.same(turned, "Add", bias, turned), [perm.index(a) for a in range(rank)])

        ways = [
            lambda: self.same(x, "Add", x, plain),
            lambda: self.same(x, "Sub", x, -plain),
            lambda: self.same(x, "Add", self.same(x, "Add", x, (bias - part).reshape(across)), part.reshape(across)),
        ]
        if axis == 1 and rank == 4:
            ways.append(behind_transpose)
            if not self.plan.free:
                ways.append(behind_reshape)
        return self.one_of(*ways)

    def conv_of(self, x: str, w: np.ndarray, bias: np.ndarray | None, stride: int, pad: int, group: int) -> str:
        """A convolution by this weight."""
        n, c, h, width = self.shapes[x]
        size = [(s + 2 * pad - w.shape[2]) // stride + 1 for s in (h, width)]
        out = (n, len(w), *size)

        def own() -> str:
            source, pads = self.padded(x, pad)
            attrs = {"strides": [stride] * 2, "group": group, **pads}
            if bias is None:
                return self.put(out, "Conv", source, w, **attrs)
            return self.one_of(
                lambda: self.put(out, "Conv", source, w, bias, **attrs),
                lambda: self.biased(self.put(out, "Conv", source, w, **attrs), bias),
            )

        def as_matmul() -> str:
            last = self.transpose(x, [0, 2, 3, 1])
            y = self.put((n, h, width, len(w)), "MatMul", last, w[:, :, 0, 0].T.copy())
            y = y if bias is None else self.biased(y, bias, axis=3)
            return self.transpose(y, [0, 3, 1, 2])

        def as_rows() -> str:
            y = self.put((n, len(w), h * width), "MatMul", w[:, :, 0, 0], self.reshape(x, (n, c, h * width)))
            y = y if bias is None else self.biased(y, bias)
            return self.put(out, "Reshape", y, np.array(out))

        def as_table() -> str:
            """Positions in rows of a table, as tf2onnx and onnxruntime's optimiser write dense layers."""
            table = self.put((n * h * width, c), "Reshape", self.transpose(x, [0, 2, 3, 1]), np.array([-1, c]))
            biases = [] if bias is None else [bias]
            y = self.put((n * h * width, len(w)), "Gemm", table, w[:, :, 0, 0], *biases, transB=1)
            whole = self.put((n, h, width, len(w)), "Reshape", y, np.array([-1, h, width, len(w)]))
            return self.transpose(whole, [0, 3, 1, 2])

        def as_einsum() -> str:
            y = self.put(out, "Einsum", x, w[:, :, 0, 0], equation="nchw,oc->nohw")
            return y if bias is None else self.biased(y, bias)

        pointwise = w.shape[2] == 1 and stride == 1 and group == 1
        ways = [own, own, as_matmul, as_einsum] if pointwise else [own]
        return self.one_of(*ways, *([as_rows, as_table] if pointwise and not self.plan.free else []))

    def batch_norm_of(self, x: str, scale: np.ndarray, shift: np.ndarray) -> str:
        """y = x · scale + shift per channel (axis 1)."""
        across = [-1 if a == 1 else 1 for a in range(len(self.shapes[x]))]
        mean, deviation = self.detour(scale.shape, 0.3), np.exp(self.detour(scale.shape, 0.3))
        s, t = scale.reshape(across), shift.reshape(across)
        m = -shift / scale

        def split() -> str:
            rest = self.same(x, "Sub", x, m.reshape(across))
            return self.same(x, "Mul", rest, s)

        return self.one_of(
            lambda: self.same(
                x, "BatchNormalization", x, scale * deviation, shift + mean * scale, mean, deviation**2, epsilon=0.0
            ),
            lambda: self.same(x, "Add", self.same(x, "Mul", x, s), t),
            lambda: self.same(x, "Sub", self.same(x, "Div", x, 1 / s), -t),
            split,
        )

    def conv(  # type: ignore[override]
        self, x: str, after: int, kernel: int = 3, stride: int = 1, *, group: int = 1, norm: bool = False,
        bias: bool = True, before: bool = False, pad: int | None = None,
    ) -> str:  # fmt: skip
        """A convolution, with a batch norm behind it (folded or not) or before it where it has no padding."""
        inputs = self.shapes[x][1]
        w = self.value((after, inputs // group, kernel, kernel), (2 / (inputs // group * kernel**2)) ** 0.5)
        b = self.value((after,), 0.2) if bias else None
        pad = kernel // 2 if pad is None else pad
        if before:
            scale, shift = np.exp(self.value((inputs,), 0.3)), self.value((inputs,), 0.3)
            if self.pick(2):
                rows = np.repeat(scale.reshape(group, -1), after // group, axis=0)[:, :, None, None]
                added = (w * np.repeat(shift.reshape(group, -1), after // group, axis=0)[:, :, None, None]).sum(
                    (1, 2, 3)
                )
                return self.conv_of(x, w * rows, added if b is None else b + added, stride, 0, group)
            return self.conv_of(self.batch_norm_of(x, scale, shift), w, b, stride, 0, group)
        if not norm:
            return self.idle(self.conv_of(x, w, b, stride, pad, group))
        scale, shift = np.exp(self.value((after,), 0.3)), self.value((after,), 0.3)
        if self.pick(2):
            whole = shift if b is None else b * scale + shift
            return self.conv_of(x, w * scale[:, None, None, None], whole, stride, pad, group)
        y = self.idle(self.conv_of(x, w, b, stride, pad, group))
        return self.batch_norm_of(y, scale, shift)

    def dense(self, x: str, after: int) -> str:  # type: ignore[override]
        """A dense layer on (N, C)."""
        n, c = self.shapes[x]
        w, b, out = self.value((after, c), (2 / c) ** 0.5), self.value((after,), 0.2), (n, after)

        def as_conv() -> str:
            square = self.put((n, c, 1, 1), "Unsqueeze", x, np.array([2, 3]))
            y = self.put((n, after, 1, 1), "Conv", square, w[:, :, None, None])
            return self.one_of(
                lambda: self.put(out, "Flatten", self.biased(y, b)),
                lambda: self.biased(self.put(out, "Squeeze", y, np.array([2, 3])), b),
                lambda: self.biased(self.put(out, "Flatten", y), b),
            )

        return self.one_of(
            lambda: self.put(out, "Gemm", x, w, b, transB=1),
            lambda: self.put(out, "Gemm", x, w.T.copy(), b),
            lambda: self.biased(self.put(out, "MatMul", x, w.T.copy()), b),
            lambda: self.biased(self.put(out, "Gemm", x, w, transB=1), b),
            lambda: self.biased(self.put(out, "Einsum", x, w, equation="bc,dc->bd"), b),
            lambda: self.put(out, "Gemm", x, w * 2, b / 2, transB=1, alpha=0.5, beta=2.0),
            as_conv,
        )

    # --- activations, norms --------------------------------------------------------------------------------------

    def relu(self, x: str) -> str:
        return self.one_of(
            lambda: self.same(x, "Relu", x), lambda: self.same(x, "Relu", x), lambda: self.same(x, "Clip", x, 0.0)
        )

    def sigmoid(self, x: str) -> str:
        def spelled() -> str:
            return self.same(x, "Add", self.same(x, "Exp", self.same(x, "Neg", x)), 1.0)

        return self.one_of(
            lambda: self.same(x, "Sigmoid", x),
            lambda: self.same(x, "Reciprocal", spelled()),
            lambda: self.same(x, "Div", np.ones(1, np.float32), spelled()),
        )

    def silu(self, x: str) -> str:
        return self.one_of(
            lambda: self.same(x, "Mul", x, self.same(x, "Sigmoid", x)),
            lambda: self.same(x, "Mul", self.same(x, "Sigmoid", x), x),
            lambda: self.same(x, "Div", x, self.same(x, "Add", self.same(x, "Exp", self.same(x, "Neg", x)), 1.0)),
        )

    def hard_swish(self, x: str) -> str:
        def shifted() -> str:
            return self.same(x, "Clip", self.same(x, "Add", x, 3.0), 0.0, 6.0)

        return self.one_of(
            lambda: self.same(x, "HardSwish", x),
            lambda: self.same(x, "Div", self.same(x, "Mul", x, shifted()), 6.0),
            lambda: self.same(x, "Mul", x, self.same(x, "Mul", shifted(), 1 / 6)),
            lambda: self.same(x, "Mul", x, self.same(x, "HardSigmoid", x, alpha=1 / 6)),
        )

    def gelu(self, x: str) -> str:
        def area() -> str:
            return self.same(x, "Add", self.same(x, "Erf", self.same(x, "Mul", x, 0.5**0.5)), 1.0)

        return self.one_of(
            lambda: self.same(x, "Gelu", x),
            lambda: self.same(x, "Mul", self.same(x, "Mul", x, area()), 0.5),
            lambda: self.same(x, "Mul", self.same(x, "Mul", x, 0.5), area()),
            lambda: self.same(x, "Mul", x, self.same(x, "Mul", area(), 0.5)),
        )

    def mish(self, x: str) -> str:
        return self.one_of(
            lambda: self.same(x, "Mish", x),
            lambda: self.same(x, "Mul", x, self.same(x, "Tanh", self.same(x, "Softplus", x))),
        )

    def normed(self, x: str, axes: Sequence[int], epsilon: float) -> str:
        """(x - mean) / deviation in pieces."""
        shape = self.shapes[x]
        small = tuple(1 if a in axes else d for a, d in enumerate(shape))

        def mean(value: str) -> str:
            return self.put(small, "ReduceMean", value, np.array(axes), keepdims=1)

        def square(value: str) -> str:
            return self.one_of(
                lambda: self.same(value, "Mul", value, value), lambda: self.same(value, "Pow", value, np.float32(2))
            )

        rest = self.same(x, "Sub", x, mean(x))
        other = self.one_of(lambda: rest, lambda: self.same(x, "Sub", x, mean(x)))
        root = self.put(small, "Sqrt", self.put(small, "Add", mean(square(other)), np.float32(epsilon)))
        return self.one_of(
            lambda: self.same(x, "Div", rest, root),
            lambda: self.same(x, "Mul", rest, self.put(small, "Reciprocal", root)),
        )

    def layer_norm(self, x: str) -> str:
        """Over the channels of each position."""
        c = self.shapes[x][1]
        gain, shift, perm = np.exp(self.value((c,), 0.3)), self.value((c,), 0.3), [0, 2, 3, 1]
        across = (1, c, 1, 1)

        def one_op() -> str:
            turned = self.transpose(x, perm)
            return self.transpose(
                self.same(turned, "LayerNormalization", turned, gain, shift, epsilon=1e-5), [0, 3, 1, 2]
            )

        def last() -> str:
            turned = self.transpose(x, perm)
            y = self.same(turned, "Add", self.same(turned, "Mul", self.normed(turned, [3], 1e-5), gain), shift)
            return self.transpose(y, [0, 3, 1, 2])

        def first() -> str:
            y = self.same(x, "Mul", self.normed(x, [1], 1e-5), gain.reshape(across))
            return self.same(x, "Add", y, shift.reshape(across))

        return self.one_of(one_op, last, first)

    def group_norm(self, x: str) -> str:
        """Two groups."""
        n, c, h, w = self.shapes[x]
        gain, shift, across = np.exp(self.value((c,), 0.3)), self.value((c,), 0.3), (1, c, 1, 1)
        flat = (n, 2, c // 2 * h * w)

        def scaled(y: str) -> str:
            whole = self.put((n, c, h, w), "Reshape", y, np.array((n, c, h, w)))
            return self.same(x, "Add", self.same(x, "Mul", whole, gain.reshape(across)), shift.reshape(across))

        ways = [lambda: self.same(x, "GroupNormalization", x, gain, shift, num_groups=2, epsilon=1e-5)]
        if not self.plan.free:
            ones, zeros = np.ones(2, np.float32), np.zeros(2, np.float32)
            ways += [
                lambda: scaled(
                    self.put(flat, "InstanceNormalization", self.reshape(x, flat), ones, zeros, epsilon=1e-5)
                ),
                lambda: scaled(self.normed(self.reshape(x, flat), [2], 1e-5)),
            ]
        return self.one_of(*ways)

    def l2_norm(self, x: str) -> str:
        n, _, h, w = self.shapes[x]

        def length() -> str:
            return self.put((n, 1, h, w), "ReduceL2", x, np.array([1]), keepdims=1)

        return self.one_of(
            lambda: self.same(x, "LpNormalization", x, axis=1, p=2),
            lambda: self.same(x, "Div", x, length()),
            lambda: self.same(x, "Mul", x, self.put((n, 1, h, w), "Reciprocal", length())),
        )

    # --- joins, parts ------------------------------------------------------------------------------------------

    def total(self, *terms: str) -> str:
        a, b, *rest = terms
        if not rest:
            return self.one_of(
                lambda: self.same(a, "Add", a, b),
                lambda: self.same(a, "Add", b, a),
                lambda: self.same(a, "Sum", a, b),
                lambda: self.same(a, "Sub", a, self.same(b, "Neg", b)),
            )
        (c,) = rest
        return self.one_of(
            lambda: self.same(a, "Sum", a, b, c),
            lambda: self.same(a, "Add", self.same(a, "Add", a, b), c),
            lambda: self.same(a, "Add", a, self.same(a, "Add", c, b)),
        )

    def joined(self, *parts: str) -> str:
        n, _, h, w = self.shapes[parts[0]]
        counts = [self.shapes[p][1] for p in parts]

        def once(*some: str) -> str:
            return self.put((n, sum(self.shapes[p][1] for p in some), h, w), "Concat", *some, axis=1)

        if len(counts) < 3:
            return once(*parts)
        return self.one_of(lambda: once(*parts), lambda: once(once(*parts[:2]), *parts[2:]))

    def halves(self, x: str) -> tuple[str, str]:
        n, c, h, w = self.shapes[x]
        half = (n, c // 2, h, w)

        def split() -> tuple[str, str]:
            names = [f"part{len(self.nodes)}a", f"part{len(self.nodes)}b"]
            self.nodes.append(onnx.helper.make_node("Split", [x], names, names[0], axis=1, num_outputs=2))
            self.shapes |= dict.fromkeys(names, half)
            return names[0], names[1]

        def sliced(start: int, end: int) -> str:
            return self.put(half, "Slice", x, np.array([start]), np.array([end]), np.array([1]))

        def gathered(start: int) -> str:
            return self.put(half, "Gather", x, np.arange(start, start + c // 2), axis=1)

        way = self.pick(3)
        if way == 0:
            return split()
        if way == 1:
            return sliced(0, c // 2), sliced(c // 2, BIG)
        return gathered(0), gathered(c // 2)

    # --- blocks ------------------------------------------------------------------------------------------------

    def block(self, kind: str, x: str) -> str:
        """One block of a plan."""
        n, c, h, w = self.shapes[x]
        match kind:
            case "plain":
                return self.idle(self.relu(self.conv(x, 6, stride=2 if h > 4 else 1, norm=True)))
            case "biased":
                return self.idle(self.silu(self.conv(x, 6)))
            case "signed":
                return self.conv(self.relu(self.conv(x, 8, 1)), 6, 3, before=True)
            case "residual":
                y = self.conv(self.relu(self.conv(x, c, norm=True)), c, norm=True)
                return self.idle(self.relu(self.total(y, x)))
            case "three":
                return self.relu(self.total(self.conv(x, c, 1), self.conv(x, c, 3, norm=True), x))
            case "inverted":
                y = self.hard_swish(self.conv(x, 2 * c, 1, norm=True))
                y = self.hard_swish(self.conv(y, 2 * c, 3, group=2 * c, norm=True))
                gate = self.put((n, 2 * c, 1, 1), "GlobalAveragePool", y)
                gate = self.sigmoid(self.conv(gate, 2 * c, 1))
                return self.total(self.conv(self.same(y, "Mul", y, gate), c, 1, norm=True), x)
            case "split":
                a, b = self.halves(self.relu(self.conv(x, 8)))
                return self.joined(self.relu(self.conv(a, 4)), b, self.relu(self.conv(b, 4, 1)))
            case "max":
                return self.put((n, c, h // 2, w // 2), "MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
            case "average":
                return self.put((n, c, h // 2, w // 2), "AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
            case "layer-norm":
                return self.gelu(self.conv(self.layer_norm(self.conv(x, 6)), 8, 1))
            case "group-norm":
                return self.mish(self.group_norm(self.conv(x, 6)))
            case "l2":
                return self.relu(self.conv(self.l2_norm(self.silu(self.conv(x, 6))), 6))
            case "tokens":
                return self.tokens(x)
            case "rms":
                return self.relu(self.conv(self.rms_norm(self.silu(self.conv(x, 6))), 6))
            case "channels last":
                return self.channels_last(x)
        raise AssertionError(kind)

    def channels_last(self, x: str) -> str:
        """Two pointwise layers, which TensorFlow's exporters leave between two Transposes."""
        n, c, h, w = self.shapes[x]
        first, bias, second = self.value((8, c), (2 / c) ** 0.5), self.value((8,), 0.2), self.value((6, 8), 0.5)

        def last() -> str:
            y = self.transpose(x, [0, 2, 3, 1])
            y = self.biased(self.put((n, h, w, 8), "MatMul", y, first.T.copy()), bias, axis=3)
            y = self.put((n, h, w, 6), "MatMul", self.same(y, "Relu", y), second.T.copy())
            return self.transpose(y, [0, 3, 1, 2])

        def before() -> str:
            y = self.conv_of(x, first[:, :, None, None], bias, 1, 0, 1)
            return self.conv_of(self.relu(y), second[:, :, None, None], None, 1, 0, 1)

        return self.relu(self.one_of(before, last))

    def rms_norm(self, x: str) -> str:
        n, _, h, w = self.shapes[x]
        square = self.same(x, "Mul", x, x)
        mean = self.put((n, 1, h, w), "ReduceMean", square, np.array([1]), keepdims=1)
        root = self.put((n, 1, h, w), "Sqrt", self.put((n, 1, h, w), "Add", mean, np.float32(1e-5)))
        return self.one_of(
            lambda: self.same(x, "Div", x, root),
            lambda: self.same(x, "Mul", x, self.put((n, 1, h, w), "Reciprocal", root)),
            lambda: self.same(x, "Mul", self.put((n, 1, h, w), "Div", np.ones(1, np.float32), root), x),
        )

    def tokens(self, x: str) -> str:
        """A dense layer over the channels of a row of positions, a batch norm over the row, and back."""
        n, c, h, w = self.shapes[x]
        row = self.transpose(self.reshape(x, (n, c, h * w)), [0, 2, 1])
        weight, bias = self.value((c, c), c**-0.5), self.value((c,), 0.2)
        scale, shift = np.exp(self.value((c,), 0.3)), self.value((c,), 0.3)
        y = self.put((n, h * w, c), "MatMul", row, weight)

        def over_channels() -> str:
            across = self.transpose(self.biased(y, bias, axis=2), [0, 2, 1])
            return self.transpose(self.batch_norm_of(across, scale, shift), [0, 2, 1])

        y = self.one_of(
            lambda: self.same(y, "Add", self.same(y, "Mul", self.biased(y, bias, axis=2), scale), shift),
            lambda: self.biased(self.same(y, "Mul", y, scale), bias * scale + shift, axis=2),
            over_channels,
        )
        return self.relu(self.put((n, c, h, w), "Reshape", self.transpose(y, [0, 2, 1]), np.array((n, c, h, w))))

    def head(self, x: str) -> str:  # type: ignore[override]
        """The scores."""
        n, c, h, w = self.shapes[x]
        if self.plan.head == "flat":
            count = c * h * w
            weight, bias = self.value((5, c, h, w), (2 / count) ** 0.5), self.value((5,), 0.2)
            y = self.one_of(
                lambda: self.put(
                    (n, 5), "Gemm", self.put((n, count), "Flatten", x), weight.reshape(5, -1), bias, transB=1
                ),
                lambda: self.put((n, 5), "Flatten", self.put((n, 5, 1, 1), "Conv", x, weight, bias)),
                lambda: self.put((n, 5), "Flatten", self.biased(self.put((n, 5, 1, 1), "Conv", x, weight), bias)),
            )
            return self.dense(self.same(y, "Relu", y), 4)
        pooled = (n, c, 1, 1)
        ways = [
            lambda: self.put((n, c), "Flatten", self.put(pooled, "GlobalAveragePool", x)),
            lambda: self.put((n, c), "ReduceMean", x, np.array([2, 3]), keepdims=0),
            lambda: self.put(
                (n, c), "Squeeze", self.put(pooled, "ReduceMean", x, np.array([-1, -2])), np.array([2, 3])
            ),
        ]
        if not self.plan.free:
            ways += [
                lambda: self.put((n, c), "Flatten", self.put(pooled, "AveragePool", x, kernel_shape=[h, w])),
                lambda: self.put(
                    (n, c), "Div", self.put((n, c), "ReduceSum", x, np.array([2, 3]), keepdims=0), np.float32(h * w)
                ),
            ]
        y = self.one_of(*ways)
        if self.plan.head == "deep":
            hidden = self.dense(y, 8)
            y = self.same(hidden, "Relu", hidden)
        return self.dense(self.idle(y), 4)

    def written(self) -> onnx.ModelProto:
        """The file."""
        x = self.idle(self.relu(self.conv(self.x, 6, stride=2, norm=True)))
        for kind in self.plan.blocks:
            x = self.block(kind, x)
        return self.model(self.head(x))


BLOCKS = (
    "plain", "biased", "signed", "residual", "three", "inverted", "split", "max", "average", "layer-norm", "group-norm",
    "l2", "rms", "tokens", "channels last",
)  # fmt: skip
HEADS = ("pooled", "deep", "flat")
NEED_SIZES = frozenset({"tokens"})
"""Blocks that name the sizes of the picture."""


def drawn(number: int, *, free: bool | None = None) -> tuple[Plan, onnx.ModelProto]:
    """A plan of one's own for each number, and a random spelling of it; ``free`` None: of free sizes or not."""
    rng = np.random.default_rng(number)
    free = bool(rng.integers(2)) if free is None else free
    kinds = [kind for kind in BLOCKS if not free or kind not in NEED_SIZES]
    blocks = tuple(str(kind) for kind in rng.choice(kinds, size=rng.integers(1, 3)))
    plan = Plan(blocks, str(rng.choice(HEADS)), int(rng.integers(1000)), free)
    return plan, write(plan, lambda n: int(rng.integers(n)))


def write(plan: Plan, choose: Choose) -> onnx.ModelProto:
    """A plan as a file."""
    return Speller(plan, choose).written()


def plain(plan: Plan) -> onnx.ModelProto:
    """A plan in its first spelling."""
    return write(plan, lambda n: 0)
