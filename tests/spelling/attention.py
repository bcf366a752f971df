"""Attention over the positions of a plane, in the ways of exporters and of hands."""

from __future__ import annotations

import numpy as np
import onnx

from spelling.parts import Parts

HEADS_OF = 2
"""Heads of attention."""


class Attention(Parts):
    """Blocks of transformers: tokens are (1, positions, channels)."""

    def rows_of(self, x: str) -> str:
        """A plane as tokens."""
        n, c, h, w = self.shapes[x]
        flat = (n, c, h * w)

        def last() -> str:
            return self.put((n, h * w, c), "Reshape", self.transpose(x, [0, 2, 3, 1]), np.array((n, h * w, c)))

        return self.one_of(
            lambda: self.transpose(self.put(flat, "Reshape", x, np.array([0, 0, -1])), [0, 2, 1]),
            lambda: self.transpose(self.reshape(x, flat), [0, 2, 1]),
            last,
        )

    def plane_of(self, rows: str, h: int, w: int) -> str:
        """Tokens as a plane."""
        n, _, c = self.shapes[rows]

        def last() -> str:
            return self.transpose(self.put((n, h, w, c), "Reshape", rows, np.array((n, h, w, c))), [0, 3, 1, 2])

        return self.one_of(
            lambda: self.put((n, c, h, w), "Reshape", self.transpose(rows, [0, 2, 1]), np.array((n, c, h, w))), last
        )

    def linear(self, x: str, w: np.ndarray, b: np.ndarray) -> str:
        """A dense layer over tokens; w: (before, after)."""
        n, count, c = self.shapes[x]
        out = (n, count, len(b))

        def as_table() -> str:
            table = self.put((n * count, c), "Reshape", x, np.array([-1, c]))
            y = self.put((n * count, len(b)), "Gemm", table, w, b)
            return self.put(out, "Reshape", y, np.array(out))

        def as_conv() -> str:
            y = self.put((n, len(b), count), "Conv", self.transpose(x, [0, 2, 1]), w.T[:, :, None].copy(), b)
            return self.transpose(y, [0, 2, 1])

        return self.one_of(
            lambda: self.put(out, "Add", self.put(out, "MatMul", x, w), b),
            lambda: self.put(out, "Add", b, self.put(out, "MatMul", x, w)),
            lambda: self.put(out, "Add", self.put(out, "Einsum", x, w, equation="nlc,cd->nld"), b),
            as_table,
            as_conv,
        )

    def row_norm(self, x: str, gain: np.ndarray, shift: np.ndarray) -> str:
        """A layer norm over the last axis."""

        def in_pieces() -> str:
            y = self.normed(x, [len(self.shapes[x]) - 1], 1e-5)
            return self.same(x, "Add", self.same(x, "Mul", y, gain), shift)

        return self.one_of(lambda: self.same(x, "LayerNormalization", x, gain, shift, epsilon=1e-5), in_pieces)

    def gains(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """A norm's weights."""
        return np.exp(self.value((count,), 0.3)), self.value((count,), 0.3)

    def softmax(self, x: str, axis: int) -> str:
        """Over one axis."""
        small = tuple(1 if a == axis else s for a, s in enumerate(self.shapes[x]))

        def shares(y: str) -> str:
            exp = self.same(x, "Exp", y)
            ones = np.ones((self.shapes[x][axis], 1), np.float32)
            total = (
                self.put(small, "MatMul", exp, ones)
                if axis == len(small) - 1 and self.pick(3) > 1
                else self.put(small, "ReduceSum", exp, np.array([axis]), keepdims=1)
            )
            return self.one_of(
                lambda: self.same(x, "Div", exp, total),
                lambda: self.same(x, "Mul", exp, self.put(small, "Reciprocal", total)),
            )

        def less_the_largest() -> str:
            largest = self.put(small, "ReduceMax", x, np.array([axis]), keepdims=1)
            return shares(self.same(x, "Sub", x, largest))

        def of_logarithms() -> str:
            if self.pick(2):
                return self.same(x, "Exp", self.same(x, "LogSoftmax", x, axis=axis))
            total = self.put(small, "ReduceLogSumExp", x, np.array([axis]), keepdims=1)
            return self.same(x, "Exp", self.same(x, "Sub", x, total))

        return self.one_of(
            lambda: self.same(x, "Softmax", x, axis=axis - len(self.shapes[x])),
            lambda: self.same(x, "Softmax", x, axis=axis),
            lambda: shares(x),
            less_the_largest,
            of_logarithms,
        )

    def heads_of(self, x: str) -> str:
        """(1, positions, c) to (1, heads, positions, c / heads)."""
        n, count, c = self.shapes[x]
        apart = (n, count, HEADS_OF, c // HEADS_OF)
        return self.transpose(self.put(apart, "Reshape", x, np.array(apart)), [0, 2, 1, 3])

    def three(self, x: str, tables: list[np.ndarray], biases: list[np.ndarray]) -> list[str]:
        """Queries, keys and values by head."""
        n, count, c = self.shapes[x]
        each = c // HEADS_OF

        def by_head(w: np.ndarray, b: np.ndarray) -> str:
            """The heads are axes of the weight: a matrix for each, or an Einsum, which is Keras' own."""
            out = (n, count, HEADS_OF, each)
            if self.pick(2):
                alone = self.put((n, 1, count, c), "Unsqueeze", x, np.array([1]))
                stack = np.ascontiguousarray(w.reshape(c, HEADS_OF, each).transpose(1, 0, 2))
                y = self.put((n, HEADS_OF, count, each), "MatMul", alone, stack)
                return self.same(y, "Add", y, b.reshape(HEADS_OF, 1, each))
            y = self.put(out, "Einsum", x, w.reshape(c, HEADS_OF, each), equation="abc,cde->abde")
            return self.transpose(self.same(y, "Add", y, b.reshape(HEADS_OF, each)), [0, 2, 1, 3])

        def einsums() -> list[str]:
            return [by_head(w, b) for w, b in zip(tables, biases, strict=True)]

        def apart() -> list[str]:
            return [self.heads_of(self.linear(x, w, b)) for w, b in zip(tables, biases, strict=True)]

        def at_once() -> str:
            return self.linear(x, np.concatenate(tables, axis=1), np.concatenate(biases))

        def chunks() -> list[str]:
            whole, place = at_once(), len(self.nodes)
            names = [f"chunk{place}{part}" for part in "qkv"]
            self.nodes.append(onnx.helper.make_node("Split", [whole], names, names[0], axis=2, num_outputs=3))
            self.shapes |= dict.fromkeys(names, (n, count, c))
            return [self.heads_of(name) for name in names]

        def slices() -> list[str]:
            whole = at_once()
            return [
                self.heads_of(self.put((n, count, c), "Slice", whole, np.array([k * c]), np.array([k * c + c]),
                                       np.array([2]))) for k in range(3)
            ]  # fmt: skip

        def gathered() -> list[str]:
            sizes = (n, count, 3, HEADS_OF, each)
            y = self.transpose(self.put(sizes, "Reshape", at_once(), np.array(sizes)), [2, 0, 3, 1, 4])
            return [self.put((n, HEADS_OF, count, each), "Gather", y, np.array(k), axis=0) for k in range(3)]

        return [apart, chunks, slices, gathered, einsums][self.pick(5)]()

    def attention(self, x: str, bias: np.ndarray | None = None) -> str:
        """Attention of two heads, whose scores have a bias, and a dense layer behind it; tokens to tokens."""
        n, count, c = self.shapes[x]
        each = c // HEADS_OF
        tables = [self.value((c, c), c**-0.5) for _ in range(3)]
        biases = [self.value((c,), 0.2) for _ in range(3)]
        last, shift = self.value((c, c), c**-0.5), self.value((c,), 0.2)
        scale = each**-0.5
        q, k, v = self.three(x, tables, biases)
        square, whole = (n, HEADS_OF, count, count), (n, HEADS_OF, count, each)

        def outer(y: str) -> str:
            """Heads behind the positions, as Keras leaves them."""
            return self.transpose(y, [0, 2, 1, 3])

        def product(a: str, b: str) -> str:
            return self.one_of(
                lambda: self.put(square, "MatMul", a, self.transpose(b, [0, 1, 3, 2])),
                lambda: self.put(square, "Einsum", a, b, equation="bhid,bhjd->bhij"),
                lambda: self.put(square, "Einsum", outer(b), outer(a), equation="aecd,abcd->acbe"),
            )

        def root(y: str) -> str:
            return self.same(y, "Mul", y, np.float32(scale**0.5))

        scores = self.one_of(
            lambda: self.put(square, "Mul", product(q, k), np.float32(scale)),
            lambda: self.put(square, "Div", product(q, k), np.float32(1 / scale)),
            lambda: product(self.same(q, "Mul", q, np.float32(scale)), k),
            lambda: product(root(q), root(k)),
        )

        if bias is not None:
            scores = self.put(square, "Add", scores, bias)

        def first() -> str:
            shares = self.softmax(scores, 3)
            return self.one_of(
                lambda: self.put(whole, "MatMul", shares, v),
                lambda: self.put(whole, "Einsum", shares, v, equation="bhij,bhjd->bhid"),
                lambda: outer(
                    self.put((n, count, HEADS_OF, each), "Einsum", shares, outer(v), equation="acbe,aecd->abcd")
                ),
            )

        def by_picking() -> str:
            """Each head by itself."""
            shares, flat = self.softmax(scores, 3), (n, 1, count, each)
            heads = []
            for head in range(HEADS_OF):
                a, b = (
                    self.put((n, count, side), "Gather", tensor, np.array(head), axis=1)
                    for tensor, side in ((shares, count), (v, each))
                )
                heads.append(self.put(flat, "Unsqueeze", self.put((n, count, each), "MatMul", a, b), np.array([1])))
            return self.put(whole, "Concat", *heads, axis=1)

        def turned() -> str:
            """Keys before queries."""
            shares = self.softmax(self.transpose(scores, [0, 1, 3, 2]), 2)
            across = self.put((n, HEADS_OF, each, count), "MatMul", self.transpose(v, [0, 1, 3, 2]), shares)
            return self.transpose(across, [0, 1, 3, 2])

        y = self.one_of(first, first, turned, by_picking)

        def joined() -> str:
            table = self.put((n, count, c), "Reshape", self.transpose(y, [0, 2, 1, 3]), np.array((n, count, c)))
            return self.linear(table, last, shift)

        def by_head() -> str:
            """The last layer as one for each head, which are summed."""
            parts = self.put((n, HEADS_OF, count, c), "MatMul", y, last.reshape(1, HEADS_OF, each, c))
            out = (n, count, c)
            return self.put(out, "Add", self.put(out, "ReduceSum", parts, np.array([1]), keepdims=0), shift)

        def as_einsum() -> str:
            """Keras' own: the heads are axes of the weight."""
            table = last.reshape(HEADS_OF, each, c)
            if self.pick(2):
                turned = self.transpose(y, [0, 2, 1, 3])
                part = self.put((n, count, c), "Einsum", turned, table, equation="bihd,hdo->bio")
            else:
                part = self.put((n, count, c), "Einsum", y, table, equation="bhid,hdo->bio")
            return self.same(part, "Add", part, shift)

        return self.one_of(joined, joined, by_head, as_einsum)

    def transformer(self, rows: str) -> str:
        """Attention and a dense block, each behind a norm and beside what it reads; tokens to tokens."""
        c = self.shapes[rows][2]

        def plus(a: str, b: str) -> str:
            return self.one_of(lambda: self.same(a, "Add", a, b), lambda: self.same(a, "Add", b, a))

        rows = plus(rows, self.attention(self.row_norm(rows, *self.gains(c))))
        wide = [self.value((c, 2 * c), c**-0.5), self.value((2 * c,), 0.2)]
        back = [self.value((2 * c, c), (2 * c) ** -0.5), self.value((c,), 0.2)]
        return plus(rows, self.linear(self.gelu(self.linear(self.row_norm(rows, *self.gains(c)), *wide)), *back))

    def among_positions(self, x: str) -> str:
        """A block of a transformer over a plane."""
        _, _, h, w = self.shapes[x]
        return self.plane_of(self.transformer(self.rows_of(x)), h, w)

    def among_windows(self, x: str) -> str:
        """Attention within each quarter of a plane that is rolled, beside what it reads, as in Swin (Liu 2021)."""
        n, c, h, w = self.shapes[x]
        table, half = self.value((1, HEADS_OF, h * w // 4, h * w // 4), 0.3), (h // 2, w // 2)
        flat, step = (4 * n, h * w // 4, c), self.plan.seed % 2

        def rolled(source: str, step: int) -> str:
            return self.rolled(self.rolled(source, 2, step), 3, step) if step else source

        def parted(source: str) -> str:
            if self.pick(2):
                last, sizes = self.transpose(source, [0, 2, 3, 1]), (n, 2, half[0], 2, half[1], c)
                apart = self.transpose(self.put(sizes, "Reshape", last, np.array(sizes)), [0, 1, 3, 2, 4, 5])
            else:
                sizes = (n, c, 2, half[0], 2, half[1])
                apart = self.transpose(self.put(sizes, "Reshape", source, np.array(sizes)), [0, 2, 4, 3, 5, 1])
            return self.put(flat, "Reshape", apart, np.array((-1, *flat[1:])))

        def whole(rows: str) -> str:
            sizes = (n, 2, 2, *half, c)
            apart = self.put(sizes, "Reshape", rows, np.array(sizes))
            if self.pick(2):
                last = self.put(
                    (n, h, w, c), "Reshape", self.transpose(apart, [0, 1, 3, 2, 4, 5]), np.array((n, h, w, c))
                )
                return self.transpose(last, [0, 3, 1, 2])
            return self.put((n, c, h, w), "Reshape", self.transpose(apart, [0, 5, 1, 3, 2, 4]), np.array((n, c, h, w)))

        gains = self.gains(c)

        def within() -> str:
            return rolled(whole(self.attention(self.row_norm(parted(rolled(x, -step)), *gains), table)), step)

        def norm_first() -> str:
            normed = self.transpose(self.row_norm(self.transpose(x, [0, 2, 3, 1]), *gains), [0, 3, 1, 2])
            return rolled(whole(self.attention(parted(rolled(normed, -step)), table)), step)

        y = self.one_of(within, norm_first)
        return self.one_of(lambda: self.same(x, "Add", x, y), lambda: self.same(x, "Add", y, x))

    def rolled(self, x: str, axis: int, step: int) -> str:
        """Along one axis, what leaves at one end comes in at the other."""
        size, shape = self.shapes[x][axis], self.shapes[x]

        def cut(start: int, end: int) -> str:
            part = tuple(end - start if a == axis else s for a, s in enumerate(shape))
            return self.put(part, "Slice", x, np.array([start]), np.array([end]), np.array([axis]))

        place = -step % size
        return self.one_of(
            lambda: self.put(shape, "Concat", cut(place, size), cut(0, place), axis=axis),
            lambda: self.put(shape, "Gather", x, np.roll(np.arange(size), step), axis=axis),
        )

    def class_token(self, x: str) -> str:
        """What a token beside those of the positions becomes, (1, channels)."""
        n, c, h, w = self.shapes[x]
        count = h * w
        token, table, gains = self.value((1, 1, c), 0.5), self.value((1, count + 1, c), 0.3), self.gains(c)
        whole, alone = (n, count + 1, c), (n, 1, c)

        def before() -> str:
            rows = self.rows_of(x)
            first = self.one_of(
                lambda: self.put(alone, "Identity", token), lambda: self.put(alone, "Expand", token, np.array(alone))
            )
            return self.put(whole, "Add", self.put(whole, "Concat", first, rows, axis=1), table)

        def apart() -> str:
            rows = self.rows_of(x)
            placed = self.same(rows, "Add", rows, table[:, 1:].copy())
            return self.put(whole, "Concat", self.put(alone, "Add", token, table[:, :1].copy()), placed, axis=1)

        def across() -> str:
            """Channels before positions."""
            flat = self.put((n, c, count), "Reshape", x, np.array((n, c, count)))
            longer = self.put((n, c, count + 1), "Concat", token.transpose(0, 2, 1).copy(), flat, axis=2)
            placed = self.same(longer, "Add", longer, table.transpose(0, 2, 1).copy())
            return self.transpose(placed, [0, 2, 1])

        def first(y: str) -> str:
            def sliced() -> str:
                return self.put(alone, "Slice", y, np.array([0]), np.array([1]), np.array([1]))

            return self.one_of(
                lambda: self.put((n, c), "Gather", y, np.array(0), axis=1),
                lambda: self.put((n, c), "Squeeze", sliced(), np.array([1])),
                lambda: self.put((n, c), "Reshape", sliced(), np.array((-1, c))),
            )

        y = self.transformer(self.one_of(before, apart, across))
        return self.one_of(lambda: first(self.row_norm(y, *gains)), lambda: self.row_norm(first(y), *gains))

    def attended(self, x: str) -> str:
        """Positions of a plane, signed, by one weight each that a softmax makes: (N, channels)."""
        n, c, h, w = self.shapes[x]
        rows, count = self.rows_of(x), h * w
        weight, bias = self.value((c, 1), 1.5), self.value((1,), 0.2)
        logits, out, column = self.linear(rows, weight, bias), (n, c), (n, 1, count)

        def mixed() -> str:
            y = self.put((n, 1, c), "MatMul", self.transpose(self.softmax(logits, 1), [0, 2, 1]), rows)
            return self.put(out, "Squeeze", y, np.array([1]))

        def turned() -> str:
            y = self.put((n, c, 1), "MatMul", self.transpose(rows, [0, 2, 1]), self.softmax(logits, 1))
            return self.put(out, "Reshape", y, np.array([0, c]))

        def summed() -> str:
            return self.put(
                out, "ReduceSum", self.same(rows, "Mul", rows, self.softmax(logits, 1)), np.array([1]), keepdims=0
            )

        def averaged() -> str:
            product = self.same(rows, "Mul", self.softmax(logits, 1), rows)
            return self.put(
                out, "Mul", self.put(out, "ReduceMean", product, np.array([1]), keepdims=0), np.float32(count)
            )

        def named() -> str:
            flat = self.put((n, count), "Squeeze", self.softmax(logits, 1), np.array([2]))
            return self.put(out, "Einsum", rows, flat, equation="ntd,nt->nd")

        def over_plane() -> str:
            across = self.put(column, "Reshape", logits, np.array(column))
            map_ = self.put((n, 1, h, w), "Reshape", self.softmax(across, 2), np.array((n, 1, h, w)))
            return self.put(out, "ReduceSum", self.same(x, "Mul", x, map_), np.array([2, 3]), keepdims=0)

        def divided() -> str:
            powers = self.same(logits, "Exp", logits)
            whole = self.put(out, "ReduceSum", self.same(rows, "Mul", rows, powers), np.array([1]), keepdims=0)
            return self.put(out, "Div", whole, self.put((n, 1), "ReduceSum", powers, np.array([1]), keepdims=0))

        return self.one_of(mixed, turned, summed, averaged, named, over_plane, divided)
