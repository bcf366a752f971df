"""What is no number is no answer: a picture on which a file overflows is named, and the rest is measured."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from relcam_onnx.audit.spots import Said
from relcam_onnx.errors import InputError
from relcam_onnx.pictures.geometry import Floats
from relcam_onnx.results.explanation import Explanation

WHY = "values overflow on the way, or 0 is divided by 0"


def sound(who: str, said: Said) -> Said:
    """What a model said; ``who`` it is, for messages. `InputError` as `sound_scores`."""
    sound_scores(who, said.table)
    return said


def sound_scores(who: str, scores: Floats) -> None:
    """Make sure that scores are numbers; minus infinity is that of a class that is masked.

    Raises
    ------
    InputError
        One is not.
    """
    if np.isnan(scores).any() or np.isposinf(scores).any():
        raise InputError(f"{who} has scores of it that are no numbers (NaN or infinity): {WHY}")


def sound_maps(who: str, maps: Mapping[str, Floats]) -> None:
    """Make sure that maps are numbers; `InputError` where one is not."""
    wrong = [layer for layer, values in maps.items() if not np.isfinite(values).all()]
    if wrong:
        raise InputError(f"{who} has maps of it that are no numbers (NaN or infinity), at {', '.join(wrong)}: {WHY}")


def sound_explanation(who: str, found: Explanation) -> Explanation:
    """The same of scores and maps."""
    sound_scores(who, found.scores)
    sound_maps(who, {layer: values[0] for layer, values in found.maps.items()})
    return found
