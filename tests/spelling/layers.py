"""Convolutions, dense layers and batch norms in every spelling."""

from __future__ import annotations

from typing import Any

import numpy as np

from spelling.base import Base


class Layers(Base):
    """Linear layers."""

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

        def behind_groups() -> str:
            """A Reshape that splits the channels, as group norms have it; perhaps turned."""
            apart = (shape[0], 2, shape[1] // 2, *shape[2:])
            split = self.put(apart, "Reshape", x, np.array(apart))
            own = bias.reshape(1, 2, -1, *[1] * (rank - 2))
            if self.pick(2):
                perm = [0, 2, 1, *range(3, rank + 1)]
                turned = self.transpose(split, perm)
                added = self.transpose(self.same(turned, "Add", turned, own.transpose(perm)), perm)
            else:
                added = self.same(split, "Add", split, own)
            return self.put(shape, "Reshape", added, np.array(shape))

        def behind_squeeze() -> str:
            """The one image's axis gone and back."""
            bare = self.put(shape[1:], "Squeeze", x, np.array([0]))
            return self.put(shape, "Unsqueeze", self.same(bare, "Add", bare, plain[0]), np.array([0]))

        ways = [
            lambda: self.same(x, "Add", x, plain),
            lambda: self.same(x, "Sub", x, -plain),
            lambda: self.same(x, "Add", self.same(x, "Add", x, (bias - part).reshape(across)), part.reshape(across)),
        ]
        if axis == 1 and rank == 4:
            ways.append(behind_transpose)
            if not self.plan.free:
                ways += [behind_reshape, behind_squeeze, *([behind_groups] if shape[1] % 2 == 0 else [])]
        return self.one_of(*ways)

    def conv_of(
        self, x: str, w: np.ndarray, bias: np.ndarray | None, stride: int, pad: int, group: int, *, whole: bool = False
    ) -> str:
        """A convolution by this weight; ``whole``: as one layer, over positions."""
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

        def thin() -> str:
            """At every position, of which few are kept."""
            full = (n, len(w), *(s + 2 * pad - w.shape[2] + 1 for s in (h, width)))
            y = self.put(full, "Conv", x, w, *([] if bias is None else [bias]), group=group, pads=[pad] * 4)
            return self.thinned(y)

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
            if self.pick(2):
                last = self.put((n, h, width, len(w)), "Einsum", x, w[:, :, 0, 0], equation="nchw,oc->nhwo")
                y = self.transpose(last, [0, 3, 1, 2])
            else:
                y = self.put(out, "Einsum", x, w[:, :, 0, 0], equation="nchw,oc->nohw")
            return y if bias is None else self.biased(y, bias)

        def as_columns() -> str:
            """A matrix by columns of windows, as PyTorch's unfold gathers them."""
            k, (rows, columns) = w.shape[2], size
            wide = (n, c, h + 2 * pad, width + 2 * pad)
            source = self.put(wide, "Pad", x, np.array([0, 0, pad, pad, 0, 0, pad, pad])) if pad else x
            taps = [np.arange(k)[:, None] + stride * np.arange(count) for count in size]
            tall = self.put((n, c, k, rows, wide[3]), "Gather", source, taps[0], axis=2)
            apart = self.put((n, c, k, rows, k, columns), "Gather", tall, taps[1], axis=4)
            flat = (n, c * k * k, rows * columns)
            table = self.put(flat, "Reshape", self.transpose(apart, [0, 1, 2, 4, 3, 5]), np.array(flat))
            y = self.put((n, len(w), flat[2]), "MatMul", w.reshape(len(w), -1), table)
            return self.put(out, "Reshape", y if bias is None else self.biased(y, bias), np.array(out))

        def in_branches() -> str:
            """As networks that are re-parametrised are trained: several layers, which are summed."""
            around = w.shape[2] // 2
            center = np.zeros_like(w)
            center[:, :, around, around] = self.detour(w.shape[:2], 0.3)
            inner = np.ascontiguousarray(center[:, :, around : around + 1, around : around + 1])
            wide = self.conv_of(x, w - center, bias, stride, pad, group, whole=True)
            return self.total(wide, self.conv_of(x, inner, None, stride, pad - around, group, whole=True))

        pointwise = w.shape[2] == 1 and stride == 1 and group == 1
        ways = [own, own, as_matmul, as_einsum] if pointwise else [own, own, thin] if stride == 2 else [own]
        if not whole and w.shape[2] % 2 and pad >= w.shape[2] // 2:
            ways.append(in_branches)
        alone = [as_rows, as_table] if pointwise else [as_columns] if group == 1 and w.shape[2] > 1 else []
        return self.one_of(*ways, *([] if self.plan.free or whole else alone))

    def batch_norm_of(self, x: str, scale: np.ndarray, shift: np.ndarray) -> str:
        """y = x · scale + shift per channel (axis 1)."""
        across = [-1 if a == 1 else 1 for a in range(len(self.shapes[x]))]
        mean, deviation = self.detour(scale.shape, 0.3), np.exp(self.detour(scale.shape, 0.3))
        s, t = scale.reshape(across), shift.reshape(across)
        m = -shift / scale

        def split() -> str:
            rest = self.same(x, "Sub", x, m.reshape(across))
            return self.same(x, "Mul", rest, s)

        def as_layer() -> str:
            """A convolution of one number for each channel, by itself or among zeros."""
            alone = self.pick(2)
            table = scale[:, None] if alone else np.diag(scale)
            return self.same(x, "Conv", x, table[:, :, None, None], shift, group=len(scale) if alone else 1)

        return self.one_of(
            *([as_layer] if len(self.shapes[x]) == 4 else []),
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

        def as_column() -> str:
            """A matrix by the one image's column."""
            column = self.put((c, n), "Reshape", x, np.array([c, 1]))
            y = self.put((after, n), "MatMul", w, column)
            return self.put(out, "Reshape", self.same(y, "Add", y, b.reshape(-1, 1)), np.array([1, after]))

        def as_turned() -> str:
            column = self.put((c, n), "Transpose", x, perm=[1, 0])
            return self.put(out, "Gemm", column, w.T.copy(), b, transA=1)

        def as_vector() -> str:
            bare = self.put((c,), "Squeeze", x, np.array([0]))
            y = self.put((after,), "MatMul", bare, w.T.copy())
            return self.put(out, "Unsqueeze", self.same(y, "Add", b, y), np.array([0]))

        alone = [] if self.plan.free else [as_column, as_turned, as_vector]
        return self.one_of(
            lambda: self.put(out, "Gemm", x, w, b, transB=1),
            lambda: self.put(out, "Gemm", x, w.T.copy(), b),
            lambda: self.biased(self.put(out, "MatMul", x, w.T.copy()), b),
            lambda: self.biased(self.put(out, "Gemm", x, w, transB=1), b),
            lambda: self.biased(self.put(out, "Einsum", x, w, equation="bc,dc->bd"), b),
            lambda: self.put(out, "Gemm", x, w * 2, b / 2, transB=1, alpha=0.5, beta=2.0),
            as_conv,
            *alone,
        )
