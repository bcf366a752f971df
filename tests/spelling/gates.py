"""Blocks that weigh channels or places by what they hold."""

from __future__ import annotations

import numpy as np

from spelling.attention import Attention


class Gates(Attention):
    """Gates of convolutional networks; each is a number between 0 and 1 by which a tensor is multiplied."""

    def gated(self, x: str) -> str:
        """One of them, or two that are multiplied or added, by the plan's seed."""
        kind = self.plan.seed % 5
        if kind < 3:
            return self.by(x, (self.by_channel, self.by_neighbours, self.by_place)[kind](x))
        first, second = self.by_sides(x) if kind == 3 else (self.by_channel(x), self.by_place(x))
        join = "Mul" if kind == 3 else "Add"

        def one_after_the_other() -> str:
            y = self.by(x, first)
            return self.by(y, second) if kind == 3 else self.same(x, "Add", y, self.by(x, second))

        return self.one_of(lambda: self.by(x, self.same(x, join, first, second)), one_after_the_other)

    def by(self, x: str, gate: str) -> str:
        """A tensor times a gate."""
        return self.one_of(lambda: self.same(x, "Mul", x, gate), lambda: self.same(x, "Mul", gate, x))

    def mean_of(self, x: str) -> str:
        """A number a channel, (1, c, 1, 1)."""
        n, c, _, _ = self.shapes[x]
        small = (n, c, 1, 1)
        return self.one_of(
            lambda: self.put(small, "GlobalAveragePool", x),
            lambda: self.put(small, "ReduceMean", x, np.array([2, 3])),
            lambda: self.put(
                small, "Unsqueeze", self.put((n, c), "ReduceMean", x, np.array([2, 3]), keepdims=0), np.array([2, 3])
            ),
        )

    def by_channel(self, x: str) -> str:
        """Squeeze and excitation (Hu 2018), its layers dense or convolutions."""
        n, c, _, _ = self.shapes[x]
        first, second = self.value((4, c), 0.5), self.value((c, 4), 0.5)
        biases, small = (self.value((4,), 0.2), self.value((c,), 0.2)), (n, c, 1, 1)
        y = self.mean_of(x)

        def convolved() -> str:
            hidden = self.relu(self.put((n, 4, 1, 1), "Conv", y, first[:, :, None, None], biases[0]))
            return self.sigmoid(self.put(small, "Conv", hidden, second[:, :, None, None], biases[1]))

        def dense() -> str:
            row = self.put((n, c), "Reshape", y, np.array([0, -1]))
            hidden = self.relu(self.put((n, 4), "Gemm", row, first, biases[0], transB=1))
            made = self.put((n, c), "MatMul", hidden, second.T.copy())
            return self.put(small, "Reshape", self.sigmoid(self.same(made, "Add", made, biases[1])), np.array(small))

        return self.one_of(convolved, dense)

    def by_neighbours(self, x: str) -> str:
        """A convolution over the channels' means (ECA, Wang 2020)."""
        n, c, _, _ = self.shapes[x]
        kernel, small = self.value((1, 1, 3), 0.6), (n, c, 1, 1)
        y = self.mean_of(x)

        def as_row() -> str:
            row = self.put((n, 1, c), "Transpose", self.put((n, c, 1), "Squeeze", y, np.array([3])), perm=[0, 2, 1])
            made = self.transpose(self.sigmoid(self.same(row, "Conv", row, kernel, pads=[1, 1])), [0, 2, 1])
            return self.put(small, "Unsqueeze", made, np.array([3]))

        def reshaped() -> str:
            row = self.put((n, 1, c), "Reshape", y, np.array((n, 1, c)))
            made = self.same(row, "Conv", row, kernel, pads=[1, 1])
            return self.sigmoid(self.put(small, "Reshape", made, np.array(small)))

        def over_channels() -> str:
            plane = self.transpose(y, [0, 2, 1, 3])
            made = self.same(plane, "Conv", plane, kernel[..., None].copy(), pads=[1, 0, 1, 0])
            return self.sigmoid(self.transpose(made, [0, 2, 1, 3]))

        return self.one_of(as_row, reshaped, over_channels)

    def by_place(self, x: str) -> str:
        """A convolution over each place's mean and maximum (CBAM, Woo 2018)."""
        n, _, h, w = self.shapes[x]
        kernel, plane = self.value((1, 2, 3, 3), 0.4), (n, 1, h, w)

        def one(op: str) -> str:
            def over_last() -> str:
                turned = self.transpose(x, [0, 2, 3, 1])
                return self.transpose(self.put((n, h, w, 1), op, turned, np.array([3])), [0, 3, 1, 2])

            def bare() -> str:
                y = self.put((n, h, w), op, x, np.array([1]), keepdims=0)
                return self.put(plane, "Unsqueeze", y, np.array([1]))

            return self.one_of(lambda: self.put(plane, op, x, np.array([1])), bare, over_last)

        both = self.put((n, 2, h, w), "Concat", one("ReduceMean"), one("ReduceMax"), axis=1)
        return self.sigmoid(self.put(plane, "Conv", both, kernel, pads=[1] * 4))

    def by_sides(self, x: str) -> tuple[str, str]:
        """The rows' means, and the columns' (coordinate attention, Hou 2021)."""
        n, c, h, w = self.shapes[x]
        kernels, column, row = [self.value((c, c), 0.5) for _ in "hw"], (n, c, h, 1), (n, c, 1, w)

        def side(small: tuple[int, ...], axis: int, kernel: np.ndarray) -> str:
            def bare() -> str:
                y = self.put(
                    tuple(s for a, s in enumerate(small) if a != axis), "ReduceMean", x, np.array([axis]), keepdims=0
                )
                return self.put(small, "Unsqueeze", y, np.array([axis]))

            y = self.one_of(lambda: self.put(small, "ReduceMean", x, np.array([axis])), bare)
            return self.sigmoid(self.same(y, "Conv", y, kernel[:, :, None, None].copy()))

        return side(column, 3, kernels[0]), side(row, 2, kernels[1])
