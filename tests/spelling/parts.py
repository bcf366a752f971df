"""What is joined, taken apart and moved."""

from __future__ import annotations

import numpy as np
import onnx

from spelling.base import BIG
from spelling.norms import Norms


class Parts(Norms):
    """Sums, joins, parts and moves."""

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
        there, back = [0, 2, 3, 1], [0, 3, 1, 2]
        n, channels, h, w = self.shapes[a]
        rows = (n, channels, h * w)

        def turned() -> str:
            """Two of them added channels last."""
            first = self.transpose(a, there)
            return self.same(
                a, "Add", self.transpose(self.same(first, "Add", first, self.transpose(b, there)), back), c
            )

        def flat() -> str:
            first = self.reshape(a, rows)
            added = self.same(first, "Add", self.reshape(b, rows), first)
            return self.same(a, "Add", c, self.put(self.shapes[a], "Reshape", added, np.array(self.shapes[a])))

        return self.one_of(
            lambda: self.same(a, "Sum", a, b, c),
            lambda: self.same(a, "Add", self.same(a, "Add", a, b), c),
            lambda: self.same(a, "Add", a, self.same(a, "Add", c, b)),
            turned,
            *([] if self.plan.free else [flat]),
        )

    def placed(self, x: str) -> str:
        """A number of its own for each channel and place, as position embeddings are, or one for each place."""
        n, c, h, w = self.shapes[x]
        numbers = self.value((self.plan.seed % 2 * (c - 1) + 1, h, w), 0.3)
        table = np.broadcast_to(numbers, (c, h, w))

        def moved(source: str, constant: np.ndarray) -> str:
            return self.same(source, "Add", source, constant.copy())

        def row(*sizes: int) -> str:
            return self.reshape(moved(self.reshape(x, (n, *sizes)), table.reshape(sizes)), (n, c, h, w))

        def turned() -> str:
            last = moved(self.transpose(x, [0, 2, 3, 1]), table.transpose(1, 2, 0))
            return self.transpose(last, [0, 3, 1, 2])

        def tokens() -> str:
            rows = self.transpose(self.reshape(x, (n, c, h * w)), [0, 2, 1])
            added = moved(rows, table.reshape(c, h * w).T)
            return self.reshape(self.transpose(added, [0, 2, 1]), (n, c, h, w))

        return self.one_of(
            lambda: moved(x, numbers), lambda: row(c * h * w), lambda: row(c, h * w), turned, tokens,
            lambda: row(2, c // 2, h, w),
        )  # fmt: skip

    def bent(self, x: str) -> str:
        """A scale, a shift, a ReLU and a maximum of windows: the last may stand anywhere."""
        c = self.shapes[x][1]
        gain, shift = np.exp(self.value((c, 1, 1), 0.3)), self.value((c, 1, 1), 0.3)

        def scaled(y: str) -> str:
            return self.same(y, "Add", self.same(y, "Mul", y, gain), shift)

        def largest(y: str) -> str:
            return self.pooled(y, "MaxPool", "ReduceMax")

        return self.one_of(
            lambda: largest(self.relu(scaled(x))),
            lambda: self.relu(largest(scaled(x))),
            lambda: self.relu(scaled(largest(x))),
        )

    def pooled(self, x: str, op: str, reduction: str) -> str:
        """Windows of 2×2, by their own op or over axes of their own."""
        n, c, h, w = self.shapes[x]
        small = (n, c, h // 2, w // 2)

        def whole() -> str:
            return self.put(small, op, x, kernel_shape=[2, 2], strides=[2, 2])

        def dense() -> str:
            """Windows at every position, of which every second one is kept."""
            return self.thinned(self.put((n, c, h - 1, w - 1), op, x, kernel_shape=[2, 2]))

        def apart() -> str:
            sizes = (n, c, h // 2, 2, w // 2, 2)
            return self.put(
                small, reduction, self.put(sizes, "Reshape", x, np.array(sizes)), np.array([3, 5]), keepdims=0
            )

        def last() -> str:
            """Channels last."""
            turned, sizes = self.transpose(x, [0, 2, 3, 1]), (n, h // 2, 2, w // 2, 2, c)
            split = self.put(sizes, "Reshape", turned, np.array(sizes))
            rows = self.put((n, h // 2, w // 2, 2, c), reduction, split, np.array([2]), keepdims=0)
            return self.transpose(
                self.put((n, h // 2, w // 2, c), reduction, rows, np.array([3]), keepdims=0), [0, 3, 1, 2]
            )

        def stripes() -> str:
            """One axis after the other."""
            y = self.put((n, c, h, w // 2), op, x, kernel_shape=[1, 2], strides=[1, 2])
            return self.put(small, op, y, kernel_shape=[2, 1], strides=[2, 1])

        def as_layer() -> str:
            """The mean of windows as a convolution of equal numbers, each channel by itself or among zeros."""
            alone, share = self.pick(2), 4.0 ** -self.pick(2)
            table = np.full((c, 1, 2, 2), share) if alone else np.eye(c)[:, :, None, None] * np.full((2, 2), share)
            y = self.put(small, "Conv", x, table.astype(np.float32), strides=[2, 2], group=c if alone else 1)
            return y if share == 1 / 4 else self.same(y, "Div", y, np.float32(4))

        def as_resize() -> str:
            return self.put(small, "Resize", x, None, None, np.array(small), mode="linear")

        layers = [as_layer] if op == "AveragePool" else []
        if layers and not (self.plan.free or h % 2 or w % 2):
            layers.append(as_resize)
        return self.one_of(whole, stripes, dense, *layers, *([] if self.plan.free or h % 2 or w % 2 else [apart, last]))

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

    # --- moves -------------------------------------------------------------------------------------------------

    def patches(self, x: str, after: int) -> str:
        """A convolution over patches of 2×2 that do not overlap."""
        n, c, h, w = self.shapes[x]
        weight, bias = self.value((after, c, 2, 2), (1 / (2 * c)) ** 0.5), self.value((after,), 0.2)
        out, fine = (n, after, h // 2, w // 2), self.shapes[x]

        def as_rows() -> str:
            apart = self.put((n, c, h // 2, 2, w // 2, 2), "Reshape", x, np.array((n, c, h // 2, 2, w // 2, 2)))
            order = [0, 2, 4, 1, 3, 5] if self.pick(2) else [0, 2, 4, 3, 5, 1]
            rows = self.put((n, h * w // 4, 4 * c), "Reshape", self.transpose(apart, order), np.array((n, -1, 4 * c)))
            table = weight if order[3] == 1 else weight.transpose(0, 2, 3, 1)
            y = self.put((n, h * w // 4, after), "MatMul", rows, table.reshape(after, -1).T.copy())
            turned = self.transpose(self.same(y, "Add", y, bias), [0, 2, 1])
            return self.put(out, "Reshape", turned, np.array(out))

        def as_depth() -> str:
            deep = self.put((n, 4 * c, h // 2, w // 2), "SpaceToDepth", x, blocksize=2)
            return self.put(out, "Conv", deep, weight.transpose(0, 2, 3, 1).reshape(after, -1, 1, 1).copy(), bias)

        def as_slices() -> str:
            """As YOLOv5's first layer and Swin's merging have it."""
            ends, axes, steps = np.array(fine[2:]), np.array([2, 3]), np.array([2, 2])
            starts = [np.array([row, column]) for column in (0, 1) for row in (0, 1)]
            parts = [self.put((n, c, h // 2, w // 2), "Slice", x, start, ends, axes, steps) for start in starts]
            deep = self.put((n, 4 * c, h // 2, w // 2), "Concat", *parts, axis=1)
            return self.put(out, "Conv", deep, weight.transpose(0, 3, 2, 1).reshape(after, -1, 1, 1).copy(), bias)

        return self.one_of(lambda: self.put(out, "Conv", x, weight, bias, strides=[2, 2]), as_rows, as_depth, as_slices)

    def mixed(self, x: str) -> str:
        """Two dense layers over the positions of each channel, as MLP-Mixer and its kind have them."""
        n, c, h, w = self.shapes[x]
        count = h * w

        def layer(y: str, after: int) -> str:
            """On (N, C, positions)."""
            before = self.shapes[y][2]
            weight, bias = self.value((after, before), (2 / before) ** 0.5), self.value((after,), 0.2)
            turned, out = (n, after, c), (n, c, after)

            def back(z: str) -> str:
                return self.transpose(z, [0, 2, 1])

            def as_table() -> str:
                table = self.put((n * c, before), "Reshape", y, np.array([-1, before]))
                return self.put(
                    out, "Reshape", self.put((n * c, after), "Gemm", table, weight, bias, transB=1), np.array(out)
                )

            return self.one_of(
                lambda: self.biased(self.put(out, "MatMul", y, weight.T.copy()), bias, axis=2),
                lambda: back(self.put(turned, "Conv", back(y), weight[:, :, None], bias)),
                lambda: back(self.biased(self.put(turned, "MatMul", weight, back(y)), bias)),
                lambda: self.biased(self.put(out, "Einsum", y, weight, equation="ncl,hl->nch"), bias, axis=2),
                lambda: back(self.biased(self.put(turned, "Einsum", y, weight, equation="ncl,hl->nhc"), bias)),
                as_table,
            )

        y = layer(self.gelu(layer(self.reshape(x, (n, c, count)), 12)), count)
        return self.put((n, c, h, w), "Reshape", y, np.array((n, c, h, w)))

    def shuffled(self, x: str) -> str:
        """Channels of two groups in turn, as ShuffleNet has them."""
        n, c, h, w = self.shapes[x]

        def moved() -> str:
            apart = self.put((n, 2, c // 2, h, w), "Reshape", x, np.array((n, 2, c // 2, h, w)))
            return self.put((n, c, h, w), "Reshape", self.transpose(apart, [0, 2, 1, 3, 4]), np.array((n, c, h, w)))

        order = np.arange(c).reshape(2, -1).T.reshape(-1)
        return self.one_of(moved, lambda: self.same(x, "Gather", x, order, axis=1))

    def unpacked(self, x: str) -> str:
        """Blocks of 2×2 positions that are channels, one channel's after the other's, as positions."""
        n, c, h, w = self.shapes[x]
        out = (n, c // 4, 2 * h, 2 * w)

        def moved() -> str:
            apart = self.put((n, c // 4, 2, 2, h, w), "Reshape", x, np.array((n, c // 4, 2, 2, h, w)))
            return self.put(out, "Reshape", self.transpose(apart, [0, 1, 4, 2, 5, 3]), np.array(out))

        def last() -> str:
            """Channels last."""
            split = (n, h, w, c // 4, 2, 2)
            apart = self.put(split, "Reshape", self.transpose(x, [0, 2, 3, 1]), np.array(split))
            whole = self.put(
                (n, 2 * h, 2 * w, c // 4),
                "Reshape",
                self.transpose(apart, [0, 1, 4, 2, 5, 3]),
                np.array((n, 2 * h, 2 * w, c // 4)),
            )
            return self.transpose(whole, [0, 3, 1, 2])

        def by_block() -> str:
            """The other order of ONNX."""
            order = np.arange(c).reshape(-1, 4).T.reshape(-1)
            return self.put(out, "DepthToSpace", self.same(x, "Gather", x, order, axis=1), blocksize=2)

        def as_layer() -> str:
            """A transposed convolution of one tap for each channel."""
            weight = np.eye(c, dtype=np.float32).reshape(c, c // 4, 2, 2)
            return self.put(out, "ConvTranspose", x, weight, strides=[2, 2])

        return self.one_of(
            lambda: self.put(out, "DepthToSpace", x, blocksize=2, mode="CRD"), moved, last, by_block, as_layer
        )

    def ringed(self, x: str, mode: str) -> str:
        """One more row and column at each end, which repeat others."""
        n, c, h, w = self.shapes[x]
        ends = {"wrap": (-1, 0), "reflect": (1, -2), "edge": (0, -1)}[mode]
        wide = [(n, c, h + 2, w), (n, c, h + 2, w + 2)]

        def joined(source: str, axis: int) -> str:
            size, rows = self.shapes[source][axis], []
            for end in ends:
                start = end % size
                shape = [1 if a == axis else s for a, s in enumerate(self.shapes[source])]
                rows.append(
                    self.put(shape, "Slice", source, np.array([start]), np.array([start + 1]), np.array([axis]))
                )
            return self.put(wide[axis - 2], "Concat", rows[0], source, rows[1], axis=axis)

        def gathered(source: str, axis: int) -> str:
            size = self.shapes[source][axis]
            order = np.array([ends[0] % size, *range(size), ends[1] % size])
            return self.put(wide[axis - 2], "Gather", source, order, axis=axis)

        return self.one_of(
            lambda: self.put(wide[1], "Pad", x, np.array([0, 0, 1, 1, 0, 0, 1, 1]), mode=mode),
            lambda: joined(joined(x, 2), 3),
            lambda: gathered(gathered(x, 2), 3),
        )

    def packed(self, x: str) -> str:
        """Blocks of 2×2 positions as channels, place by place."""
        n, c, h, w = self.shapes[x]
        out = (n, 4 * c, h // 2, w // 2)

        def moved() -> str:
            apart = self.put((n, c, h // 2, 2, w // 2, 2), "Reshape", x, np.array((n, c, h // 2, 2, w // 2, 2)))
            return self.put(out, "Reshape", self.transpose(apart, [0, 3, 5, 1, 2, 4]), np.array(out))

        def as_slices() -> str:
            ends, axes, steps = np.array([h, w]), np.array([2, 3]), np.array([2, 2])
            starts = [np.array([row, column]) for row in (0, 1) for column in (0, 1)]
            parts = [self.put((n, c, h // 2, w // 2), "Slice", x, start, ends, axes, steps) for start in starts]
            return self.put(out, "Concat", *parts, axis=1)

        def as_layer() -> str:
            """A convolution of one tap for each channel that it makes."""
            taps = np.eye(4 * c).reshape(4, c, 4 * c).transpose(2, 1, 0).reshape(4 * c, c, 2, 2).astype(np.float32)
            return self.put(out, "Conv", x, taps, strides=[2, 2])

        return self.one_of(lambda: self.put(out, "SpaceToDepth", x, blocksize=2), moved, as_slices, as_layer)

    def upsampled(self, x: str) -> str:
        """Twice as large, each position four times."""
        n, c, h, w = self.shapes[x]
        out, apart, wide = (n, c, 2 * h, 2 * w), (n, c, h, 1, w, 1), (n, c, h, 2, w, 2)

        def copied(op: str, counts: tuple[int, ...]) -> str:
            thin = self.put(apart, "Reshape", x, np.array(apart))
            return self.put(out, "Reshape", self.put(wide, op, thin, np.array(counts)), np.array(out))

        def gathered() -> str:
            tall = self.put((n, c, 2 * h, w), "Gather", x, np.arange(2 * h) // 2, axis=2)
            return self.put(out, "Gather", tall, np.arange(2 * w) // 2, axis=3)

        tall = (n, c, 2 * h, w)
        attrs = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.one_of(
            lambda: self.put(out, "Resize", x, None, None, np.array(out), **attrs),
            lambda: self.put(out, "ConvTranspose", x, np.ones((c, 1, 2, 2), np.float32), group=c, strides=[2, 2]),
            lambda: self.put(
                out,
                "Resize",
                self.put(tall, "Resize", x, None, None, np.array(tall), **attrs),
                None,
                None,
                np.array(out),
                **attrs,
            ),
            lambda: copied("Expand", wide),
            lambda: copied("Tile", (1, 1, 1, 2, 1, 2)),
            gathered,
        )

    def shortcut(self, x: str, after: int) -> str:
        """A pointwise layer of stride 2."""
        n, c, h, w = self.shapes[x]
        weight, bias = self.value((after, c, 1, 1), (2 / c) ** 0.5), self.value((after,), 0.2)
        out = (n, after, -(-h // 2), -(-w // 2))
        return self.one_of(
            lambda: self.put(out, "Conv", x, weight, bias, strides=[2, 2]),
            lambda: self.put(out, "Conv", self.thinned(x), weight, bias),
            lambda: self.thinned(self.put((n, after, h, w), "Conv", x, weight, bias)),
        )

    def raised(self, x: str, after: int) -> str:
        """A transposed convolution, twice as large: of blocks side by side, or of windows that overlap."""
        n, c, h, w = self.shapes[x]
        side = 4 if self.plan.seed % 2 else 2
        weight, bias = self.value((c, after, side, side), 2 / (side * c**0.5)), self.value((after,), 0.2)
        out, pads = (n, after, 2 * h, 2 * w), [side // 2 - 1] * 4
        uncut = (n, after, 2 * h + side - 2, 2 * w + side - 2)

        def cut() -> str:
            whole = self.put(uncut, "ConvTranspose", x, weight, strides=[2, 2])
            starts, ends = np.array([pads[0]] * 2), np.array([pads[0] + 2 * h, pads[0] + 2 * w])
            return self.biased(self.put(out, "Slice", whole, starts, ends, np.array([2, 3])), bias)

        def as_pixels() -> str:
            """A convolution that makes each block's positions as channels, which are moved out."""
            taps = weight.transpose(1, 2, 3, 0)
            if side == 4:  # the output at 2 a + i reads the inputs a + d by their taps at i + 1 - 2 d
                taps = np.zeros((after, 2, 2, c, 3, 3), np.float32)
                for i, j, d, e in np.ndindex(2, 2, 3, 3):
                    row, column = i + 3 - 2 * d, j + 3 - 2 * e
                    if 0 <= row < 4 and 0 <= column < 4:
                        taps[:, i, j, :, d, e] = weight[:, :, row, column].T
            kernel = taps.reshape(4 * after, c, *([3, 3] if side == 4 else [1, 1]))
            return self.unpacked(self.conv_of(x, kernel, np.repeat(bias, 4), 1, side // 2 - 1, 1))

        return self.one_of(
            lambda: self.put(out, "ConvTranspose", x, weight, bias, strides=[2, 2], pads=pads),
            lambda: self.biased(self.put(out, "ConvTranspose", x, weight, strides=[2, 2], pads=pads), bias),
            cut,
            as_pixels,
            as_pixels,
        )

    def dilated(self, x: str, after: int) -> str:
        """A convolution over every second position."""
        n, c, h, w = self.shapes[x]
        weight, bias = self.value((after, c, 3, 3), (2 / (9 * c)) ** 0.5), self.value((after,), 0.2)
        out, wide, small = (n, after, h, w), (n, c, h + 4, w + 4), (4, c, h // 2 + 2, w // 2 + 2)

        def in_batch() -> str:
            """Positions apart in the batch, as TensorFlow has them, channels first or last."""
            last = self.pick(2)
            there, back = ([0, 2, 3, 1], [0, 3, 1, 2]) if last else ([0, 1, 2, 3], [0, 1, 2, 3])
            pads = np.array([[0, 0, 2, 2][axis] for axis in there] * 2)
            y = self.put([wide[axis] for axis in there], "Pad", self.transpose(x, there), pads)
            split = (1, h // 2 + 2, 2, w // 2 + 2, 2, c) if last else (1, c, h // 2 + 2, 2, w // 2 + 2, 2)
            parted = self.transpose(
                self.put(split, "Reshape", y, np.array(split)), [2, 4, 0, 1, 3, 5] if last else [3, 5, 0, 1, 2, 4]
            )
            flat = [small[axis] for axis in there]
            y = self.transpose(self.put(flat, "Reshape", parted, np.array(flat)), back)
            y = self.transpose(self.put((4, after, h // 2, w // 2), "Conv", y, weight), there)
            made = (2, 2, 1, *self.shapes[y][1:])
            y = self.transpose(
                self.put(made, "Reshape", y, np.array(made)), [2, 3, 0, 4, 1, 5] if last else [2, 3, 4, 0, 5, 1]
            )
            whole = [out[axis] for axis in there]
            return self.biased(self.transpose(self.put(whole, "Reshape", y, np.array(whole)), back), bias)

        return self.one_of(
            lambda: self.put(out, "Conv", x, weight, bias, dilations=[2, 2], pads=[2] * 4),
            in_batch,
        )
