"""What is asked of a picture: its class, or what a detector or a segmenter finds in it; and where that is in truth."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.audit.asking import won
from relcam_onnx.audit.model import Audited
from relcam_onnx.audit.outlines import Outlined
from relcam_onnx.audit.spots import Mask, Place, Said, Segment, Spot, box_at
from relcam_onnx.backends.eager import Eager
from relcam_onnx.lrp.seeds import class_scores
from relcam_onnx.pictures.finding import Found
from relcam_onnx.pictures.geometry import Size
from relcam_onnx.runners.boxes import overlaps
from relcam_onnx.runners.detecting import described
from relcam_onnx.runners.found import OVERLAP, detections


class Sought(NamedTuple):
    """A spot, its class, and what is outlined of it, if anything is."""

    spot: Spot
    kind: int
    mask: Mask | None


def find(
    model: Audited, picture: Found, said: Said, kind: int | None, outlined: Outlined | None, most: int
) -> list[Sought]:
    """What is asked of a picture, the surest or largest first.

    Parameters
    ----------
    model, picture, said
        What the model says of the picture.
    kind
        The class that somebody told; None: what the model says.
    outlined
        Where objects are, if known.
    most
        So many detections, or classes of most pixels.
    """
    size = model.read(picture.path).shape[1:]
    if model.kind == "detector":
        places = found_places(model, picture, said, kind, (size[0], size[1]))[:most]
        masks = [None] * len(places) if outlined is None else of_places(model, places, outlined)
        return [Sought(spot, spot.found.index, mask) for spot, mask in zip(places, masks, strict=True)]
    if model.kind == "segmenter":
        segments = found_segments(model, said, kind, (size[0], size[1]))[:most]
        drawn = [None] * len(segments) if outlined is None else of_segments(model, segments, outlined)
        return [Sought(spot, label, mask) for (spot, label), mask in zip(segments, drawn, strict=True)]
    own = int(model.told([said])[0][0].argmax()) if kind is None else kind
    called = [] if outlined is None else outlined.called(model.label(own))
    return [Sought(model.whole, own, outlined.draw(called) if outlined is not None and called else None)]


def found_places(model: Audited, picture: Found, said: Said, kind: int | None, size: Size) -> list[Place]:
    """All that is detected, or the best place of a class, however weak."""
    assert said.told is not None
    every = detections(said.told, 0) if kind is None else [described({"label": kind}, said.told, 0, None)]
    places = []
    for place, index in every:
        at = np.zeros(said.table.shape[1], np.float32)
        at[place] = 1
        sides = box_at(said.told, place)
        found = model.detection(picture.path, said.told, place, index)
        region = None if sides is None else inside(sides, size)
        places.append(Place(at=at, region=region, found=found, sides=sides))
    return places


def inside(box: NDArray[np.floating], size: Size) -> Mask:
    """The pixels whose middles lie in a box."""
    down, across = (np.arange(count) + 0.5 for count in size)
    rows, columns = (down >= box[1]) & (down < box[3]), (across >= box[0]) & (across < box[2])
    return np.asarray(rows[:, None] & columns[None])


def found_segments(model: Audited, said: Said, kind: int | None, size: Size) -> list[tuple[Segment, int]]:
    """The classes of most pixels but the background, or the told one; of one that wins none, its best pixel."""
    choices = model.prepared.choices
    seen = won(said, choices)
    scores: NDArray[np.float32] = np.asarray(class_scores(Eager(), said.table, paired=choices.paired))[0]  # type: ignore[arg-type]
    areas = seen.sum(axis=0)
    order = [int(each) for each in np.argsort(-areas, kind="stable") if areas[each] and each != choices.background]
    rows, columns = (((np.arange(n) + 0.5) / n * m).astype(int) for n, m in zip(size, said.grid, strict=True))
    found = []
    for each in order if kind is None else [kind]:
        cells = seen[:, each] if areas[each] else scores[:, each] == scores[:, each].max()
        at, grid = (cells / cells.sum()).astype(np.float32), cells.reshape(said.grid)
        found.append((Segment(at=at, region=grid[np.ix_(rows, columns)], cells=grid), each))
    return found


def of_places(model: Audited, places: list[Place], outlined: Outlined) -> list[Mask | None]:
    """For each detection, the best first, the object of its label whose box overlaps its own most, by half or more."""
    left = dict(enumerate(outlined.draw([place]) for place in range(len(outlined.labels))))
    found: list[Mask | None] = []
    for spot in places:
        fitting = [each for each in outlined.called(model.label(spot.found.index)) if each in left and left[each].any()]
        shared = [] if spot.sides is None else [float(overlaps(spot.sides, box_of(left[p])[None])[0]) for p in fitting]
        best = int(np.argmax(shared)) if shared else None
        found.append(left.pop(fitting[best]) if best is not None and shared[best] >= OVERLAP else None)
    return found


def box_of(mask: Mask) -> NDArray[np.float64]:
    """Left, top, right, bottom of a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)


def of_segments(model: Audited, segments: list[tuple[Segment, int]], outlined: Outlined) -> list[Mask | None]:
    """For each segment the objects of its label; those without one are the segment's that covers most of them."""
    objects: list[list[int]] = [[] for _ in segments]
    for place, label in enumerate(outlined.labels):
        called = [k for k, (_, kind) in enumerate(segments) if place in outlined.called(model.label(kind))]
        if label is None or model.labels is None:  # nobody says which
            mask = outlined.draw([place])
            covered = [int((spot.region & mask).sum()) for spot, _ in segments if spot.region is not None]
            called = [int(np.argmax(covered))] if any(covered) else []
        for k in called:
            objects[k].append(place)
    return [outlined.draw(places) if places else None for places in objects]
