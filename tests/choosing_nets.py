"""Planted detectors that choose their detections themselves, in the forms in which files do so."""

from __future__ import annotations

import numpy as np
import onnx
from nets import Net
from onnx import helper

SIDE, CELL = 32, 8
"""The picture's, and a square's: red ones are class 0, green ones class 1, where their cell is."""


class Choosing(Net):
    """A network with ops of several outputs."""

    def several(self, op: str, *inputs: str | np.ndarray, count: int, **attrs: int) -> list[str]:
        """A node's outputs."""
        names = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        outputs = [f"{op.lower()}{len(self.nodes)}/{i}" for i in range(count)]
        self.nodes.append(helper.make_node(op, names, outputs, **attrs))
        return outputs

    def whole(self, *values: int) -> np.ndarray:
        """Whole numbers."""
        return np.array(values, np.int64)


def squares(net: Choosing) -> tuple[str, str]:
    """Logits (N, places, 2) and boxes (N, places, 4), corners in the input's pixels."""
    colours = np.array([[1, -1, -1], [-1, 1, -1]], np.float32)[:, :, None, None]
    x = net("Relu", net("Conv", net.x, colours), name="colours")
    means = net("AveragePool", x, kernel_shape=[CELL] * 2, strides=[CELL] * 2, name="cells")
    rows = net("Reshape", means, net.whole(0, 2, -1))
    logits = net("Add", net("Mul", rows, np.float32(8)), np.float32(-4), name="logits")
    centres = np.arange(CELL / 2, SIDE, CELL)
    y, x = (grid.ravel() for grid in np.meshgrid(centres, centres, indexing="ij"))
    corners = np.stack([x - 4, y - 4, x + 4, y + 4]).astype(np.float32)[None]
    none = net("Mul", net("ReduceSum", rows, net.whole(1)), np.float32(0))
    boxes = net("Add", none, corners)
    return (net("Transpose", part, perm=[0, 2, 1], name=f"{part}/rows") for part in (logits, boxes))  # type: ignore


def suppressed(net: Choosing, boxes: str, scores: str) -> str:
    """NonMaxSuppression's indices, (M, 3), of scores (N, classes, places)."""
    return net("NonMaxSuppression", boxes, scores, net.whole(50), np.array([0.5]), np.array([0.25]), name="kept")


def column(net: Choosing, indices: str, at: int) -> str:
    """One of them, (M)."""
    return net("Gather", indices, net.whole(at).reshape(()), axis=1)


def joined_rows(net: Choosing, *parts: str, axis: int, name: str = "detections") -> str:
    """Columns side by side, whole numbers as floats."""
    return net("Concat", *parts, axis=axis, name=name)


def by_topk(net: Choosing) -> list[str]:
    """(N, 5, 6): the best places, then the best classes among those, as YOLO's from version 10 on."""
    logits, boxes = squares(net)
    table = net("Concat", boxes, net("Sigmoid", logits), axis=2, name="table")
    boxes, shares = net.several("Split", table, net.whole(4, 2), count=2, axis=2)
    best = net("ReduceMax", shares, net.whole(2), keepdims=0)
    _, place = net.several("TopK", best, net.whole(5), count=2, axis=1)
    wide = net("Unsqueeze", place, net.whole(2))
    boxes = net("GatherElements", boxes, net("Tile", wide, net.whole(1, 1, 4)), axis=1)
    shares = net("GatherElements", shares, net("Tile", wide, net.whole(1, 1, 2)), axis=1)
    marks, flat = net.several("TopK", net("Flatten", shares), net.whole(5), count=2, axis=1)
    rank, kind = net("Div", flat, net.whole(2)), net("Mod", flat, net.whole(2))
    boxes = net("GatherElements", boxes, net("Tile", net("Unsqueeze", rank, net.whole(2)), net.whole(1, 1, 4)), axis=1)
    parts = [net("Unsqueeze", marks, net.whole(2)), net("Unsqueeze", net("Cast", kind, to=1), net.whole(2))]
    return [joined_rows(net, boxes, *parts, axis=2)]


def by_suppression(net: Choosing) -> list[str]:
    """(M, 7): image, box, class, score; boxes made corners of centres by a product, as YOLOv7's end-to-end files."""
    logits, boxes = squares(net)
    turn = np.array([[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]], np.float32)
    back = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]], np.float32)
    sure = net("Sigmoid", net("Add", net("Mul", net("ReduceSum", logits, net.whole(2)), 0.0), 20.0))
    table = net("Concat", net("MatMul", boxes, turn), sure, net("Sigmoid", logits), axis=2, name="table")
    centred, one, kinds = net.several("Split", table, net.whole(4, 1, 2), count=3, axis=2)
    shares, framed = net("Mul", kinds, one), net("MatMul", centred, back)
    scores = net("Transpose", shares, perm=[0, 2, 1])
    kept = suppressed(net, framed, scores)
    image, kind, place = (column(net, kept, at) for at in range(3))
    found = net("Unsqueeze", image, net.whole(1)), net("Unsqueeze", place, net.whole(1))
    chosen = net("GatherND", framed, net("Concat", *found, axis=1))
    marks = net("Unsqueeze", net("GatherND", scores, kept), net.whole(1))
    first, named = (net("Cast", net("Unsqueeze", part, net.whole(1)), to=1) for part in (image, kind))
    return [joined_rows(net, first, chosen, named, marks, axis=1)]


def as_three(net: Choosing) -> list[str]:
    """Boxes (M, 4), labels (M), scores (M) of one image, each class suppressed by itself, as torchvision's."""
    logits, boxes = squares(net)
    shares = net("Sigmoid", net("Squeeze", logits, net.whole(0)))
    framed, marks, labels = [], [], []
    for kind in range(2):
        own = net("Gather", shares, net.whole(kind).reshape(()), axis=1)
        sure = net("Squeeze", net("NonZero", net("Greater", own, np.float32(0.05))), net.whole(0))
        some, sides = net("Gather", own, sure), net("Gather", net("Squeeze", boxes, net.whole(0)), sure)
        kept = net("NonMaxSuppression", net("Unsqueeze", sides, net.whole(0)), net("Unsqueeze", some, net.whole(0, 1)),
                   net.whole(50), np.array([0.5]), np.array([0.05]))  # fmt: skip
        place = column(net, kept, 2)
        marks.append(net("Gather", some, place))
        framed.append(net("Gather", sides, place))
        labels.append(net("Add", net("Mul", place, net.whole(0).reshape(())), net.whole(kind).reshape(())))
    return [
        net("Concat", *part, axis=0, name=name)
        for part, name in ((framed, "boxes"), (labels, "labels"), (marks, "scores"))
    ]


def of_best(net: Choosing) -> list[str]:
    """(1, M, 6): the best class of each place, boxes of each class moved apart, as Ultralytics' ``nms=True``."""
    logits, boxes = squares(net)
    table = net("Concat", boxes, net("Sigmoid", logits), axis=2, name="table")
    framed, shares = net.several("Split", net("Squeeze", table, net.whole(0)), net.whole(4, 2), count=2, axis=1)
    marks = net("ReduceMax", shares, net.whole(1), keepdims=0)
    kind = net("Cast", net("ArgMax", shares, axis=1, keepdims=1), to=1)
    apart = net("Add", framed, net("Mul", kind, np.float32(99)))
    kept = net("NonMaxSuppression", net("Unsqueeze", apart, net.whole(0)), net("Unsqueeze", marks, net.whole(0, 1)),
               net.whole(50), np.array([0.5]), np.array([0.25]))  # fmt: skip
    place = column(net, kept, 2)
    rows = joined_rows(net, framed, net("Unsqueeze", marks, net.whole(1)), kind, axis=1, name="rows")
    return [net("Unsqueeze", net("Gather", rows, place), net.whole(0), name="detections")]


def as_indices(net: Choosing) -> list[str]:
    """Boxes (1, P, 4) and scores (1, classes, P) of all places, and which of them are kept."""
    logits, boxes = squares(net)
    scores = net("Transpose", net("Sigmoid", logits), perm=[0, 2, 1], name="shares")
    return [boxes, scores, suppressed(net, boxes, scores)]


def of_padded(net: Choosing) -> list[str]:
    """(1, 9, 4) and (1, 9), of sizes that no file tells: rows that were kept and zeros, as tf2onnx writes them."""
    logits, boxes = squares(net)
    framed = net("Squeeze", boxes, net.whole(0))
    marks = net("Squeeze", net("GlobalMaxPool", net("Sigmoid", logits)), net.whole(0, 2))
    kept = net("NonMaxSuppression", net("Unsqueeze", framed, net.whole(0)), net("Unsqueeze", marks, net.whole(0, 1)),
               net.whole(9), np.array([0.5]), np.array([0.25]))  # fmt: skip
    place = column(net, kept, 2)
    left = net("Sub", net.whole(9), net("Shape", place))
    rows = [net("Pad", net("Gather", part, place), net("Concat", *pads, axis=0)) for part, pads in (
        (framed, (net.whole(0, 0), left, net.whole(0))), (marks, (net.whole(0), left)))]  # fmt: skip
    return [
        net("Unsqueeze", part, net.whole(0), name=name) for part, name in zip(rows, ("boxes", "marks"), strict=True)
    ]


def by_level(net: Choosing) -> list[str]:
    """Boxes, labels and scores of one image, the best of each level by a root of shares times centreness: FCOS's."""
    logits, boxes = squares(net)
    known = net.whole(0)
    centre = net("Add", net("Mul", net("ReduceSum", logits, net.whole(2)), np.float32(0)), np.float32(20))
    flat = [net("Squeeze", part, known) for part in (boxes, logits, centre)]
    rows = [net.several("Split", part, net.whole(8, 8), count=2, axis=0) for part in flat]
    marks, framed, labels = [], [], []
    for sides, kinds, middle in zip(*rows, strict=True):
        shares = net("Sqrt", net("Mul", net("Sigmoid", kinds), net("Sigmoid", middle)))
        best, at = net.several("TopK", net("Reshape", shares, net.whole(-1)), net.whole(4), count=2, axis=0)
        marks.append(best)
        labels.append(net("Mod", at, net.whole(2)))
        framed.append(net("Gather", sides, net("Div", at, net.whole(2))))
    sides, best, kinds = (net("Concat", *part, axis=0) for part in (framed, marks, labels))
    kept = suppressed(net, net("Unsqueeze", sides, known), net("Unsqueeze", best, net.whole(0, 1)))
    place = column(net, kept, 2)
    return [net("Gather", part, place, name=name)
            for part, name in ((sides, "boxes"), (kinds, "labels"), (best, "scores"))]  # fmt: skip


def by_root(net: Choosing) -> list[str]:
    """The same root of all levels at once, suppressed class by class."""
    logits, boxes = squares(net)
    centre = net("Add", net("Mul", net("ReduceSum", logits, net.whole(2)), np.float32(0)), np.float32(20))
    shares = net("Transpose", net("Sqrt", net("Mul", net("Sigmoid", logits), net("Sigmoid", centre))), perm=[0, 2, 1])
    kept = suppressed(net, boxes, shares)
    place = column(net, kept, 2)
    return [net("Gather", net("Squeeze", boxes, net.whole(0)), place, name="boxes"),
            net("GatherND", shares, kept, name="scores")]  # fmt: skip


def as_caffe(net: Choosing) -> list[str]:
    """(1, 1, 12, 7): image, class from 1 on, score and box; behind those that are kept rows of nothing."""
    logits, boxes = squares(net)
    shares = net("Transpose", net("Sigmoid", logits), perm=[0, 2, 1])
    kept = suppressed(net, boxes, shares)
    image, kind, place = (column(net, kept, at) for at in range(3))
    first, second = (net("Cast", net("Unsqueeze", part, net.whole(1)), to=1) for part in (image, kind))
    marks = net("Unsqueeze", net("GatherND", shares, kept), net.whole(1))
    framed = net("Gather", net("Squeeze", boxes, net.whole(0)), place)
    rows = joined_rows(net, first, net("Add", second, np.float32(1)), marks, framed, axis=1, name="rows")
    filled = net("Concat", rows, np.zeros((12, 7), np.float32), axis=0)
    some = net("Slice", filled, net.whole(0), net.whole(12), net.whole(0))
    return [net("Unsqueeze", some, net.whole(0, 1), name="detection_out")]


ROOTS = (by_level, by_root)
FORMS = {
    form.__name__: form
    for form in (by_topk, by_suppression, as_caffe, as_three, of_best, of_padded, *ROOTS, as_indices)
}


def choosing(form: str, batch: int | str = 1) -> onnx.ModelProto:
    """A detector of one of these forms."""
    net = Choosing(batch, 3, SIDE, SIDE)
    return net.model(*FORMS[form](net))


def pyramid(form: str) -> onnx.ModelProto:
    """Finds red squares of 8, 16 and 32 pixels in a picture of 128, each at the level of its own stride.

    A level's cells are means of the one before; one that has its like beside it is part of a larger square.
    """
    net = Choosing(1 if form == "suppressed" else "N", 3, 128, 128)
    red = net("Relu", net("Conv", net.x, np.array([1, -1, -1], np.float32)[None, :, None, None]), name="red")
    ring = np.full((1, 1, 3, 3), -3, np.float32)
    ring[0, 0, 1, 1] = 8
    logits, boxes, x = [], [], red
    for stride in (8, 16, 32):
        size = 8 if stride == 8 else 2
        x = net("AveragePool", x, kernel_shape=[size] * 2, strides=[size] * 2, name=f"cells{stride}")
        found = net("Relu", x, name=f"level{stride}")
        score = net("Conv", found, ring, np.array([-4], np.float32), pads=[1] * 4)
        logits.append(net("Reshape", score, net.whole(0, 1, -1)))
        centres = np.arange(stride / 2, 128, stride)
        down, across = (grid.ravel() for grid in np.meshgrid(centres, centres, indexing="ij"))
        half = np.full(len(across), stride / 2)
        boxes.append(np.stack([across - half, down - half, across + half, down + half]))
    scores = net("Transpose", net("Concat", *logits, axis=2), perm=[0, 2, 1], name="logits/rows")
    none = net("Mul", net("ReduceSum", scores, net.whole(2)), np.float32(0))
    corners = net("Add", none, np.concatenate(boxes, axis=1).T[None].astype(np.float32), name="boxes/rows")
    return net.model(*PYRAMIDS[form](net, scores, corners))


def joined_in_one(net: Choosing, logits: str, corners: str) -> list[str]:
    """(N, 4 + classes, places), centres and sizes, as YOLO's from version 8 on."""
    turn = np.array([[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]], np.float32)
    parts = net("MatMul", corners, turn), net("Sigmoid", logits)
    return [net("Transpose", net("Concat", *parts, axis=2), perm=[0, 2, 1], name="y")]


def as_two(net: Choosing, logits: str, corners: str) -> list[str]:
    """Scores and boxes apart."""
    return [net("Sigmoid", logits, name="shares"), corners]


def kept_rows(net: Choosing, logits: str, corners: str) -> list[str]:
    """(M, 6): what non-maximum suppression keeps."""
    shares = net("Sigmoid", logits)
    kept = suppressed(net, corners, net("Transpose", shares, perm=[0, 2, 1]))
    place, kind = column(net, kept, 2), column(net, kept, 1)
    parts = [net("Gather", net("Squeeze", part, net.whole(0)), place) for part in (corners, shares)]
    return [joined_rows(net, *parts, net("Unsqueeze", net("Cast", kind, to=1), net.whole(1)), axis=1)]


PYRAMIDS = {"joined": joined_in_one, "corners": as_two, "suppressed": kept_rows}
