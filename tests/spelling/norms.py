"""Activations and norms, as one op or in pieces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from spelling.layers import Layers


class Norms(Layers):
    """What stands between layers."""

    def relu(self, x: str) -> str:
        def over_zero() -> str:
            return self.same(x, "Greater", x, np.float32(0))

        def plain() -> str:
            return self.same(x, "Relu", x)

        return self.one_of(
            plain,
            plain,
            plain,
            lambda: self.same(x, "Clip", x, 0.0),
            lambda: self.same(x, "Max", x, np.float32(0)),
            lambda: self.same(x, "Where", over_zero(), x, np.float32(0)),
            lambda: self.same(x, "Mul", x, self.same(x, "Cast", over_zero(), to=onnx.TensorProto.FLOAT)),
            lambda: self.same(x, "Neg", self.same(x, "Min", self.same(x, "Neg", x), np.float32(0))),
            lambda: self.same(x, "Mul", self.same(x, "Add", x, self.same(x, "Abs", x)), 0.5),
        )

    def hard_sigmoid(self, x: str) -> str:
        def bounded() -> str:
            return self.same(x, "Clip", self.same(x, "Add", x, 3.0), 0.0, 6.0)

        return self.one_of(
            lambda: self.same(x, "HardSigmoid", x, alpha=1 / 6, beta=0.5),
            lambda: self.same(x, "Div", bounded(), 6.0),
            lambda: self.same(x, "Clip", self.same(x, "Add", self.same(x, "Mul", x, 1 / 6), 0.5), 0.0, 1.0),
            lambda: self.same(
                x, "Mul", self.same(x, "Min", self.same(x, "Relu", self.same(x, "Add", x, 3.0)), 6.0), 1 / 6
            ),
        )

    def largest_of(self, a: str, b: str) -> str:
        """The larger of two tensors, value by value."""
        return self.one_of(
            lambda: self.same(a, "Max", a, b),
            lambda: self.same(a, "Neg", self.same(a, "Min", self.same(a, "Neg", b), self.same(a, "Neg", a))),
            lambda: self.same(a, "Where", self.same(a, "Greater", a, b), a, b),
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

    def elu(self, x: str) -> str:
        def less(y: str) -> str:
            return self.same(x, "Mul", self.same(x, "Sub", self.same(x, "Exp", y), 1.0), 0.7)

        def below() -> str:
            return less(self.same(x, "Min", x, 0.0))

        return self.one_of(
            lambda: self.same(x, "Elu", x, alpha=0.7),
            lambda: self.same(x, "Where", self.same(x, "Greater", x, 0.0), x, less(x)),
            lambda: self.same(x, "Where", self.same(x, "Less", x, 0.0), below(), x),
            lambda: self.same(x, "Add", self.same(x, "Max", x, 0.0), self.same(x, "Min", less(x), 0.0)),
            lambda: self.same(x, "Add", self.same(x, "Relu", x), below()),
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

    def moments(self, x: str, axes: Sequence[int], epsilon: float) -> tuple[str, str]:
        """Mean and deviation, the variance by the mean of squares."""
        small = tuple(1 if a in axes else d for a, d in enumerate(self.shapes[x]))
        mean = self.put(small, "ReduceMean", x, np.array(axes), keepdims=1)
        square = self.put(small, "ReduceMean", self.same(x, "Mul", x, x), np.array(axes), keepdims=1)
        variance = self.put(small, "Sub", square, self.put(small, "Mul", mean, mean))
        return mean, self.put(small, "Sqrt", self.put(small, "Add", variance, np.float32(epsilon)))

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

        def folded() -> str:
            """The gain inside: x · (gain / deviation) + (shift - mean · gain / deviation)."""
            mean, root = self.moments(x, [1], 1e-5)
            scale = self.same(x, "Div", gain.reshape(across), root)
            offset = self.same(x, "Sub", shift.reshape(across), self.same(x, "Mul", mean, scale))
            return self.same(x, "Add", self.same(x, "Mul", x, scale), offset)

        def by_rows() -> str:
            """An instance norm of rows."""
            (n, _, h, w), turned = self.shapes[x], self.transpose(x, perm)
            flat, ones = (n, h * w, c), np.ones(h * w, np.float32)
            rows = self.put(flat, "Reshape", turned, np.array(flat))
            rows = self.put(flat, "InstanceNormalization", rows, ones, 0 * ones, epsilon=1e-5)
            y = self.put((n, h, w, c), "Reshape", rows, np.array((n, h, w, c)))
            return self.transpose(self.same(turned, "Add", self.same(turned, "Mul", y, gain), shift), [0, 3, 1, 2])

        return self.one_of(one_op, last, first, folded, *([] if self.plan.free else [by_rows]))

    def group_norm(self, x: str) -> str:
        """One group, or two."""
        n, c, h, w = self.shapes[x]
        groups = 1 + self.plan.seed % 2
        gain, shift, across = np.exp(self.value((c,), 0.3)), self.value((c,), 0.3), (1, c, 1, 1)
        flat = (n, groups, c // groups * h * w)

        def scaled(y: str) -> str:
            whole = self.put((n, c, h, w), "Reshape", y, np.array((n, c, h, w)))
            return self.same(x, "Add", self.same(x, "Mul", whole, gain.reshape(across)), shift.reshape(across))

        def inside() -> str:
            """Groups on an axis of their own, gain and shift there."""
            apart, within = (n, groups, c // groups, h, w), (1, groups, c // groups, 1, 1)
            y = self.normed(self.put(apart, "Reshape", x, np.array(apart)), [2, 3, 4], 1e-5)
            y = self.same(y, "Add", self.same(y, "Mul", y, gain.reshape(within)), shift.reshape(within))
            return self.put((n, c, h, w), "Reshape", y, np.array((n, c, h, w)))

        def last() -> str:
            """Channels last, as Keras has them."""
            turned = self.transpose(x, [0, 2, 3, 1])
            sizes = (n, h, w, groups, c // groups)
            y = self.normed(self.put(sizes, "Reshape", turned, np.array(sizes)), [1, 2, 4], 1e-5)
            y = self.put((n, h, w, c), "Reshape", y, np.array((n, h, w, c)))
            y = self.same(y, "Add", self.same(y, "Mul", y, gain), shift)
            return self.transpose(y, [0, 3, 1, 2])

        def whole() -> str:
            """All of a picture in a row, by a layer norm; where there is one group."""
            size = c * h * w
            tables = [np.repeat(v, h * w) for v in (gain, shift)] if self.pick(2) else [np.ones(size, np.float32)]
            row = self.put((n, size), "Flatten", x) if self.pick(2) else self.reshape(x, (n, size))
            y = self.put((n, size), "LayerNormalization", row, *tables, epsilon=1e-5)
            if len(tables) == 1:
                return scaled(y)
            return self.put((n, c, h, w), "Reshape", y, np.array((n, c, h, w)))

        ways = [lambda: self.same(x, "GroupNormalization", x, gain, shift, num_groups=groups, epsilon=1e-5)]
        if not self.plan.free:
            ones, zeros = np.ones(groups, np.float32), np.zeros(groups, np.float32)
            ways += [
                lambda: scaled(
                    self.put(flat, "InstanceNormalization", self.reshape(x, flat), ones, zeros, epsilon=1e-5)
                ),
                lambda: scaled(self.normed(self.reshape(x, flat), [2], 1e-5)),
                inside,
                last,
                *([whole] if groups == 1 else []),
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
