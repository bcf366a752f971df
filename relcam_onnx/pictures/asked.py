"""What users ask for: classes by their labels, pictures to be like, places by their boxes and masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from relcam_onnx.pictures.geometry import Geometry
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


def is_described(targets: Any, *keys: str) -> bool:
    """Whether some of the targets are told by a dict with one of these keys, or with any."""
    if isinstance(targets, list | tuple):
        return any(is_described(one, *keys) for one in targets)
    return isinstance(targets, Mapping) and (not keys or any(key in targets for key in keys))


def by_image(targets: Any, images: int) -> list[Any]:
    """What is asked of each image: a list or tuple of as many has one for each, anything else is for all."""
    own = isinstance(targets, list | tuple) and len(targets) == images
    return list(targets) if own else [targets] * images


def in_inputs(targets: Any, geometries: Sequence[Geometry]) -> Any:
    """Targets whose boxes and masks are told in the pictures' pixels, with those of the model's input."""
    if not is_described(targets, "box", "mask"):
        return targets
    each = by_image(targets, len(geometries))
    return [moved(asked, geometry) for asked, geometry in zip(each, geometries, strict=True)]


def moved(asked: Any, geometry: Geometry) -> Any:
    """What is asked of one image."""
    if isinstance(asked, list | tuple):
        return [moved(one, geometry) for one in asked]
    if not isinstance(asked, Mapping):
        return asked
    changed = dict(asked)
    if "box" in asked and np.shape(asked["box"]) == (4,):
        changed["box"] = in_input(asked["box"], geometry).tolist()
    if "mask" in asked and np.ndim(asked["mask"]) == 2:
        changed["mask"] = geometry.seen(np.asarray(asked["mask"]))
    return changed


def in_input(box: Sequence[float], geometry: Geometry) -> NDArray[np.float64]:
    """A box in a picture, as it lies in the model's input, (4,)."""
    (down, across), (above, before) = geometry.scale, geometry.offset
    left, top, right, bottom = box
    return np.array([left * across + before, top * down + above, right * across + before, bottom * down + above])
