"""What relevance starts as at scores seen as (N, places, classes): a seed over the classes at the places of a target.

A target is a number: a class, or place · classes + class where places are chosen (a detector's). A segmenter's target
is a class over the pixels where it wins. There the seed is that of the mean scores of the region, and each pixel starts
with its own part of every score.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
from onnx import TensorProto

from relcam_onnx.analysis.choices import Choices
from relcam_onnx.analysis.heads import Head
from relcam_onnx.lrp.seeds import SCALED, class_scores, starting
from relcam_onnx.ops.backend import Backend, Size, Value
from relcam_onnx.ops.records import product


class Table(NamedTuple):
    """Scores, (N, places, classes)."""

    value: Value
    places: Size
    classes: Size


class Aim(NamedTuple):
    """Targets, seen among scores (K·N, places, classes).

    Attributes
    ----------
    hot
        1 at the target's class, (K·N, classes).
    exists
        0 where there is no such target, (K·N, 1).
    at
        How much each place counts, (K·N, places), 1 in sum; None where there is one.
    scores
        At the target's place, or their mean over its region, (K·N, classes).
    """

    hot: Value
    exists: Value
    at: Value | None
    scores: Value


def order(head: Head, rank: int) -> list[int]:
    """The axes of a tensor of scores as the batch, places, classes."""
    return [axis for axis in range(rank) if axis != head.axis] + [head.axis]


def as_table(f: Backend, head: Head, raw: Value) -> Table:
    """Scores as the file has them as a table."""
    dims, places = f.dims(raw), cast(Size, 1)
    if head.kind == "classifier":
        classes, turned = product(dims[1:]), raw
    else:
        axes = order(head, len(dims))
        places, classes = product([dims[axis] for axis in axes[1:-1]]), dims[head.axis]
        turned = raw if axes == sorted(axes) else f.Transpose(raw, perm=axes)
    flat = turned if len(dims) == 3 and head.kind != "classifier" else f.Reshape(turned, [0, places, classes])
    return Table(f.sized(flat, (dims[0], places, classes)), places, classes)


def as_scores(f: Backend, head: Head, start: Value, dims: tuple[Size, ...]) -> Value:
    """The other way round: (K·N, places, classes) in the shape of the file's scores, whose sizes are ``dims``."""
    if head.kind == "classifier":
        return f.Reshape(start, [0, *dims[1:]])
    axes = order(head, len(dims))
    apart = start if len(dims) == 3 else f.Reshape(start, [0, *(dims[axis] for axis in axes[1:])])
    return apart if axes == sorted(axes) else f.Transpose(apart, perm=[axes.index(axis) for axis in range(len(axes))])


def ranking(f: Backend, choices: Choices, table: Table) -> Value:
    """What targets are ranked by, (N, targets): scores; of a segmenter's classes how many pixels each wins.

    The background comes last.
    """
    if choices.head.kind != "segmenter":
        flat = f.Reshape(table.value, [0, product([table.places, table.classes])])
        return class_scores(f, flat, paired=choices.paired, middle=choices.middle)
    areas = f.ReduceSum(winners(f, choices, table), [1], keepdims=0)
    if choices.background is None:
        return areas
    every = f.Reshape(counted(f, class_count(choices, table)), [1, -1])
    return f.Where(f.Equal(every, np.int64(choices.background)), -1.0, areas)


def class_count(choices: Choices, table: Table) -> Size:
    """How many classes there are at a place: two that share a score, or as many as scores."""
    return 2 if choices.paired else table.classes


def target_count(choices: Choices, table: Table) -> Size:
    """How many targets there are to choose from."""
    classes = class_count(choices, table)
    return classes if choices.head.kind == "segmenter" else classes * table.places


def winners(f: Backend, choices: Choices, table: Table) -> Value:
    """1 for the class that wins at each place, (N, places, classes); of no rivals for each that is above the middle."""
    if choices.apart:
        return f.Where(f.Greater(table.value, choices.middle), 1.0, 0.0)
    most = f.ArgMax(class_scores(f, table.value, paired=choices.paired, middle=choices.middle), axis=2, keepdims=1)
    every = f.Reshape(counted(f, class_count(choices, table)), [1, 1, -1])
    return f.Cast(f.Equal(most, every), to=TensorProto.FLOAT)


def counted(f: Backend, count: Size) -> Any:
    """0, 1, ... as int64, (count)."""
    if isinstance(count, int):
        return np.arange(count, dtype=np.int64)
    return f.Range(np.int64(0), f.Squeeze(f.sizes([count])), np.int64(1))


def aim(f: Backend, choices: Choices, table: Table, targets: Value) -> Aim:
    """Find targets, int64 (K·N, 1), ranks resolved and -1 for none, among scores (K·N, places, classes)."""
    classes = class_count(choices, table)
    named = f.Mod(targets, f.sizes([classes])) if choices.head.kind == "detector" else targets
    hot = f.Cast(f.Equal(named, f.Reshape(counted(f, classes), [1, -1])), to=TensorProto.FLOAT)
    exists = f.Where(f.Less(targets, np.int64(0)), 0.0, 1.0)
    if choices.head.kind == "classifier":
        at, scores = None, f.Reshape(table.value, [0, table.classes])
    else:
        at = region(f, choices, table, targets, hot)
        scores = f.Squeeze(f.MatMul(f.Unsqueeze(at, [1]), table.value), [1])
    return Aim(hot, exists, at, f.sized(scores, (1, table.classes)))


def region(f: Backend, choices: Choices, table: Table, targets: Value, hot: Value) -> Value:
    """How much each place counts, (K·N, places), 1 in sum: the one place, or the pixels that the class wins.

    A class that wins none has the place where its score is largest.
    """
    if choices.head.kind == "detector":
        place = f.Div(targets, f.sizes([table.classes]))
        every = f.Reshape(counted(f, table.places), [1, -1])
        return f.Cast(f.Equal(place, every), to=TensorProto.FLOAT)
    of_class = f.Unsqueeze(hot, [1])
    won = f.ReduceSum(winners(f, choices, table) * of_class, [2], keepdims=0)
    score = f.ReduceSum(class_scores(f, table.value, paired=choices.paired) * of_class, [2], keepdims=0)
    best = f.Where(f.Equal(score, f.ReduceMax(score, [1], keepdims=1)), 1.0, 0.0)
    some = f.Greater(f.ReduceMax(won, [1], keepdims=1), 0.0)
    chosen = f.Where(some, won, best)
    weight: Value = chosen / f.ReduceSum(chosen, [1], keepdims=1)
    return weight


def begin(f: Backend, choices: Choices, table: Table, target: Aim, seed: str, *, gradient: bool) -> Value:
    """What relevance starts as, (K·N, places, classes); ``gradient`` as in `relcam_onnx.lrp.seeds.starting`."""
    paired = choices.paired
    start = starting(f, seed, target.scores, target.hot, paired=paired, gradient=gradient) * target.exists
    if target.at is None:
        return f.Unsqueeze(start, [1])
    if choices.head.kind == "segmenter" and seed in SCALED:
        zero = f.Equal(target.scores, 0.0)
        share = f.Where(zero, 0.0, start / f.Where(zero, 1.0, target.scores))
        return table.value * f.Unsqueeze(share, [1]) * f.Unsqueeze(target.at, [2])
    return f.Unsqueeze(target.at, [2]) * f.Unsqueeze(start, [1])
