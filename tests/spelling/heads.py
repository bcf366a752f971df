"""Scores that compare features with a prototype of each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spelling.parts import Parts

CLASSES = 4


class Heads(Parts):
    """Cosines and distances."""

    def summed(self, x: str, square: bool = False) -> str:
        """The sum over the last axis, perhaps of squares."""
        shape = self.shapes[x][:-1]
        op = "ReduceSumSquare" if square else "ReduceSum"
        return self.put(shape, op, x, np.array([-1]), keepdims=0)

    def length(self, z: str) -> str:
        """(N, 1)."""
        column = (self.shapes[z][0], 1)
        return self.one_of(
            lambda: self.put(column, "ReduceL2", z, np.array([1])),
            lambda: self.put(
                column, "Sqrt", self.put(column, "ReduceSum", self.same(z, "Mul", z, z), np.array([1]), keepdims=1)
            ),
        )

    def wide(self, z: str) -> str:
        """(N, 1, D)."""
        n, d = self.shapes[z]
        return self.put((n, 1, d), "Unsqueeze", z, np.array([1]))

    def scaled(self, x: str, factor: float) -> str:
        """Scores times a number."""
        return self.one_of(
            lambda: self.same(x, "Mul", x, np.float32(factor)),
            lambda: self.same(x, "Div", x, np.float32(1 / factor)),
        )

    def cosines(self, z: str) -> str:
        """How alike features and prototypes are, as ArcFace and CosFace have it."""
        n, d = self.shapes[z]
        raw = self.value((CLASSES, d))
        unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
        out, both, factor = (n, CLASSES), (n, CLASSES, d), 4.0

        def normalised() -> str:
            return self.same(z, "Div", z, self.same(z, "Max", self.length(z), np.float32(1e-12)))

        def products(features: str, table: np.ndarray) -> str:
            return self.summed(self.put(both, "Mul", self.wide(features), table[None]))

        def over_lengths() -> str:
            lengths = self.put(out, "Mul", self.length(z), np.linalg.norm(raw, axis=1)[None].astype(np.float32))
            return self.put(out, "Div", self.put(out, "MatMul", z, raw.T.copy()), lengths)

        def apart() -> str:
            """1 - |u - v|² / 2."""
            rest = self.put(both, "Sub", self.wide(normalised()), unit[None].astype(np.float32))
            half = self.put(out, "Div", self.summed(rest, square=True), np.float32(2))
            return self.put(out, "Sub", np.float32(1), half)

        ways = (
            lambda: self.put(out, "MatMul", normalised(), unit.T.astype(np.float32)),
            lambda: self.put(
                out, "Gemm", self.same(z, "LpNormalization", z, axis=1, p=2), unit.astype(np.float32), transB=1
            ),
            lambda: products(normalised(), unit.astype(np.float32)),
            lambda: self.put(out, "Div", products(z, unit.astype(np.float32)), self.length(z)),
            over_lengths,
            apart,
        )
        return self.scaled(self.one_of(*ways), factor)

    def distances(self, z: str, *, square: bool) -> str:
        """How far features are from prototypes, the nearest first, as prototypical networks have it."""
        n, d = self.shapes[z]
        table = self.value((CLASSES, d))
        out, both, own = (n, CLASSES), (n, CLASSES, d), np.square(table).sum(1)[None]
        product, column = self.put(out, "MatMul", z, table.T * 2), (n, 1)
        lengths = self.put(column, "ReduceSumSquare", z, np.array([1]), keepdims=1)

        def rest() -> str:
            return self.put(
                both, "Sub", *((self.wide(z), table[None]) if self.pick(2) else (table[None], self.wide(z)))
            )

        def powers() -> str:
            return self.summed(self.put(both, "Pow", rest(), np.float32(2)))

        def norms() -> str:
            far = self.put(out, "ReduceL2", rest(), np.array([2]), keepdims=0)
            return self.same(far, "Mul", far, far)

        def first() -> str:
            return self.put(out, "Add", self.put(out, "Sub", lengths, product), own)

        def last() -> str:
            return self.put(out, "Sub", self.put(out, "Add", lengths, own), product)

        squares = self.one_of(first, last, powers, norms, lambda: self.summed(rest(), square=True))
        far = squares if square else self.same(squares, "Sqrt", squares)
        return self.one_of(
            lambda: self.same(far, "Neg", far),
            lambda: self.same(far, "Sub", np.float32(0), far),
            lambda: self.same(far, "Mul", far, np.float32(-1)),
        )

    def compared(self, z: str, kind: str) -> str:
        """The scores of such a head, by its name."""
        if kind == "cosines":
            return self.cosines(z)
        scores = self.distances(z, square=kind != "distances")
        return self.same(scores, "Softmax", scores, axis=1) if kind == "nearest" else scores


COMPARING: Sequence[str] = ("cosines", "distances", "squares", "nearest")
