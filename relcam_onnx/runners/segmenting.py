"""A segmenter's targets that name their region: a box, a mask, a class over either."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.backends.eager import Eager
from relcam_onnx.errors import TargetError
from relcam_onnx.lrp.heads import Aim, Table, as_table, begin, winners
from relcam_onnx.lrp.seeds import class_scores
from relcam_onnx.pictures.geometry import Floats
from relcam_onnx.pictures.labels import one_label
from relcam_onnx.runners.boxes import sides_of
from relcam_onnx.runners.starting import Described, Started, Starter

Sizes: TypeAlias = tuple[int, ...]
KEYS = frozenset({"label", "box", "mask"})


class Segmenter(Starter):
    """Starts relevance over regions that are told."""

    def start(self, inputs: Mapping[str, Any], asked: Described, among: Described) -> Started:
        """See `Starter`.

        Parameters
        ----------
        inputs
            The model's, perhaps filled up.
        asked, among
            For each image as many classes, ranks, or dicts: ``label``; ``box`` (left, top, right, bottom in the input's
            pixels) or ``mask`` ((H, W), of a volume (D, H, W), the input's size or any other of all that it shows).

        Raises
        ------
        TargetError
            A region without pixels, or no such class.
        """
        head, raw = self.prepared.choices.head, self.scores(inputs)
        grid = tuple(np.delete(raw.shape, [0, head.axis]).tolist())
        picture = self.prepared.layers.picture
        axes, shape = picture.layout.axes if picture.layout else (2, 3), np.shape(inputs[picture.tensor.name])
        whole = as_table(Eager(), head, raw)
        values: Any = whole.value
        rows = []
        for index, each in enumerate(asked):
            table = whole._replace(value=values[index : index + 1])
            rows.append([self._begun(table, one, grid, tuple(shape[axis] for axis in axes)) for one in each])
        parts = zip(*(zip(*row, strict=True) for row in rows), strict=True)
        targets, seeds, scores = (np.stack([np.stack(image) for image in part]) for part in parts)
        return Started(targets.astype(np.int64), seeds, scores)

    def _begun(self, table: Table, asked: Any, grid: Sizes, size: Sizes) -> tuple[int, Floats, Floats]:
        """The class, the start (scores) and the mean scores (classes) of one target."""
        f, choices, labels = Eager(), self.prepared.choices, self.prepared.facts.usable_labels
        won: Any = winners(f, choices, table)
        areas = won[0].sum(axis=0)
        if not isinstance(asked, Mapping):
            asked = {"label": asked}
        if not asked or set(asked) - KEYS:
            raise TargetError(f"a segmenter's target is told by {', '.join(sorted(KEYS))}, not by {list(asked)}")
        inside = region(asked, grid, size)
        if choices.background is not None:
            areas[choices.background] = -1
        kind = asked.get("label")
        if kind is None:
            within = won[0, inside].sum(axis=0) + 1e-6 * (areas >= 0)
            kind = int(np.where(areas < 0, -1, within).argmax())
        elif isinstance(kind, str):
            kind = one_label(kind, labels)
        if not -len(areas) <= kind < len(areas):
            raise TargetError(f"target {kind} is out of range: this model has {len(areas)} classes")
        kind = int(np.argsort(-areas, kind="stable")[-kind - 1]) if kind < 0 else int(kind)
        alone = not {"box", "mask"} & set(asked)
        chosen = won[0, :, kind].astype(bool) if alone else inside
        if alone and not chosen.any():  # where it comes nearest to it
            best: Any = class_scores(f, table.value, paired=choices.paired)
            chosen = best[0, :, kind] == best[0, :, kind].max()
        if not chosen.any():
            raise TargetError("the region has no pixel in the picture")
        at = (chosen / chosen.sum()).astype(np.float32)[None]
        hot = np.eye(len(areas), dtype=np.float32)[[kind]]
        mean: Any = at @ np.asarray(table.value)[0]
        target = Aim(cast(Any, hot), cast(Any, np.ones((1, 1), np.float32)), cast(Any, at), mean)
        start: Any = begin(f, choices, table, target, self.prepared.seed, gradient=self.prepared.gradient)
        return kind, start.reshape(-1), mean[0]


def region(asked: Mapping[str, Any], grid: Sizes, size: Sizes) -> NDArray[np.bool_]:
    """The pixels of scores, a ``grid`` over an input of ``size``, whose middles lie in a box or a mask, (places,)."""
    middles = [(np.arange(count) + 0.5) / count for count in grid]
    inside = np.ones(grid, bool)
    if (box := asked.get("box")) is not None:
        if len(grid) != 2:
            raise TargetError("a box names a part of a picture; name a part of a volume by a mask")
        left, top, right, bottom = sides_of(box)
        rows, columns = middles[0] * size[0], middles[1] * size[1]
        inside &= ((rows >= top) & (rows < bottom))[:, None] & ((columns >= left) & (columns < right))[None]
    if (mask := asked.get("mask")) is not None:
        cells = np.asarray(mask)
        if cells.ndim != len(grid):
            raise TargetError(f"a mask has {('two', 'three')[len(grid) - 2]} axes, not {cells.ndim}")
        inside &= cells[np.ix_(*((at * count).astype(int) for at, count in zip(middles, cells.shape, strict=True)))] > 0
    return inside.reshape(-1)
