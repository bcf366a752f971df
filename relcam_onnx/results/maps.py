"""The maps of an explanation, by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.errors import InputError, LayerError, nearest
from relcam_onnx.pictures.geometry import Floats


class Maps(dict[str, NDArray[np.float32]]):
    """Layer name -> array. ``last`` finds the layer that it meant; an unknown name is a `LayerError`.

    Parameters
    ----------
    arrays
        Layer -> (N, K, h, w), or (N, K, C, h, w).
    aliases
        Another name -> the layer.
    with_channels
        The layers whose maps are of the latter kind.
    """

    def __init__(
        self,
        arrays: Mapping[str, Floats],
        aliases: Mapping[str, str] | None = None,
        with_channels: Iterable[str] = (),
    ) -> None:
        super().__init__(arrays)
        self.aliases, self.with_channels = dict(aliases or {}), frozenset(with_channels)

    def __missing__(self, name: str) -> Floats:
        if name in self.aliases:
            return self[self.aliases[name]]
        raise LayerError(f"no map of layer {name!r} was asked for{nearest(name, self)}; there are {', '.join(self)}")

    @property
    def drawable(self) -> list[str]:
        """The layers whose maps a picture can show: those with two axes of positions, or of time and two more."""
        return [name for name, values in self.items() if values.ndim - (name in self.with_channels) in (4, 5)]

    def plane(self, name: str, index: int, target: int, time: float = 0.5) -> Floats:
        """One map as pictures show it, channels summed; of a clip at a ``time``, 0..1.

        Returns
        -------
        NDArray
            (h, w).

        Raises
        ------
        LayerError
            No such map, or it has no two axes of positions.
        InputError
            It is not finite.
        """
        values: Floats = self[name][index, target]
        if self.aliases.get(name, name) in self.with_channels:
            values = values.sum(axis=0)
        if values.ndim == 3:
            place = min(max(time * len(values) - 0.5, 0.0), len(values) - 1.0)
            before, share = int(place), np.float32(place % 1)
            values = values[before] * (1 - share) + values[min(before + 1, len(values) - 1)] * share
        if values.ndim != 2:
            raise LayerError(f"layer {name!r} has {values.ndim} axes of positions; a picture needs two")
        if not np.isfinite(values).all():
            raise InputError(f"the map of layer {name!r} is not finite: the model's values overflow on this image")
        return values

    def single(self, index: int, images: int) -> Maps:
        """The maps of one of so many images, of all frames where each has several."""
        each = {name: values.reshape(images, -1, *values.shape[1:]) for name, values in self.items()}
        return Maps({name: values[index] for name, values in each.items()}, self.aliases, self.with_channels)

    @classmethod
    def joined(cls, parts: Sequence[Maps]) -> Maps:
        """The images of several batches, of the same layers, as one."""
        first = parts[0]
        arrays = {name: np.concatenate([p[name] for p in parts]) for name in first}
        return cls(arrays, first.aliases, first.with_channels)


def stacked(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Several runs' arrays one behind the other.

    Single numbers have no place to stand behind: the first one stays. Where runs differ in other axes, as the rows of
    detections may, the shorter ones are filled up with 0.
    """
    first = arrays[0]
    if not first.ndim:
        return first
    most = [max(sizes) for sizes in zip(*(array.shape[1:] for array in arrays), strict=True)]
    return np.concatenate([filled_up(array, most) for array in arrays])


def filled_up(array: NDArray[Any], sizes: Sequence[int]) -> NDArray[Any]:
    """An array with zeros behind it up to these sizes of the axes behind the first."""
    missing = [to - own for to, own in zip(sizes, array.shape[1:], strict=True)]
    return np.pad(array, [(0, 0), *((0, size) for size in missing)]) if any(missing) else array
