"""An embedding's targets: what makes a picture like another one, or like a vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.errors import TargetError
from relcam_onnx.results.probabilities import COSINE
from relcam_onnx.results.settings import Settings
from relcam_onnx.runners.starting import Started, Starter


class Likeness(Starter):
    """Starts relevance as the cosine z · v / (|z| |v|) of an embedding z with a vector v, both lengths held fixed."""

    def start(self, inputs: Mapping[str, Any], asked: Sequence[Sequence[Any]]) -> Started:
        """See `Starter`: each target a dict with ``like``, a vector (D,) or a picture as the model takes it."""
        z = self._flat(self.scores(inputs))[: len(asked)]
        vectors = np.stack([np.stack([self._vector(one, z.shape[1]) for one in each]) for each in asked])
        lengths = np.linalg.norm(z, axis=1)[:, None, None] * np.linalg.norm(vectors, axis=2, keepdims=True)
        shares = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
        seeds = shares if self.prepared.gradient else shares * z[:, None]
        cosines = (shares * z[:, None]).sum(axis=2)
        targets = np.tile(np.arange(vectors.shape[1]), (len(z), 1))
        return Started(targets, seeds.astype(np.float32), cosines.astype(np.float32))

    def told(self, settings: Settings, asked: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """See `Starter`: scores are cosines, and classes what the picture may be like."""
        names = [str(one.get("name") or f"vector {place}") for place, one in enumerate(asked[0])]
        settings = replace(settings, head="embedding", seed="logit", classes=len(names))
        return {"squashed_by": COSINE, "labels": [f"like {name}" for name in names], "settings": settings}

    def _flat(self, raw: Any) -> NDArray[np.float64]:
        return np.asarray(raw, np.float64).reshape(len(raw), -1)

    def _vector(self, asked: Any, size: int) -> NDArray[np.float64]:
        """A vector that is given, or that a picture has."""
        if not isinstance(asked, Mapping) or "like" not in asked or set(asked) - {"like", "name"}:
            raise TargetError(f"an embedding's target is told by 'like', a picture or a vector, not by {asked!r}")
        like = np.asarray(asked["like"])
        if like.ndim == 1 and len(like) == size and np.isfinite(like).all() and like.any():
            return like.astype(np.float64)
        tensor = self.prepared.layers.picture.tensor
        if like.ndim != len(tensor.shape):
            raise TargetError(
                f"'like' is a vector of {size} numbers that are not all 0, or a picture as the model takes it, with "
                f"{len(tensor.shape)} axes, not an array {like.shape}"
            )
        batch = self.prepared.batch or 1
        rows = np.repeat(like[:1], batch, axis=0).astype(tensor.dtype)
        return np.asarray(self._flat(self.scores({tensor.name: rows}))[0])
