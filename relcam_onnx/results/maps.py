"""The maps of an explanation, by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.errors import LayerError, nearest
from relcam_onnx.pictures.geometry import Floats


class Maps(dict[str, NDArray[np.float32]]):
    """Layer name -> array. ``last`` finds the layer that it meant; an unknown name is a `LayerError`."""

    def __init__(self, arrays: Mapping[str, Floats], aliases: Mapping[str, str] | None = None) -> None:
        super().__init__(arrays)
        self.aliases = dict(aliases or {})

    def __missing__(self, name: str) -> Floats:
        if name in self.aliases:
            return self[self.aliases[name]]
        raise LayerError(f"no map of layer {name!r} was asked for{nearest(name, self)}; there are {', '.join(self)}")

    def rows(self, rows: slice) -> Maps:
        """The maps of some of the images."""
        return Maps({name: values[rows] for name, values in self.items()}, self.aliases)

    @classmethod
    def joined(cls, parts: Sequence[Maps]) -> Maps:
        """The images of several batches, of the same layers, as one."""
        return cls({name: np.concatenate([p[name] for p in parts]) for name in parts[0]}, parts[0].aliases)
