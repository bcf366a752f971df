"""Heads: how scores are seen as (N, places, classes), the axes wherever they sit.

A classifier has one place; a segmenter's places are its pixels, a detector's its anchors or queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.model import static_shape

Kind = Literal["classifier", "segmenter", "detector"]
KINDS = (*get_args(Kind), "embedding")
"""What a head may be called. An embedding is a table like a classifier's: what it is asked tells them apart."""
Form = Literal["corners", "centred", "joined", "turned", "offsets", "sizes", "distances"]
ONE_VS_REST = "OneVsRest"
"""What stands for a squashing where sigmoids are divided by their sum, as scikit-learn's classifiers do."""
SHARES, EACH_ITS_SHARE = "Shares", "EachItsShare"
"""What stand for a squashing where scores are shares already, of classes that compete, as under a softmax, or not."""
APART = frozenset({"Sigmoid", EACH_ITS_SHARE})
"""Under what classes do not compete."""
BOX = 4
"""Numbers that a box is told by."""
STRIDES = (4, 8, 16, 32, 64, 128)
"""Those that a detector's levels have."""
MOST_IN_CELL = 9
"""Places of a cell at most, RetinaNet's."""


@dataclass(frozen=True)
class Boxes:
    """Where a detector tells its boxes.

    Attributes
    ----------
    outputs
        The model's output, or one for each level.
    axis
        Of the four numbers in it, which are the first along that axis; places are the other one behind the batch.
    form
        "corners"; "centred", centre and size; "joined", whichever of these their values tell; "turned", those of a box
        that is turned by the angle in the last column; "offsets" of that centre from the corner of a cell and the
        logarithms of that size, both in cells; "sizes", the same without logarithms; or "distances" from the middle of
        each cell to the four sides, in cells, or each a distribution over whole cells.
    y_first
        Whether y comes before x, by how they are decoded, else by what they are called; None where neither tells.
    anchored
        Whether they lie at anchors, place after place, and are no queries'.
    """

    outputs: tuple[str, ...]
    axis: int
    form: Form
    y_first: bool | None = None
    anchored: bool = False


class Columns(NamedTuple):
    """Some columns of an output: those from ``first`` on, ``width`` of them; 0 where it has no axis of columns."""

    output: str
    first: int
    width: int


@dataclass(frozen=True)
class Rows:
    """Where a file tells the detections that it chose itself, a row for each.

    Attributes
    ----------
    boxes, scores
        The columns that tell them.
    form
        Of the boxes, as in `Boxes`.
    y_first
        The same; where it is None they are as those that they were chosen from.
    pixels
        What a unit of theirs is in pixels of the input, across and down; None where that is not known.
    """

    boxes: Columns
    scores: Columns
    form: Form
    y_first: bool | None = None
    pixels: tuple[float, float] | None = None


@dataclass(frozen=True)
class Head:
    """How scores are seen.

    Attributes
    ----------
    kind
        What the model does.
    axis
        Of the classes, in the tensor of scores; all others behind the batch are places.
    boxes
        A detector's; None where its file has none.
    joined
        The axis of the output along which boxes stand before the scores; None where it has scores alone.
    levels
        The outputs that hold the scores, where each level has its own; () where they are one.
    objectness
        Whether the scores are sums of a class's and of there being anything, which stands before the classes.
    rows
        What a detector chooses itself; None where that is left to who reads it.
    apart
        Whether a segmenter says yes or no to each class by itself, by sigmoids or thresholds, and no ArgMax chooses.
    """

    kind: Kind
    axis: int
    boxes: Boxes | None = None
    joined: int | None = None
    objectness: bool = False
    levels: tuple[str, ...] = ()
    rows: Rows | None = None
    apart: bool = False

    @property
    def told_by(self) -> tuple[str, ...]:
        """What a detector's scores and boxes are read from, beside the tensor that relevance starts at."""
        boxes = () if self.boxes is None else self.boxes.outputs
        rows = () if self.rows is None else (self.rows.boxes.output, self.rows.scores.output)
        return (*self.levels, *boxes, *rows)


CLASSIFIER = Head("classifier", 1)


def called_y_first(name: str) -> bool | None:
    """Whether boxes are called as TensorFlow's detectors call theirs, ymin, xmin, ymax, xmax; None for other names."""
    return True if "detection_boxes" in name else None


@dataclass(frozen=True)
class Scores:
    """The scores of a model.

    Attributes
    ----------
    tensor
        Where relevance starts, before ``squashed_by``.
    output
        The name of the model's output that it leads to, or of the tensor that was named.
    squashed_by
        "Softmax", "LogSoftmax", "Sigmoid", `ONE_VS_REST` or None: what stood between them and was stepped over; or
        `SHARES`, `EACH_ITS_SHARE`: they are shares, and nothing did.
    head
        How they are seen.
    """

    tensor: gs.Tensor
    output: str
    squashed_by: str | None
    head: Head = CLASSIFIER

    @property
    def unsquashed(self) -> bool:
        """Whether the output tells scores that nothing has made shares of."""
        return self.squashed_by in (None, "LogSoftmax") or self.output == self.tensor.name


def segmenter(scores: gs.Tensor, told: int | None, rank: int = 4) -> Head | None:
    """The head of scores for each pixel; ``told`` is the axis that a Softmax or ArgMax behind goes along.

    They have four axes, or of a volume five: as many as that has, ``rank``.
    """
    shape = static_shape(scores)
    if shape is None or len(shape) not in (4, max(rank, 4)) or shape[2:] == (1, BOX):
        return None
    if told is not None and told % len(shape):
        return Head("segmenter", told % len(shape))
    if len(shape) > 4:
        return Head("segmenter", 1)  # sides of volumes may be as few as classes
    first, middle, last = shape[1:]
    if None not in shape[1:] and (first == middle) != (middle == last):  # height and width are alike, as a rule
        return Head("segmenter", 3 if first == middle else 1)
    channels_last = last is not None and (first is None or last < first)
    return Head("segmenter", 3 if channels_last else 1)


def holds_scores(tensor: gs.Tensor) -> bool:
    """Whether a tensor's values are no whole numbers, such as the class that was chosen."""
    # onnx-graphsurgeon has ONNX's number where NumPy has no such type; all of those are floats.
    return tensor.dtype is None or isinstance(tensor.dtype, int) or np.dtype(tensor.dtype).kind not in "iub"
