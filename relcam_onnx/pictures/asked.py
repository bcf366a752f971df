"""What users ask for: classes by their labels, pictures to be like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from relcam_onnx.pictures.labels import one_label


def as_targets(
    targets: Any, labels: Sequence[str] | None, read: Callable[[Any], NDArray[Any]], *, detector: bool
) -> Any:
    """Targets as an `relcam_onnx.Explainer` takes them.

    Parameters
    ----------
    targets
        Of one picture or of all: labels become indices, for a ``detector`` dicts; in dicts with ``like`` what can be
        read as a picture becomes an array. Anything else stays.
    labels
        The classes' names.
    read
        A picture's array, as the model takes it, (C, H, W) or (H, W, C).

    Raises
    ------
    TargetError
        No class, or several, have that label.
    """
    if isinstance(targets, list | tuple):
        return [as_targets(target, labels, read, detector=detector) for target in targets]
    if isinstance(targets, Mapping) and "like" in targets:
        return like(targets["like"], read)
    if not isinstance(targets, str):
        return targets
    index = one_label(targets, labels)
    return {"label": index} if detector and index >= 0 else index


def like(source: Any, read: Callable[[Any], NDArray[Any]]) -> dict[str, Any]:
    """What to be like: a picture as the model takes it, or a vector as it is."""
    if isinstance(source, str | Path | Image) or np.ndim(source) > 1:
        name = Path(source).name if isinstance(source, str | Path) else "another picture"
        return {"like": read(source)[None], "name": name}
    return {"like": np.asarray(source)}
