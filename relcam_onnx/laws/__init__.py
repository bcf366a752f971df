"""The laws that every op of the table keeps, for whoever teaches the engine one.

A law is a function of a `Case`, one node with inputs, and a seed; it raises AssertionError where it is broken.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from relcam_onnx.errors import OptionError, nearest
from relcam_onnx.laws import backward, emitted, facts
from relcam_onnx.laws.case import OPSET, Case, case, fixed
from relcam_onnx.ops import TABLE, lookup

Law = Callable[[Case, int], None]

LAWS: dict[str, Law] = {
    law.__name__: law
    for law in (
        backward.terms_make_the_output,
        backward.adjoint_is_the_transposed_map,
        backward.gradient_is_the_derivative,
        backward.receivers_receive,
        backward.nothing_in_nothing_out_and_always_finite,
        backward.targets_together_are_targets_alone,
        backward.support_is_true_and_changes_nothing,
        facts.a_sign_that_is_told_is_true,
        facts.strides_are_what_sizes_do,
        emitted.emitted_is_eager,
    )
}
"""By name."""


def check_op(
    name: str,
    inputs: Sequence[Any],
    attributes: Mapping[str, Any] | None = None,
    *,
    constants: Collection[int] = (),
    opset: int = OPSET,
    seeds: int = 3,
    without: Collection[str] = (),
    session_options: Any = None,
) -> None:
    """Hold an op of the table against the laws, on one node.

    Parameters
    ----------
    name
        As in the table: ``"Conv"``, ``"com.acme::Gate"``.
    inputs
        Arrays, float32 (N, ...); None for an optional input left out. Off kinks and ties by 0.03 at least, or the
        derivative has no value there.
    attributes
        Of the node.
    constants
        Which of the inputs stand in the file: weights, axes.
    opset
        Of the standard domain.
    seeds
        With how many random relevances and directions each law is tried.
    without
        Names of laws that this op does not keep, by intent (an op that rounds has no derivative).
    session_options
        onnxruntime's, where a library of custom ops is needed.

    Raises
    ------
    AssertionError
        A law is broken; the message names it and says what was seen.
    OptionError
        The table has no such op, the form is one that it refuses, or a law of ``without`` does not exist.
    """
    if name not in TABLE:
        raise OptionError(f"the engine knows no op {name!r}{nearest(name, TABLE)}: teach it with relcam_onnx.op first")
    if unknown := sorted(set(without) - set(LAWS)):
        raise OptionError(f"there is no law {', '.join(unknown)}; the laws are {', '.join(LAWS)}")
    one = case(
        name,
        *(fixed(value) if index in constants else value for index, value in enumerate(inputs)),
        opset=opset,
        options=session_options,
        **(attributes or {}),
    )
    if reason := lookup(one.node).refuses(one.node):
        raise OptionError(f"{name} of this form is refused: {reason}; check a form that can be explained")
    for title, law in LAWS.items():
        if title in without:
            continue
        for seed in range(seeds):
            try:
                with np.errstate(all="ignore"):
                    law(one, seed)
            except AssertionError as error:
                raise AssertionError(
                    f"{name} breaks the law {title!r}: {(law.__doc__ or '').strip()}\n{error}"
                ) from error


__all__ = ["LAWS", "Case", "Law", "case", "check_op", "fixed"]
