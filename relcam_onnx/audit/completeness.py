"""Where relevance goes on its way down: what arrives at each stage, and what biases and ε take between two of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from relcam_onnx.analysis.layers import INPUT
from relcam_onnx.audit.experiments import Item, sampled
from relcam_onnx.audit.model import Audited, Source
from relcam_onnx.audit.rows import AUDITED
from relcam_onnx.audit.store import Found
from relcam_onnx.audit.subjects import Subject
from relcam_onnx.backends.eager import Eager
from relcam_onnx.lrp.plan import Plan, Step
from relcam_onnx.lrp.seeds import starting
from relcam_onnx.lrp.walk import describe
from relcam_onnx.ops import ZERO, Message, meet
from relcam_onnx.prepare import Prepared
from relcam_onnx.results.evidence import CANCELLED
from relcam_onnx.rules.base import Messages, pass_back
from relcam_onnx.runners.reading import Reading

NEARLY = 1e-6
"""Of a rule's ε: so much of it takes nothing that could be told."""


@dataclass
class Taken:
    """Of a stage: what arrives, and what was taken between it and the one above, as sums of relevance.

    ``rest`` is what no input of a node gets for other reasons, such as outputs that nothing pushes up; and rounding.
    """

    biases: float = 0.0
    epsilon: float = 0.0
    rest: float = 0.0
    arrives: float = 0.0


def by_account(subjects: Sequence[Subject], count: int, model: Audited, seed: int = 0) -> Iterator[Item]:
    """``biases``, ``epsilon``, ``rest``, ``arrives``: shares of what relevance started as, down to the input.

    Nothing where that cancels to next to nothing, as under seed ``clrp``.
    """
    chosen = sampled(subjects, count, seed)
    if not chosen or model.prepared.gradient:
        return
    given = model.prepared
    names = [*(layer.name for layer in given.layers.stages), INPUT]
    walked = Prepared(model.file, names, "lrp", given.preset, given.seed, given.scores.output, **model.given)

    @cache
    def ready(size: tuple[int, ...]) -> tuple[Prepared, Reading]:
        prepared = walked.sized({given.layers.picture.tensor.name: size})
        return prepared, Reading.of(prepared.model, prepared.maps.plan, model.settings, spinning=False)

    for subject in chosen:

        def measure(source: Source, subject: Subject = subject) -> Found:
            feeds = model.feeds(subject.array[None])
            prepared, reading = ready(feeds[given.layers.picture.tensor.name].shape[1:])
            _, values = reading.run(feeds)
            values = {name: value[:1] if value.ndim else value for name, value in values.items()}
            start, whole, taken = account(prepared, values, subject.label)
            if abs(start) <= CANCELLED * whole:
                return {AUDITED: {}}
            shares = {layer: {key: value / start for key, value in vars(t).items()} for layer, t in taken.items()}
            return {AUDITED: shares}

        yield Item(subject.name, measure, 1, 0)


@np.errstate(all="ignore")
def account(prepared: Prepared, values: Mapping[str, Any], target: int) -> tuple[float, float, dict[str, Taken]]:
    """Walk one picture's plan and keep books.

    Returns
    -------
    tuple
        What relevance started as, its magnitude, and stage by stage, from the top, what became of it.
    """
    f, plan = Eager(), prepared.maps.plan
    table = values[plan.scores.name].reshape(1, -1)
    classes = 2 if prepared.paired else table.shape[1]
    hot: Any = np.eye(classes, dtype=np.float32)[[target]]
    seed: Any = starting(f, prepared.seed, table, hot, paired=prepared.paired, gradient=False)
    arriving: dict[str, list[Message]] = defaultdict(list)
    arriving[plan.scores.name].append(Message(seed.reshape(values[plan.scores.name].shape)))
    stages = {layer.tensor.name: layer.name for layer in prepared.maps.layers}
    taken = {layer.name: Taken() for layer in reversed(prepared.maps.layers)}
    order = [*(layer.name for layer in reversed(prepared.maps.layers) if layer.name != INPUT), INPUT]
    below = 0
    for step in plan.steps:
        output = step.node.outputs[0].name
        if output not in arriving:
            continue
        message = meet(f, arriving.pop(output))
        if output in stages:
            taken[stages[output]].arrives = total(f, message)
            below = order.index(stages[output]) + 1
        handed = receivers(step, pass_back(f, step.rule, describe(f, step, values), message))
        book(f, plan, step, values, message, handed, taken[order[min(below, len(order) - 1)]])
        for index, part in handed.items():
            name = step.node.inputs[index].name
            arriving[name].append(replace(part, value=f.arrived(part.value, values[name])))
    for name, messages in arriving.items():
        if name in stages:
            taken[stages[name]].arrives = total(f, meet(f, messages))
    start = np.asarray(seed, np.float64)
    return float(start.sum()), float(np.abs(start).sum()), {name: taken[name] for name in order}


def book(
    f: Eager, plan: Plan, step: Step, values: Mapping[str, Any], message: Message, handed: Messages, taken: Taken
) -> None:
    """What one node keeps: by ε, as far as a rule without it hands on more; of the rest biases', where it has any."""
    came = total(f, message)
    went = sum(total(f, part) for part in handed.values())
    epsilon = 0.0
    if getattr(step.rule, "eps", 0.0):
        exact = replace(step.rule, eps=step.rule.eps * NEARLY)  # type: ignore[type-var, attr-defined]
        less = receivers(step, pass_back(f, exact, describe(f, step, values), message))
        epsilon = sum(total(f, part) for part in less.values()) - went
    kept = came - went - epsilon
    record = describe(f, step, values)
    if getattr(record, "bias", None) is not None and getattr(step.rule, "bias", True):
        taken.biases += kept
    else:
        taken.rest += kept
    taken.epsilon += epsilon


def receivers(step: Step, messages: Messages) -> dict[int, Message]:
    """What goes on."""
    return {i: m for i, m in messages.items() if i in step.receivers and m.value is not ZERO}


def total(f: Eager, message: Message) -> float:
    """The sum of a message's relevance."""
    return float(np.sum(np.asarray(message.relevance(f)), dtype=np.float64))
