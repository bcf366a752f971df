"""An embedding's targets: what makes a picture like another one, or like a vector."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.errors import TargetError
from relcam_onnx.results.probabilities import COSINE
from relcam_onnx.results.settings import Settings
from relcam_onnx.runners.kept import Kept
from relcam_onnx.runners.starting import Described, Started, Starter

KEPT = 64
"""Vectors of other pictures, one run of the model each."""
Key: TypeAlias = tuple[str, tuple[int, ...], str]
"""A target's name, and the shape and SHA-256 of its numbers."""


class Likeness(Starter):
    """Starts relevance as the cosine z · v / (|z| |v|) of an embedding z with a vector v, both lengths held fixed."""

    @cached_property
    def _kept(self) -> Kept[NDArray[np.float64]]:
        return Kept(KEPT)

    def start(self, inputs: Mapping[str, Any], asked: Described, among: Described) -> Started:
        """See `Starter`: each target a dict with ``like``, a vector (D,) or a picture as the model takes it."""
        z = self._flat(self.scores(inputs))[: len(asked)]
        every = told_apart(among)
        beside = {name: inputs[name] for name in self.prepared.rows.shared}
        vector = partial(self._vector, size=z.shape[1], beside=beside)
        vectors = np.stack([self._kept.get(key, partial(vector, one)) for key, one in every.items()])
        lengths = np.outer(np.linalg.norm(z, axis=1), np.linalg.norm(vectors, axis=1))
        lengths = np.maximum(lengths, np.finfo(np.float32).tiny)
        names = list(every)
        targets = np.array([[names.index(key_of(one)) for one in each] for each in asked])
        shares = vectors[targets] / np.take_along_axis(lengths, targets, axis=1)[..., None]
        seeds = shares if self.prepared.gradient else shares * z[:, None]
        return Started(targets, seeds.astype(np.float32), (z @ vectors.T / lengths).astype(np.float32))

    def told(self, settings: Settings, among: Described) -> dict[str, Any]:
        """See `Starter`: scores are cosines, and classes what the pictures may be like."""
        names = [f"like {name or f'vector {place}'}" for place, (name, *_) in enumerate(told_apart(among))]
        settings = replace(settings, head="embedding", seed="logit", classes=len(names))
        return {"squashed_by": COSINE, "labels": names, "settings": settings}

    def _flat(self, raw: Any) -> NDArray[np.float64]:
        return np.asarray(raw, np.float64).reshape(len(raw), -1)

    def _vector(self, asked: Mapping[str, Any], size: int, beside: Mapping[str, Any]) -> NDArray[np.float64]:
        """A vector that is given, or that a picture has; ``beside`` are the inputs that go with all pictures."""
        like = np.asarray(asked["like"])
        finite = bool(np.issubdtype(like.dtype, np.number) and np.isfinite(like).all())
        if like.ndim == 1 and len(like) == size and finite and like.any():
            return like.astype(np.float64)
        tensor = self.prepared.layers.picture.tensor
        if like.ndim != len(tensor.shape) or not finite:
            raise TargetError(
                f"'like' is a vector of {size} numbers that are not all 0, or a picture as the model takes it, with "
                f"{len(tensor.shape)} axes (one alone: x[None]), not an array {like.shape}"
            )
        batch = self.prepared.batch or 1
        rows = np.repeat(like[:1], batch, axis=0).astype(tensor.dtype)
        return np.asarray(self._flat(self.scores({**beside, tensor.name: rows}))[0])


def told_apart(among: Described) -> dict[Key, Any]:
    """All that some images' targets are like, each once."""
    return {key_of(one): one for each in among for one in each}


def key_of(asked: Any) -> Key:
    """What tells a target from others."""
    if not isinstance(asked, Mapping) or "like" not in asked or set(asked) - {"like", "name"}:
        raise TargetError(f"an embedding's target is told by 'like', a picture or a vector, not by {asked!r}; "
                          "--like goes without --target and --top")  # fmt: skip
    like = np.asarray(asked["like"])
    return str(asked.get("name") or ""), like.shape, hashlib.sha256(like.tobytes()).hexdigest()
