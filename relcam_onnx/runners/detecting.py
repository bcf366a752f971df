"""A detector's targets: what it detects, and what is asked for by its box or label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.errors import TargetError
from relcam_onnx.pictures.asked import by_image
from relcam_onnx.pictures.labels import one_label
from relcam_onnx.prepare import Prepared
from relcam_onnx.results.detections import Detected
from relcam_onnx.runners.boxes import overlaps, sides_of
from relcam_onnx.runners.found import OVERLAP, Told, detections, told
from relcam_onnx.runners.reading import Reading
from relcam_onnx.runners.session import SessionSettings
from relcam_onnx.runners.targets import NONE

Arrays: TypeAlias = Mapping[str, NDArray[Any]]


class Detector:
    """Reads what a detector detects, in a session that explains nothing."""

    def __init__(self, prepared: Prepared, settings: SessionSettings) -> None:
        self._prepared, self._settings = prepared, settings
        outputs = [output.name for output in prepared.model.proto.graph.output]
        read = (prepared.scores.output, *prepared.scores.head.told_by)
        self._outputs, self._inside = outputs, [name for name in read if name not in outputs]
        self.labels = prepared.facts.usable_labels

    @cached_property
    def _reading(self) -> Reading:
        return Reading.of_scores(self._prepared, self._settings, self._outputs, self._inside, spinning=False)

    def numbers(self, targets: Any, images: int, batches: Iterable[Arrays]) -> tuple[Any, Told | None]:
        """Targets that hang on what is detected as numbers, (N, K), and what is told of all; others as they are.

        Parameters
        ----------
        targets
            As in `chosen`, ranks as an array too; arrays of places and classes need no run.
        images
            N.
        batches
            The model's inputs for them, the last perhaps filled up.
        """
        if isinstance(targets, np.ndarray) and targets.size and (targets < 0).all() and targets.ndim < 3:
            targets = targets.tolist()
        if isinstance(targets, np.ndarray) or is_nested(targets):
            return targets, None
        found = Told.joined([self.told(self._read(inputs), inputs) for inputs in batches])[:images]
        return chosen(targets, found, self.labels), found

    def detected(self, found: Told | None, outputs: Arrays, inputs: Arrays, targets: np.ndarray) -> Detected:
        """Where targets (N, K, 2) are, by what is told already, else by the outputs for these inputs."""
        if found is None:
            found = self.told(self._read(inputs) if self._inside else outputs, inputs)[: len(targets)]
        places = np.maximum(targets[..., 0], 0)
        boxes = None if found.boxes is None else np.take_along_axis(found.boxes, places[..., None], axis=1)
        row = np.take_along_axis(found.shares, places[..., None], axis=1)
        shares = np.take_along_axis(row, np.maximum(targets[..., 1:], 0), axis=2)[..., 0]
        return Detected(boxes, shares, found.shares.max(axis=(1, 2)))

    def told(self, values: Arrays, inputs: Arrays) -> Told:
        """What the outputs for some inputs say, and the tensors inside that tell more."""
        picture = self._prepared.layers.picture
        shape, axes = np.shape(inputs[picture.tensor.name]), picture.layout.axes if picture.layout else (2, 3)
        return told(values, self._prepared.scores, self._prepared.choices, (shape[axes[0]], shape[axes[1]]))

    def _read(self, inputs: Arrays) -> Arrays:
        """The outputs for some inputs, and tensors inside."""
        outputs, inside = self._reading.run(inputs)
        return {**inside, **outputs}


def is_nested(targets: Any) -> bool:
    """Whether targets are places and classes, (N, K, 2), as lists."""
    return np.ndim(np.asarray(targets, object)) == 3


def chosen(targets: Any, found: Told, labels: Sequence[str] | None) -> NDArray[np.int64]:
    """A detector's targets as numbers, place · classes + class, (N, K); `NONE` where an image has fewer.

    Parameters
    ----------
    targets
        None: all that is detected; a rank among that, -1 the best, nothing where there are fewer; a dict with a ``box``
        in the input's pixels, a ``label``, or both; or a list of such for each image.
    found
        What the outputs say.
    labels
        The classes' names.

    Raises
    ------
    TargetError
        No such box or label.
    """
    images, _, classes = found.shares.shape
    rows = [picked(asked, found, index, labels) for index, asked in enumerate(by_image(targets, images))]
    wide = max(1, *map(len, rows))
    table = np.full((images, wide), NONE, np.int64)
    for row, pairs in zip(table, rows, strict=True):
        row[: len(pairs)] = [place * classes + kind for place, kind in pairs]
    return table


def picked(asked: Any, found: Told, index: int, labels: Sequence[str] | None) -> list[tuple[int, int]]:
    """What is asked of one image, as places and classes."""
    if isinstance(asked, list | tuple):
        return [pair for one in asked for pair in picked(one, found, index, labels)]
    if isinstance(asked, Mapping):
        return [described(asked, found, index, labels)]
    there = detections(found, index)
    if asked is None:
        return there
    if not isinstance(asked, int | np.integer) or asked >= 0:
        raise TargetError(
            f"a detector's targets are ranks of what it detects, -1 the best, dicts with a box or a label, or an array "
            f"(N, K, 2) of places and classes, not {asked!r}"
        )
    return there[-asked - 1 :][:1]


def described(asked: Mapping[str, Any], found: Told, index: int, labels: Sequence[str] | None) -> tuple[int, int]:
    """The place that fits a box, a label or both, best; however weak it is."""
    if not asked or set(asked) - {"box", "label"}:
        raise TargetError(f"a target is described by 'box', 'label' or both, not by {list(asked)}")
    shares = found.shares[index].copy()
    if (label := asked.get("label")) is not None:
        kind = label_index(label, labels, shares.shape[1])
        shares[:, [other for other in range(shares.shape[1]) if other != kind]] = -1
    if (box := asked.get("box")) is not None:
        shares[~around(box, found, index)] = -1
    place, best = divmod(int(shares.argmax()), shares.shape[1])
    return place, best


def around(box: Any, found: Told, index: int) -> NDArray[np.bool_]:
    """The places whose boxes overlap one by at least a half; where none does, the one that overlaps it most."""
    sides = sides_of(box)
    if found.boxes is None:
        raise TargetError("this file tells no boxes: describe a target by its label, or give places and classes")
    shared = np.nan_to_num(overlaps(sides, found.boxes[index]))
    if not shared.max():
        raise TargetError(f"no place of image {index} has a box that meets {tuple(box)}")
    return np.asarray(shared >= min(OVERLAP, float(shared.max())))


def label_index(label: Any, labels: Sequence[str] | None, classes: int) -> int:
    """The class of a label, or of its number."""
    index = one_label(label, labels) if isinstance(label, str) else label
    if not isinstance(index, int | np.integer) or not 0 <= index < classes:
        raise TargetError(f"label {label!r} is no class of this model, which has {classes}")
    return int(index)
