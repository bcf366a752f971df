"""Detections that a file chooses itself: which place and class each of its rows is, found again by the row's score.

No graph is read for that, so it holds however the file chooses: by TopK, by non-maximum suppression, in loops.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.analysis.heads import Columns, Rows
from relcam_onnx.pictures.geometry import Floats, Size
from relcam_onnx.results.detections import CONFIDENCE
from relcam_onnx.runners.boxes import corners, overlaps

SAME, ALIKE = 2e-3, 1e-6
"""A row's score is that of its place and class but for half precision; what differs by less is alike."""


def matched(
    shares: Floats,
    boxes: Floats | None,
    values: Mapping[str, NDArray[Any]],
    rows: Rows,
    size: Size,
    *,
    y_first: bool = False,
) -> tuple[Floats | None, list[list[tuple[int, int]] | None]]:
    """Find the rows of N images again.

    Parameters
    ----------
    shares, boxes
        (N, places, classes), and (N, places, 4) or None: what the rows were chosen from.
    values
        The file's outputs.
    rows
        Where they tell the rows.
    size
        Height and width of the input.
    y_first
        Whether the table tells y before x, and so rows of which nothing is known.

    Returns
    -------
    tuple
        The boxes, those of rows as the file tells them, NaN where nothing does; and the places and classes of each
        image's rows, best first, or None where their scores are other ones than the table's.
    """
    sides, marks = columns_of(values, rows.boxes, 3), columns_of(values, rows.scores, 2)
    wanted = np.asarray(marks > CONFIDENCE)
    told = np.where(wanted[..., None], sides, 0)  # others may be filled up with anything
    turned = rows.form == "turned"  # their angles stand elsewhere
    first = y_first if rows.y_first is None else rows.y_first
    framed = None if turned else corners([told], size, rows.form, y_first=first, pixels=rows.pixels)
    known = np.full((*shares.shape[:2], 4), np.nan, np.float32) if boxes is None else boxes.copy()
    left, own = shares.copy(), len(marks) == len(shares)  # else the rows of all images are one table
    found: list[list[tuple[int, int]]] = [[] for _ in shares]
    for part, row in zip(*np.nonzero(wanted), strict=True):
        images = slice(part, part + 1) if own else slice(0, len(shares))
        box = None if framed is None else framed[part, row]
        where = nearest(left[images], known[images], marks[part, row], box)
        if where is not None:
            image, place, kind = where[0] + images.start, *where[1:]
            found[image].append((place, kind))
            left[image, place, kind] = np.nan  # a row each
            if box is not None:
                known[image, place] = box
    lost = [bool(each.any()) for each in wanted] if own else [bool(wanted.any()) and not any(found)] * len(shares)
    best = [
        None if missing and not each else sorted(each, key=lambda pair: -shares[i][pair])
        for i, (each, missing) in enumerate(zip(found, lost, strict=True))
    ]
    return (boxes if framed is None else known), best


def columns_of(values: Mapping[str, NDArray[Any]], columns: Columns, rank: int) -> Floats:
    """Some columns of an output, (N, rows) or (N, rows, columns) by ``rank``; N is 1 where it has no such axis.

    Further axes, of length one as Caffe's and OpenVINO's (1, 1, rows, 7) have them, count to N.
    """
    value = np.asarray(values[columns.output], np.float32)
    if columns.width:
        value = value[..., columns.first : columns.first + columns.width]
    if rank == 2 and columns.width:
        value = value[..., 0]
    own = value.shape[1 - rank :]
    return value.reshape(np.prod(value.shape[: -len(own)], dtype=int), *own)


def nearest(shares: Floats, boxes: Floats, mark: float, box: Floats | None) -> tuple[int, int, int] | None:
    """Image, place and class of the share nearest to a row's, of several alike the one whose box fits; or None."""
    away = np.nan_to_num(np.abs(shares - mark), nan=np.inf)
    least = away.min()
    if not least <= SAME:
        return None
    alike = np.argwhere(away <= least + ALIKE)
    if len(alike) > 1 and box is not None:
        fit = np.nan_to_num(overlaps(box, boxes[alike[:, 0], alike[:, 1]]))
        alike = alike[int(fit.argmax()) :]
    image, place, kind = map(int, alike[0])
    return image, place, kind
