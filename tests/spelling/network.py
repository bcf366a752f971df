"""The blocks that plans are made of, and whole files."""

from __future__ import annotations

import numpy as np
import onnx

from spelling.base import Choose, Plan
from spelling.gates import Gates
from spelling.heads import COMPARING, Heads


class Speller(Gates, Heads):
    """Writes a plan."""

    def block(self, kind: str, x: str) -> str:
        """One block of a plan."""
        n, c, h, _ = self.shapes[x]
        match kind:
            case "plain":
                return self.idle(self.relu(self.conv(x, 6, stride=2 if h > 4 else 1, norm=True)))
            case "biased":
                return self.idle(self.silu(self.conv(x, 6)))
            case "elu":
                return self.conv(self.elu(self.conv(x, 6, norm=True)), 6)
            case "signed":
                return self.conv(self.relu(self.conv(x, 8, 1)), 6, 3, before=True)
            case "residual":
                y = self.conv(self.relu(self.conv(x, c, norm=True)), c, norm=True)
                return self.idle(self.relu(self.total(y, x)))
            case "shortcut":
                y = self.conv(self.relu(self.conv(x, 6, stride=2, norm=True)), 6, norm=True)
                return self.idle(self.relu(self.total(y, self.shortcut(x, 6))))
            case "beside":
                return self.relu(self.total(self.conv(x, 6, stride=2, norm=True), self.shortcut(x, 6)))
            case "three":
                return self.relu(self.total(self.conv(x, c, 1), self.conv(x, c, 3, norm=True), x))
            case "inverted":
                y = self.hard_swish(self.conv(x, 2 * c, 1, norm=True))
                y = self.hard_swish(self.conv(y, 2 * c, 3, group=2 * c, norm=True))
                gate = self.put((n, 2 * c, 1, 1), "GlobalAveragePool", y)
                gate = self.conv(gate, 2 * c, 1)
                gate = self.hard_sigmoid(gate) if self.plan.seed % 2 else self.sigmoid(gate)
                return self.total(self.conv(self.same(y, "Mul", y, gate), c, 1, norm=True), x)
            case "split":
                a, b = self.halves(self.relu(self.conv(x, 8)))
                return self.joined(self.relu(self.conv(a, 4)), b, self.relu(self.conv(b, 4, 1)))
            case "max":
                return self.pooled(x, "MaxPool", "ReduceMax")
            case "bent":
                return self.silu(self.conv(self.bent(self.conv(x, 6)), 6, 1)) if h > 2 else x
            case "maxout":
                return self.conv(self.largest_of(*self.halves(self.conv(x, 12))), 6)
            case "average":
                return self.pooled(x, "AveragePool", "ReduceMean")
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
            case "patches":
                return self.idle(self.relu(self.patches(x, 6)) if h > 2 else x)
            case "shuffle":
                return self.relu(self.conv(self.shuffled(self.relu(self.conv(x, 6, 1))), 6))
            case "upsample":
                y = self.relu(self.conv(x, 6, stride=2))
                return self.relu(self.total(self.upsampled(y), self.conv(x, 6, 1))) if h % 2 == 0 else y
            case "pixels":
                y = self.unpacked(self.conv(x, 8, norm=True))
                y = self.relu(y)
                return self.relu(self.conv(self.relu(self.packed(y)), 6))
            case "raised":
                y = self.relu(self.conv(x, 6, stride=2))
                return self.relu(self.conv(self.relu(self.raised(y, 5)), 6))
            case "ring":
                y = self.ringed(x, ("wrap", "reflect", "edge")[self.plan.seed % 3]) if h > 2 else x
                return self.relu(self.conv(y, 6, stride=2 if h > 4 else 1, pad=0 if h > 2 else 1))
            case "placed":
                return self.silu(self.conv(self.relu(self.placed(self.conv(x, 6))), 6, 1))
            case "dilated":
                return self.relu(self.dilated(x, 6)) if h > 4 else x
            case "mixer":
                return self.relu(self.conv(self.relu(self.mixed(self.conv(x, 6, 1))), 6))
            case "channels last":
                return self.channels_last(x)
            case "windows":
                y = self.conv(x, 6, stride=2 if h > 8 else 1)
                return self.silu(self.conv(self.among_windows(y) if h > 2 else y, 6, 1))
            case "gated":
                return self.relu(self.conv(self.gated(self.silu(self.conv(x, 6, norm=True))), 6))
            case "attention":
                return self.silu(self.conv(self.among_positions(self.conv(x, 6, stride=2 if h > 4 else 1)), 6, 1))
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
        if self.plan.head == "token":
            return self.dense(self.class_token(x), 4)
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
        column = (n, c, h)
        ways += [
            lambda: self.put(
                (n, c),
                "ReduceMean",
                self.put(column, "ReduceMean", x, np.array([3]), keepdims=0),
                np.array([-1]),
                keepdims=0,
            ),
            lambda: self.put(
                (n, c),
                "Flatten",
                self.put(pooled, "ReduceMean", self.put((*column, 1), "ReduceMean", x, np.array([3])), np.array([2])),
            ),
        ]
        if not self.plan.free:
            sides = [h, w]
            ways += [
                lambda: self.put((n, c), "Flatten", self.put(pooled, "AveragePool", x, kernel_shape=sides)),
                lambda: self.put(
                    (n, c), "Flatten", self.put(pooled, "AveragePool", x, kernel_shape=sides, strides=sides)
                ),
                lambda: self.put(
                    (n, c), "Div", self.put((n, c), "ReduceSum", x, np.array([2, 3]), keepdims=0), np.float32(h * w)
                ),
            ]
        if self.plan.head == "largest":
            rows = (n, c, h, 1)
            ways = [
                lambda: self.put((n, c), "Flatten", self.put(pooled, "GlobalMaxPool", x)),
                lambda: self.put((n, c), "ReduceMax", x, np.array([2, 3]), keepdims=0),
                lambda: self.put(
                    (n, c), "ReduceMax", self.put(rows, "ReduceMax", x, np.array([3])), np.array([2, 3]), keepdims=0
                ),
                lambda: self.put(
                    (n, c),
                    "Flatten",
                    self.put(
                        pooled, "GlobalMaxPool", self.put((n, c, h, w), "MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4)
                    ),
                ),
            ]
            if not self.plan.free:  # windows over all that is there, which step over nothing
                whole = {"kernel_shape": [h, w], "strides": [h, w]}
                ways.append(lambda: self.put((n, c), "Flatten", self.put(pooled, "MaxPool", x, **whole)))
        y = self.one_of(*ways)
        if self.plan.head == "deep":
            hidden = self.dense(y, 8)
            y = self.same(hidden, "Relu", hidden)
        if self.plan.head == "attended":
            return self.dense(self.attended(self.conv(x, 6, 1)), 4)
        if self.plan.head in COMPARING:
            return self.compared(self.dense(self.idle(y), 6), self.plan.head)
        return self.dense(self.idle(y), 4)

    def written(self) -> onnx.ModelProto:
        """The file."""
        x = self.idle(self.relu(self.conv(self.x, 6, stride=2, norm=True)))
        for kind in self.plan.blocks:
            x = self.block(kind, x)
        return self.model(self.head(x))


BLOCKS = (
    "plain", "biased", "elu", "signed", "residual", "shortcut", "beside", "three", "inverted", "split", "max",
    "average", "layer-norm", "group-norm", "l2", "rms", "tokens", "channels last", "patches", "shuffle", "upsample",
    "pixels", "raised", "ring", "placed", "bent", "mixer", "maxout", "dilated", "attention", "windows", "gated",
)  # fmt: skip
HEADS = ("pooled", "deep", "flat", "largest", "token", "attended", *COMPARING)
NEED_SIZES = frozenset({
    "tokens", "patches", "placed", "shuffle", "upsample", "pixels", "raised", "ring", "mixer", "dilated", "attention",
    "windows", "gated", "token", "attended",
})  # fmt: skip
"""Blocks, and heads, that name the sizes of the picture."""


def drawn(number: int, *, free: bool | None = None) -> tuple[Plan, onnx.ModelProto]:
    """A plan of one's own for each number, and a random spelling of it; ``free`` None: of free sizes or not."""
    rng = np.random.default_rng(number)
    free = bool(rng.integers(2)) if free is None else free
    kinds = [kind for kind in BLOCKS if not free or kind not in NEED_SIZES]
    blocks = tuple(str(kind) for kind in rng.choice(kinds, size=rng.integers(1, 3)))
    heads = [head for head in HEADS if not free or head not in NEED_SIZES]
    plan = Plan(blocks, str(rng.choice(heads)), int(rng.integers(1000)), free)
    return plan, write(plan, lambda n: int(rng.integers(n)))


def write(plan: Plan, choose: Choose) -> onnx.ModelProto:
    """A plan as a file."""
    return Speller(plan, choose).written()


def plain(plan: Plan) -> onnx.ModelProto:
    """A plan in its first spelling."""
    return write(plan, lambda n: 0)
