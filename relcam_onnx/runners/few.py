"""Few targets at a time: what many of one image need at once is bounded, each piece runs the model anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from relcam_onnx.runners import Result, Runner, Sizes


@dataclass(frozen=True)
class FewTargets:
    """Runs another runner with ``most`` targets of each image at a time."""

    runner: Runner
    most: int

    def passes(self, sizes: Sizes) -> int:
        """As many as for one piece."""
        return self.runner.passes(sizes)

    def run(self, inputs: Mapping[str, Any], targets: np.ndarray, seeds: np.ndarray | None) -> Result:
        """All of them, piece by piece."""
        starts = range(0, max(targets.shape[1], 1), self.most)
        pieces = [
            (targets[:, i : i + self.most], None if seeds is None else seeds[:, i : i + self.most]) for i in starts
        ]
        return joined([self.runner.run(inputs, *piece) for piece in pieces])


def joined(parts: list[Result]) -> Result:
    """Results of the same images for other targets as one."""
    first = parts[0]
    if len(parts) == 1:
        return first

    def beside(field: str) -> dict[str, np.ndarray]:
        return {
            name: np.concatenate([getattr(p, field)[name] for p in parts], axis=1) for name in getattr(first, field)
        }

    placed = first.scores.ndim == 3  # those at each target's place
    return replace(
        first,
        targets=np.concatenate([part.targets for part in parts], axis=1),
        scores=np.concatenate([part.scores for part in parts], axis=1) if placed else first.scores,
        maps=beside("maps"),
        weights=beside("weights"),
        tokens=beside("tokens"),
    )
