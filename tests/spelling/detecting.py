"""One planted detector whose decoder is spelled in random ways: one function, many tails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from level_nets import CELLS, SIDE, Told, planted_levels
from nets import Net

Choose = Callable[[int], int]


class Decoder:
    """Writes what stands behind the levels; ``choose(n)`` picks among n."""

    def __init__(self, choose: Choose) -> None:
        self.pick = choose
        self.told: list[str] = []
        self.net = Net(1, 3, SIDE, SIDE)

    def one_of(self, *ways: Callable[[], Any]) -> Any:
        """One way."""
        place = self.pick(len(ways))
        self.told.append(ways[place].__name__)
        return ways[place]()

    def rows(self, value: str, cell: int) -> str:
        """(1, K, h, w) as (1, h · w, K)."""
        net, count = self.net, (SIDE // cell) ** 2

        def flat() -> str:
            return net("Transpose", net("Reshape", value, np.array([0, 0, -1])), perm=[0, 2, 1])

        def last() -> str:
            return net("Reshape", net("Transpose", value, perm=[0, 2, 3, 1]), np.array([1, count, -1]))

        return self.one_of(flat, last)

    def decoded(self, part: Told, cell: int) -> str:
        """Corners of each place's box in pixels, (1, places, 4)."""
        net, side = self.net, SIDE // cell
        rows = self.rows(part["sides"], cell)
        y, x = np.mgrid[:side, :side].astype(np.float32) + 0.5
        centers = np.stack([x, y], axis=-1).reshape(1, -1, 2)

        def halves(value: str) -> tuple[str, str]:
            def sliced() -> tuple[str, str]:
                first, last = (net("Slice", value, np.array([s]), np.array([s + 2]), np.array([2])) for s in (0, 2))
                return first, last

            def split() -> tuple[str, str]:
                names = [f"half{len(net.nodes)}a", f"half{len(net.nodes)}b"]
                net.nodes.append(onnx.helper.make_node("Split", [value], names, names[0], axis=2, num_outputs=2))
                return names[0], names[1]

            found: tuple[str, str] = self.one_of(sliced, split)
            return found

        def in_cells() -> str:
            before, behind = halves(rows)
            corners = net("Concat", net("Sub", centers, before), net("Add", centers, behind), axis=2)
            return net("Mul", corners, np.float32(cell))

        def in_pixels() -> str:
            before, behind = halves(net("Mul", rows, np.float32(cell)))
            return net("Concat", net("Sub", centers * cell, before), net("Add", behind, centers * cell), axis=2)

        def signed() -> str:
            step = net("Mul", rows, np.array([-cell, -cell, cell, cell], np.float32))
            return net("Add", step, np.concatenate([centers, centers], axis=2) * cell)

        found: str = self.one_of(in_cells, in_pixels, signed)
        return found

    def written(self) -> tuple[onnx.ModelProto, list[str]]:
        """A file, and what was chosen."""
        net, parts = self.net, planted_levels(self.net, "distances")
        boxes = [self.decoded(part, cell) for part, cell in zip(parts, CELLS, strict=True)]

        def early() -> list[str]:
            return [self.rows(net("Sigmoid", part["classes"]), cell) for part, cell in zip(parts, CELLS, strict=True)]

        def late() -> list[str]:
            return [net("Sigmoid", self.rows(part["classes"], c)) for part, c in zip(parts, CELLS, strict=True)]

        def last() -> str:
            found = [self.rows(part["classes"], c) for part, c in zip(parts, CELLS, strict=True)]
            return net("Sigmoid", net("Concat", *found, axis=1))

        def each() -> str:
            return net("Concat", *self.one_of(early, late), axis=1)

        scores = self.one_of(last, each)
        corners = net("Concat", *boxes, axis=1)

        def by_corners() -> str:
            return corners

        def by_shares() -> str:
            return net("Div", corners, np.float32(SIDE))

        def by_center() -> str:
            turn = np.array([[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]], np.float32)
            return net("MatMul", corners, turn)

        def by_center_in_pieces() -> str:
            first, last = (net("Slice", corners, np.array([s]), np.array([s + 2]), np.array([2])) for s in (0, 2))
            middle = net("Mul", net("Add", first, last), np.float32(0.5))
            return net("Concat", middle, net("Sub", last, first), axis=2)

        def with_objectness() -> str:
            found = [net("Sigmoid", self.rows(part["objectness"], c)) for part, c in zip(parts, CELLS, strict=True)]
            return net("Concat", *found, axis=1)

        def apart() -> list[str]:
            return [self.one_of(by_corners, by_shares), scores]

        def scores_first() -> list[str]:
            return [scores, self.one_of(by_corners, by_shares)]

        def together() -> list[str]:
            return [net("Concat", self.one_of(by_center, by_center_in_pieces), scores, axis=2)]

        def turned() -> list[str]:
            rows = net("Concat", self.one_of(by_center, by_center_in_pieces), scores, axis=2)
            return [net("Transpose", rows, perm=[0, 2, 1])]

        def objects() -> list[str]:
            center = self.one_of(by_center, by_center_in_pieces)
            return [net("Concat", center, with_objectness(), scores, axis=2)]

        def weighed() -> list[str]:
            return [self.one_of(by_corners, by_shares), net("Mul", scores, with_objectness())]

        def chosen() -> list[str]:
            """Non-maximum suppression in the file: rows of box, score and class."""
            turn = net("Transpose", scores, perm=[0, 2, 1])
            picked = net("NonMaxSuppression", corners, turn, np.array([20]), np.float32([0.5]), np.float32([0.25]))
            kind, place = (net("Gather", picked, np.array(i), axis=1) for i in (1, 2))
            table = net("Squeeze", scores, np.array([0]))
            pair = net("Concat", net("Unsqueeze", place, np.array([1])), net("Unsqueeze", kind, np.array([1])), axis=1)
            score = net("Unsqueeze", net("GatherND", table, pair), np.array([1]))
            box = net("Gather", net("Squeeze", corners, np.array([0])), place, axis=0)
            number = net("Cast", net("Unsqueeze", kind, np.array([1])), to=onnx.TensorProto.FLOAT)
            return [net("Concat", box, score, number, axis=1)]

        def best() -> list[str]:
            """The best places, as end-to-end detectors choose them; perhaps in outputs of their own."""
            strong, kind = (
                net("ReduceMax", scores, np.array([2]), keepdims=0),
                net("ArgMax", scores, axis=2, keepdims=0),
            )
            names = [f"best{len(net.nodes)}", f"place{len(net.nodes)}"]
            net.nodes.append(onnx.helper.make_node("TopK", [strong, net.constant(np.array([6]))], names, axis=1))
            place = net("Unsqueeze", names[1], np.array([2]))
            box = net("GatherElements", corners, net("Expand", place, np.array([1, 1, 4])), axis=1)
            label = net("Cast", net("GatherElements", kind, names[1], axis=1), to=onnx.TensorProto.FLOAT)

            def one() -> list[str]:
                score, number = (net("Unsqueeze", value, np.array([2])) for value in (names[0], label))
                return [net("Concat", box, score, number, axis=2)]

            def several() -> list[str]:
                return [box, names[0], label]

            found: list[str] = self.one_of(one, several)
            return found

        outputs = self.one_of(best, apart, scores_first, together, turned, objects, weighed, chosen)
        return net.model(*outputs), self.told


def written(number: int) -> tuple[onnx.ModelProto, list[str]]:
    """The detector in one of its spellings, a number each."""
    rng = np.random.default_rng(number)
    return Decoder(lambda n: int(rng.integers(n))).written()
