"""Where relevance goes on its way down: what arrives at each stage, and what biases and ε take between two of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, cast

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.analysis.layers import INPUT
from relcam_onnx.analysis.paths import receiving
from relcam_onnx.audit.experiments import Item, sampled
from relcam_onnx.audit.model import Audited, Source
from relcam_onnx.audit.rows import AUDITED
from relcam_onnx.audit.spots import Spot
from relcam_onnx.audit.store import Found
from relcam_onnx.audit.subjects import Subject
from relcam_onnx.backends.eager import Eager
from relcam_onnx.lrp.plan import Step
from relcam_onnx.lrp.walk import describe, going_on, walk
from relcam_onnx.ops import Message, lookup
from relcam_onnx.prepare import Prepared
from relcam_onnx.results.evidence import CANCELLED
from relcam_onnx.rules.base import Messages, pass_back
from relcam_onnx.runners.reading import Reading

NEARLY = 1e-6
"""Of a rule's ε: so much of it takes nothing that could be told."""
WHOLE = Spot()
"""A classifier's one place."""


@dataclass
class Taken:
    """Of a stage: what arrives, and what was taken between it and the one above, as sums of relevance.

    ``constants`` are those of the file that are terms like others: class tokens, position tables. ``rest`` is what no
    input of a node gets for other reasons, such as outputs that nothing pushes up; and rounding.
    """

    biases: float = 0.0
    epsilon: float = 0.0
    constants: float = 0.0
    rest: float = 0.0
    arrives: float = 0.0


def by_account(subjects: Sequence[Subject], count: int, model: Audited, seed: int = 0) -> Iterator[Item]:
    """``biases``, ``epsilon``, ``constants``, ``rest``, ``arrives``: shares of the relevance that started.

    Nothing where that cancels to next to nothing, as under seed ``clrp``.
    """
    chosen = sampled(subjects, count, seed)
    if not chosen or model.prepared.gradient:
        return
    given = model.prepared
    names = [*(layer.name for layer in given.layers.stages), INPUT]
    options = {key: model.options.get(key) for key in ("output", "head")}
    walked = Prepared(model.file, names, "lrp", given.preset, given.seed, **options, **model.given)

    @cache
    def ready(size: tuple[int, ...]) -> tuple[Prepared, Reading]:
        prepared = walked.sized({given.layers.picture.tensor.name: size})
        return prepared, Reading.of(prepared.model, prepared.maps.plan, model.settings, spinning=False)

    for subject in chosen:

        def measure(source: Source, subject: Subject = subject) -> Found:
            feeds = model.feeds(subject.array[None])
            prepared, reading = ready(feeds[given.layers.picture.tensor.name].shape[1:])
            _, values = reading.run(feeds)
            start, whole, taken = account(prepared, values, subject.label, subject.spot)
            if abs(start) <= CANCELLED * whole:
                return {AUDITED: {}}
            shares = {layer: {key: value / start for key, value in vars(t).items()} for layer, t in taken.items()}
            return {AUDITED: shares}

        yield Item(subject.name, measure, 1, 0)


@np.errstate(all="ignore")
def account(
    prepared: Prepared, values: Mapping[str, Any], target: int, spot: Spot = WHOLE
) -> tuple[float, float, dict[str, Taken]]:
    """Walk a plan for a class of one picture, the first of those that values are of, and keep books.

    Returns
    -------
    tuple
        What relevance started as, its magnitude, and stage by stage, from the top, what became of it.
    """
    f, plan, layers = Eager(), prepared.maps.plan, prepared.maps.layers
    start = np.array(spot.start(prepared, values[plan.scores.name], target))
    start[1:] = 0
    names = {layer.tensor.name: layer.name for layer in layers}
    taken = {name: Taken() for name in [*(n for n in reversed(names.values()) if n != INPUT), INPUT]}
    below = iter(taken.values())
    current = next(below)

    def watch(step: Step, message: Message, handed: Messages) -> None:
        nonlocal current
        if step.node.outputs[0].name in names:
            current = next(below, current)
        book(f, step, values, message, handed, current)

    for tensor, message in walk(f, plan, values, start, [layer.tensor for layer in layers], watch).items():
        taken[names[tensor]].arrives = total(f, message)
    return float(start.sum(dtype=np.float64)), float(np.abs(start).sum(dtype=np.float64)), taken


def book(f: Eager, step: Step, values: Mapping[str, Any], message: Message, handed: Messages, taken: Taken) -> None:
    """What one node keeps: by ε, as far as a rule without it hands on more; the rest is biases' or constants'."""
    came, went = total(f, message), sum(total(f, part) for part in handed.values())
    record, rule, epsilon = describe(f, step, values), cast(Any, step.rule), 0.0
    if getattr(rule, "eps", 0.0):
        exact = going_on(step, pass_back(f, replace(rule, eps=rule.eps * NEARLY), record, message))
        epsilon = sum(total(f, part) for part in exact.values()) - went
    if getattr(record, "bias", None) is not None and getattr(rule, "bias", True):
        taken.biases += came - went - epsilon
    elif has_constants(step):
        taken.constants += came - went - epsilon
    else:
        taken.rest += came - went - epsilon
    taken.epsilon += epsilon


def has_constants(step: Step) -> bool:
    """Whether constants of the file, or what is made of them alone, are among the terms of a node."""
    kinds = [np.asarray(t.values).dtype.kind for t in step.node.inputs if isinstance(t, gs.Constant)]
    made = {index for index, _ in receiving(step.node, gradient=False)} - step.receivers
    return lookup(step.node).role_of(step.node) in (None, "sum") and ("f" in kinds or bool(made))


def total(f: Eager, message: Message) -> float:
    """The sum of a message's relevance."""
    return float(np.sum(np.asarray(message.relevance(f)), dtype=np.float64))
