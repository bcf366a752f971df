"""What an explainer has computed: the model's outputs, the targets, the maps, and what follows from them as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral
from typing import Self

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.errors import InputError, TargetError, index_among
from relcam_onnx.pictures.geometry import Field, Floats
from relcam_onnx.pictures.pixels import Picture
from relcam_onnx.results import evidence
from relcam_onnx.results.detections import Detected, Detection, in_picture
from relcam_onnx.results.maps import Maps, stacked
from relcam_onnx.results.probabilities import probabilities
from relcam_onnx.results.settings import Settings


@dataclass(frozen=True, repr=False)
class Answer:
    """Why a model said what it said, for N images and K targets each.

    Attributes
    ----------
    outputs
        The model's own outputs, name -> (N, ...).
    targets
        int64 (N, K), ranks resolved: classes. A detector's are (N, K, 2), place and class, -1 where an image has fewer.
    maps
        Layer -> float32 (N, K, h, w), raw and signed; ``fused`` in 0..1; ``input`` (N, K, C, H, W); with method
        "lrp" (N, K, C, h, w) at every layer.
    weights
        Layer -> float32 (N, K, C): the mean of the relevance, or of the gradient, per channel.
    tokens
        Layer -> float32 (N, K, T): the relevance of what stands in a row with its positions and is none (class tokens,
        registers), in the order of the row; of layers that have such.
    scores
        float32 (N, classes), where relevance started; where a head has places (N, K, classes), those at each target's
        place, or their mean over its region.
    settings
        What it was made with.
    squashed_by
        "Softmax", "LogSoftmax", "Sigmoid", "OneVsRest" (sigmoids over their sum) or None: what follows the scores in
        the model. "Shares", "EachItsShare": the scores are shares of 1 themselves, of classes that compete or do not.
    pictures
        The N pictures; () where arrays were explained.
    beside
        Where a model reads several: input -> its N pictures, ``pictures`` among them.
    labels
        The names of the classes, or None.
    frames
        How many frames a clip has: ``pictures``, `heat` and its like count frames, N times as many; 1 as a rule.
    detected
        A detector's boxes of the targets; None for other heads.
    fields
        Layer -> where the cells of its map lie in the model's input.
    """

    outputs: dict[str, NDArray[np.generic]]
    targets: NDArray[np.int64]
    maps: Maps
    weights: Maps
    tokens: Maps
    scores: Floats
    settings: Settings
    squashed_by: str | None = None
    pictures: tuple[Picture, ...] = ()
    beside: Mapping[str, tuple[Picture, ...]] = field(default_factory=dict)
    labels: Sequence[str] | None = None
    fields: Mapping[str, Field] = field(default_factory=dict)
    detected: Detected | None = None
    frames: int = 1

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The pieces of one batch as one."""
        if len(parts) == 1:
            return parts[0]
        return replace(
            parts[0],
            outputs={n: stacked([p.outputs[n] for p in parts]) for n in parts[0].outputs},
            targets=np.concatenate([p.targets for p in parts]),
            maps=Maps.joined([p.maps for p in parts]),
            weights=Maps.joined([p.weights for p in parts]),
            tokens=Maps.joined([p.tokens for p in parts]),
            scores=np.concatenate([p.scores for p in parts]),
            detected=Detected.joined(found) if (found := [d for p in parts if (d := p.detected) is not None]) else None,
            pictures=tuple(picture for p in parts for picture in p.pictures),
            beside={name: tuple(picture for p in parts for picture in p.beside[name]) for name in parts[0].beside},
        )

    def single(self, index: int) -> Self:
        """The explanation of one of the images, N = 1; `InputError` where there is no such image."""
        index = index_among("image", index, len(self.targets))
        rows, images = slice(index, index + 1), len(self.targets)
        frames = slice(index * self.frames, (index + 1) * self.frames)
        return replace(
            self,
            outputs={name: values[frames if len(values) > images else rows] for name, values in self.outputs.items()},
            targets=self.targets[rows],
            maps=self.maps.single(index, images),
            weights=self.weights.single(index, images),
            tokens=self.tokens.single(index, images),
            scores=self.scores[rows],
            detected=None if self.detected is None else self.detected.rows(rows),
            pictures=self.pictures[frames],
            beside={name: pictures[frames] for name, pictures in self.beside.items()},
        )

    def map_name(self, layer: str | None = None, picture: str | None = None) -> str:
        """The map that a layer's name means, with that of a picture input where each has its own.

        None: ``fused`` if it was asked for, else the last one; of the first picture where they differ.
        """
        own = [source for source in self.settings.layers if picture is None or source.picture in (None, picture)]
        if layer is None and own:
            fused = [source for source in own if source.tensor is None]
            return (fused or own[::-1])[0].name
        if layer is None or layer in self.maps:
            return layer or next(reversed(self.maps))
        alike = [source.name for source in own if source.picture and source.name == f"{layer}/{source.picture}"]
        return alike[0] if alike else self.maps.aliases.get(layer, layer)

    def plane(self, name: str, index: int, target: int) -> Floats:
        """One map as pictures show it, (h, w); of clips a frame's. Errors as in `Maps.plane`."""
        clip, frame = divmod(index % (len(self.targets) * self.frames), self.frames)
        by_frame = len(self.maps[name]) > len(self.targets)
        row = clip * self.frames + frame if by_frame else clip
        return self.maps.plane(name, row, target, (frame + 0.5) / self.frames)

    def planes(self, name: str, index: int, target: int) -> Floats:
        """One map as it is kept, channels and all; of clips a frame's where it can be drawn."""
        if self.frames > 1 and name in self.maps.drawable:
            return self.plane(name, index, target)
        whole: Floats = self.maps[name][index // self.frames, target]
        return whole

    def most(self, name: str, index: int, target: int) -> float | None:
        """The largest value of a map in all frames of a clip, which they are drawn by; None where there is one."""
        if self.frames == 1:
            return None
        first = index // self.frames * self.frames
        return max(float(self.plane(name, first + frame, target).max()) for frame in range(self.frames))

    def picture_of(self, name: str, index: int, picture: str | None = None) -> Picture | None:
        """The picture that a map lies on, or the one of an input; None where arrays were explained."""
        own = next((source.picture for source in self.settings.layers if source.name == name), None)
        known = self.beside or dict.fromkeys(source.picture for source in self.settings.layers if source.picture)
        if picture is not None and (own not in (None, picture) or picture not in known):
            there = ", ".join([own] if own else known) or "the only picture"
            raise InputError(f"map {name!r} is of {there}, not of an input {picture!r}")
        pictures = self.beside.get(picture or own or "", self.pictures)
        return pictures[index] if pictures else None

    @property
    def classes(self) -> NDArray[np.int64]:
        """(N, K): the class of each target."""
        return self.targets[..., 1] if self.targets.ndim == 3 else self.targets

    @property
    def rows(self) -> Floats:
        """(N, K, scores): the scores at each target."""
        if self.scores.ndim == 3:
            return self.scores
        return np.repeat(self.scores[:, None], self.targets.shape[1], axis=1)

    @property
    def probabilities(self) -> Floats:
        """``scores`` as shares, if they are none: by a sigmoid where the model ends in one or has one, else softmax."""
        flat = self.scores.reshape(-1, self.scores.shape[-1])
        shares = probabilities(flat, self.squashed_by, self.settings.classes)
        return shares.reshape(*self.scores.shape[:-1], -1)

    @property
    def probability(self) -> Floats:
        """(N, K): that of each target; NaN where there is none."""
        shares = self.probabilities
        if shares.ndim == 2:
            return np.take_along_axis(shares, self.classes, axis=1)
        if self.detected is not None:
            found = self.detected.shares
        else:
            found = np.take_along_axis(shares, np.maximum(self.classes, 0)[..., None], axis=2)[..., 0]
        return np.where(self.classes < 0, np.float32(np.nan), found)

    def count(self, index: int = 0) -> int:
        """How many targets an image has: K, but for a detector's, which may find fewer in it."""
        return int((self.classes[index_among("image", index, len(self.targets))] >= 0).sum())

    @cached_property
    def detections(self) -> tuple[tuple[Detection, ...], ...]:
        """For each image what was explained of a detector, in the order of its targets; () for other heads."""
        if self.targets.ndim != 3:
            return ()
        return tuple(tuple(self._detection(i, k) for k in range(self.count(i))) for i in range(len(self.targets)))

    def _detection(self, index: int, target: int) -> Detection:
        place, kind = self.targets[index, target].tolist()
        boxes = None if self.detected is None else self.detected.boxes
        geometry = self.pictures[index].geometry if self.pictures else None
        sides = None if boxes is None or np.isnan(boxes[index, target]).any() else boxes[index, target]
        box = None if sides is None else in_picture(sides, geometry)
        return Detection(box, self.label(kind), float(self.probability[index, target]), place, kind)

    @cached_property
    def margin(self) -> Floats:
        """(N, K), logits: how far each target is ahead of its nearest rivals (the sum of seed ``rivals``).

        Where there are no rivals (a sigmoid for each class, or one score alone), the target's own score.
        """
        return evidence.margins(self)

    @cached_property
    def relevance_kept(self) -> dict[str, Floats]:
        """Layer -> float32 (N, K): the sum of relevance there over what it started as.

        Empty under gradients and seeds of one's own; NaN where what it started as cancels to less than a tenth of its
        magnitudes (``clrp``, ``sglrp``, ``rivals`` at no margin).
        """
        return evidence.kept(self)

    @cached_property
    def tokens_kept(self) -> dict[str, Floats]:
        """Layer -> float32 (N, K, T): ``tokens`` over what relevance started as, where `relevance_kept` tells that."""
        return evidence.held_by_tokens(self)

    def doubt(self, index: int = 0, target: int = 0) -> str | None:
        """What a sheet says of a target, by place, that the model has no evidence for; None where it has."""
        self.check(index * self.frames, target)
        return evidence.doubt(self, index, target)

    def label(self, target: int) -> str | None:
        """The name of a class; None where there is none."""
        return self.labels[target] if self.labels and target < len(self.labels) else None

    def check(self, index: int, target: int = 0) -> None:
        """Raise what `heat` raises where there is no such image or target."""
        index_among("image" if self.frames == 1 else "frame", index, len(self.targets) * self.frames)
        targets = self.targets.shape[1]
        if not isinstance(target, Integral) or not -targets <= target < targets:
            raise TargetError(
                f"there is no target {target!r}: each image has {targets}, counted from 0; target= is a place among "
                "them, not a class"
            )
