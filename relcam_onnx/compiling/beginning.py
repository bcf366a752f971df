"""What relevance starts as in a compiled file, by targets or by seeds that are inputs of the file."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from relcam_onnx.backends.emit import Emit
from relcam_onnx.backends.symbols import Symbol
from relcam_onnx.compiling.assembly import Assembly
from relcam_onnx.lrp.heads import Table, aim, as_table, begin, ranking, target_count
from relcam_onnx.lrp.seeds import class_scores
from relcam_onnx.ops.records import product
from relcam_onnx.prepare import Prepared

TARGETS, SEED = "relcam_targets", "relcam_seed"
CLASSES, SCORES = "relcam_classes", "relcam_scores"


class Beginning:
    """The nodes between the scores and where relevance starts.

    Attributes
    ----------
    table
        The scores, (N or K·N, places, classes).
    rows
        Those at each target, (K·N, classes); None where the head has one place.
    """

    def __init__(self, f: Emit, prepared: Prepared, assembly: Assembly, raw: Symbol, *, single: bool) -> None:
        self.f, self.prepared, self.assembly, self.single = f, prepared, assembly, single
        self.choices = prepared.choices
        self.table: Table = as_table(f, self.choices.head, raw)
        self.columns = product([self.table.places, self.table.classes])
        self.rows: Any = None

    @property
    def flat(self) -> Any:
        """The scores, (N, places · classes)."""
        return self.f.Reshape(self.table.value, [0, self.columns])

    def by_targets(self) -> tuple[Any, Any]:
        """What relevance starts as, (K·N, places, classes), and whether each target exists, (K·N, 1)."""
        f, prepared, choices = self.f, self.prepared, self.choices
        targets = f.symbol(TARGETS, np.int64)
        own = self.table._replace(value=self.assembly.own_rows(f, cast(Symbol, self.table.value)))
        ranked: Any = ranking(f, choices, own)
        count = target_count(choices, self.table)
        width, last = f.sizes([count]), f.sizes([count - 1])
        order = f.TopK(ranked, width, axis=1)[1]
        rank = f.Max(f.Min(-targets - 1, last), np.int64(0))
        found = f.GatherElements(order, rank, axis=1)
        exists = f.And(f.Less(targets, width), f.GreaterOrEqual(targets, -width))
        resolved = f.Where(exists, f.Where(f.Less(targets, 0), found, targets), -1)
        self.assembly.add_output(f, CLASSES, resolved, [None, None])
        rows = resolved if self.single else f.Reshape(f.Transpose(resolved, perm=[1, 0]), [-1, 1])
        sizes = (prepared.clips or 1, self.table.places, self.table.classes)
        every = self.table._replace(value=f.each(f.sized(self.table.value, sizes)))
        target = aim(f, choices, every, rows)
        start = begin(f, choices, every, target, prepared.seed, gradient=prepared.gradient)
        self.rows = None if target.at is None else target.scores
        return start, target.exists

    def by_seed(self) -> tuple[Any, None]:
        """The seed that is an input of the compiled model."""
        f, seed = self.f, self.f.symbol(SEED, np.float32)
        most = f.ArgMax(class_scores(f, seed, paired=self.choices.paired), axis=2, keepdims=0)
        self.assembly.add_output(f, CLASSES, most, [None, None])
        turned = f.Transpose(seed, perm=[1, 0, 2])
        return f.Reshape(turned, [-1, self.table.places, self.table.classes]), None
