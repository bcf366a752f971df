"""Whether two files do the same task, so that one can be held against the other."""

from __future__ import annotations

from collections.abc import Mapping

from relcam_onnx.audit.model import Audited
from relcam_onnx.audit.outlines import alike
from relcam_onnx.errors import InputError
from relcam_onnx.model import static_shape


def check_same_task(model: Audited, reference: Audited) -> None:
    """The same head, classes and sizes of pictures.

    Raises
    ------
    InputError
        The reference has others.
    """
    other = "they do not do the same task; give the file that this one was made of"
    if model.kind != reference.kind:
        raise InputError(f"the reference is a {reference.kind}, the model a {model.kind}: {other}")
    mine, its = model.prepared.choices.classes, reference.prepared.choices.classes
    if mine is not None and its is not None and mine != its:
        raise InputError(f"the reference tells {its} classes apart, the model {mine}: {other}")
    if model.kind != "embedding":  # there they are names of pictures, and the same
        check_labels(model, dict(enumerate(reference.labels or ())))
    sizes = [taken(each) for each in (model, reference)]
    if any(a and b and a != b for a, b in zip(*sizes, strict=False)):
        raise InputError(f"the reference takes pictures {sizes[1]}, the model {sizes[0]}: {other}")


def taken(audited: Audited) -> tuple[int | None, ...]:
    """Channels, height and width of a model's pictures; None for what only a run knows."""
    sizes = (static_shape(audited.prepared.layers.picture.tensor) or ())[1:]
    return (*sizes[-1:], *sizes[:-1]) if audited.pictures.preprocess.layout == "NHWC" else sizes


def check_labels(model: Audited, labels: Mapping[int, str | None]) -> None:
    """The classes are called as another file calls them, as far as both say it.

    Raises
    ------
    InputError
        One is called otherwise, or they stand in another order.
    """
    own = {kind: label for kind in labels if (label := model.label(kind)) is not None}
    its = {kind: label for kind, label in labels.items() if kind in own and label is not None}
    for kind, label in sorted(its.items()):
        if alike(label) != alike(own[kind]):
            order = sorted(map(alike, its.values())) == sorted(map(alike, own.values()))
            how = "has the model's classes in another order" if order else "calls its classes otherwise"
            raise InputError(
                f"the reference {how}: {kind} is {label!r} there, and {own[kind]!r} here; where both mean the same, "
                "let --labels say what classes are called"
            )
