"""What runs an explanation of one piece of a batch: `eager` step by step, `compiled` as one ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from relcam_onnx.lrp.maps import MapSource
from relcam_onnx.pictures.geometry import Field

Sizes = tuple[tuple[str, tuple[int, ...]], ...]
"""Each input with its sizes behind the batch."""


@dataclass(frozen=True)
class Result:
    """What a run gives for N images and K targets each.

    Attributes
    ----------
    outputs
        The model's own outputs, name -> (N, ...).
    targets
        int64 (N, K), ranks resolved.
    scores
        float32 (N, classes), where relevance started.
    maps, weights, tokens
        Layer -> float32 (N, K, ...).
    aliases
        Other names of layers ("last") -> those in ``maps``.
    sources
        What each map is of.
    fields
        Map -> where its cells lie in the model's input.
    """

    outputs: dict[str, np.ndarray]
    targets: np.ndarray
    scores: np.ndarray
    maps: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]
    tokens: dict[str, np.ndarray]
    aliases: Mapping[str, str]
    sources: tuple[MapSource, ...]
    fields: Mapping[str, Field]

    @property
    def of_layers(self) -> dict[str, np.ndarray]:
        """The maps that are of one layer: not the fused ones."""
        return {source.name: self.maps[source.name] for source in self.sources if source.tensor is not None}

    def first(self, count: int, filled: int) -> Result:
        """The first so many images of a batch that was ``filled`` up; an output without a batch is for all of them."""
        if count == filled:
            return self

        def rows(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {n: v[: len(v) * count // filled] if np.ndim(v) else v for n, v in values.items()}

        return replace(
            self,
            outputs=rows(self.outputs),
            targets=self.targets[:count],
            scores=self.scores[:count],
            maps=rows(self.maps),
            weights=rows(self.weights),
            tokens=rows(self.tokens),
        )


class Runner(Protocol):
    """What makes the maps of one model, ready to run."""

    def passes(self, sizes: Sizes) -> int:
        """How often the model runs for each picture of these sizes."""

    def run(self, inputs: Mapping[str, Any], targets: np.ndarray, seeds: np.ndarray | None) -> Result:
        """Explain a piece: inputs of N images, targets int64 (N, K) with ranks, or seeds float32 (N, K, classes)."""
