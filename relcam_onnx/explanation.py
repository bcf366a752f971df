"""What an explainer returns: the model's outputs, the targets, and the maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.errors import LayerError, nearest


class Maps(dict[str, NDArray[np.float32]]):
    """Layer name -> array. ``last`` finds the layer that it meant; an unknown name is a `LayerError`."""

    def __init__(self, arrays: Mapping[str, NDArray[np.float32]], aliases: Mapping[str, str] | None = None) -> None:
        super().__init__(arrays)
        self.aliases = dict(aliases or {})

    def __missing__(self, name: str) -> NDArray[np.float32]:
        if name in self.aliases:
            return self[self.aliases[name]]
        raise LayerError(f"no map of layer {name!r} was asked for{nearest(name, self)}; there are {', '.join(self)}")


@dataclass(frozen=True)
class Explanation:
    """Why a model said what it said, for N images and K targets each.

    Attributes
    ----------
    outputs
        The model's own outputs, name -> (N, ...).
    targets
        int64 (N, K), ranks resolved.
    maps
        Layer -> float32 (N, K, h, w), raw and signed; ``fused`` in 0..1; ``input`` (N, K, C, H, W); with method
        "lrp" (N, K, C, h, w) at every layer.
    weights
        Layer -> float32 (N, K, C): the mean of the relevance, or of the gradient, per channel.
    scores
        float32 (N, classes), where relevance started.
    squashed_by
        "Softmax", "LogSoftmax", "Sigmoid" or None: what follows the scores in the model.
    """

    outputs: dict[str, NDArray[np.generic]]
    targets: NDArray[np.int64]
    maps: Maps
    weights: Maps
    scores: NDArray[np.float32]
    squashed_by: str | None = None
    pictures: Sequence[object] = field(default=(), repr=False)

    @classmethod
    def joined(cls, parts: Sequence[Explanation]) -> Explanation:
        """The pieces of one batch as one."""
        if len(parts) == 1:
            return parts[0]
        first = parts[0]
        return cls(
            {name: np.concatenate([p.outputs[name] for p in parts]) for name in first.outputs},
            np.concatenate([p.targets for p in parts]),
            Maps(
                {name: np.concatenate([p.maps[name] for p in parts]) for name in first.maps},
                first.maps.aliases,
            ),
            Maps(
                {n: np.concatenate([p.weights[n] for p in parts]) for n in first.weights},
                first.weights.aliases,
            ),
            np.concatenate([p.scores for p in parts]),
            first.squashed_by,
        )
