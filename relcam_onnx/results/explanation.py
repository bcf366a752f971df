"""What an explainer returns: the model's outputs, the targets, and the maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from relcam_onnx.analysis.layers import FUSED, INPUT
from relcam_onnx.errors import InputError, LayerError, OptionError, TargetError, nearest
from relcam_onnx.files import cannot_write, make_folder
from relcam_onnx.lrp.methods import METHODS
from relcam_onnx.pictures.geometry import Field, Floats, Geometry
from relcam_onnx.pictures.reading import open_picture
from relcam_onnx.results import render
from relcam_onnx.results.report import Report
from relcam_onnx.results.settings import Settings

PictureSource = str | Path | Image.Image | NDArray[np.generic]
"""What can be read as a picture, see `relcam_onnx.pictures.reading.open_picture`."""


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


@dataclass(frozen=True)
class Picture:
    """A picture that was explained: upright RGB, where it lies in the model's input, and its file if it has one."""

    image: Image.Image
    geometry: Geometry
    file: str | None = None


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
    settings
        What it was made with.
    squashed_by
        "Softmax", "LogSoftmax", "Sigmoid" or None: what follows the scores in the model.
    pictures
        The N pictures; () where arrays were explained.
    labels
        The names of the classes, or None.
    fields
        Layer -> where the cells of its map lie in the model's input.
    """

    outputs: dict[str, NDArray[np.generic]]
    targets: NDArray[np.int64]
    maps: Maps
    weights: Maps
    scores: Floats
    settings: Settings
    squashed_by: str | None = None
    pictures: tuple[Picture, ...] = ()
    labels: Sequence[str] | None = None
    fields: Mapping[str, Field] = field(default_factory=dict)

    @classmethod
    def joined(cls, parts: Sequence[Explanation]) -> Explanation:
        """The pieces of one batch as one."""
        if len(parts) == 1:
            return parts[0]
        return replace(
            parts[0],
            outputs={n: np.concatenate([p.outputs[n] for p in parts]) for n in parts[0].outputs},
            targets=np.concatenate([p.targets for p in parts]),
            maps=Maps.joined([p.maps for p in parts]),
            weights=Maps.joined([p.weights for p in parts]),
            scores=np.concatenate([p.scores for p in parts]),
            pictures=tuple(picture for p in parts for picture in p.pictures),
        )

    def single(self, index: int) -> Explanation:
        """The explanation of one of the images, N = 1."""
        rows = slice(index, index + 1)
        return replace(
            self,
            outputs={name: values[rows] for name, values in self.outputs.items()},
            targets=self.targets[rows],
            maps=self.maps.rows(rows),
            weights=self.weights.rows(rows),
            scores=self.scores[rows],
            pictures=self.pictures[rows],
        )

    @property
    def probabilities(self) -> Floats:
        """(N, classes): sigmoid of the scores where the model ends in one or has one alone, else their softmax.

        Where a negative and a positive class share one score: its complement, and the sigmoid.
        """
        z = self.scores.astype(np.float64)
        if z.shape[1] == 1 and self.settings.classes == 2:
            z = np.concatenate([-z, z], axis=1)
        if self.squashed_by == "Sigmoid" or self.scores.shape[1] == 1:
            logs = -np.logaddexp(0, -z)
        else:
            logs = z - np.logaddexp.reduce(z, axis=1, keepdims=True)
        return np.asarray(np.exp(logs), np.float32)

    def label(self, target: int) -> str | None:
        """The name of a class; None where there is none."""
        return self.labels[target] if self.labels and target < len(self.labels) else None

    def heat(self, layer: str | None = None, index: int = 0, target: int = 0) -> Floats:
        """One map as pictures show it: signed, channels summed, at the picture's size.

        Parameters
        ----------
        layer
            Which map; None: ``fused`` if it was asked for, else the last one.
        index
            Which image.
        target
            Which of the image's K targets, by place.

        Returns
        -------
        NDArray
            float32 (H, W): the original picture's pixels; where arrays were explained, the map's own (h, w).

        Raises
        ------
        LayerError
            No such map, or it has no two axes of positions.
        InputError
            No such image, or the map is not finite.
        TargetError
            No such target.
        """
        images, targets = self.targets.shape
        if not -images <= index < images:
            raise InputError(f"there is no image {index}: {images} were explained, counted from 0")
        if not -targets <= target < targets:
            raise TargetError(
                f"there is no target {target}: each image has {targets}, counted from 0; target= is a place among "
                "them, not a class"
            )
        name, field = self._shown(layer)
        values = self.maps[name][index, target]
        if name == INPUT or (METHODS[self.settings.method].keeps_channels and name != FUSED):
            values = values.sum(axis=0)
        if values.ndim != 2:
            raise LayerError(f"layer {name!r} has {values.ndim} axes of positions; a picture needs two")
        if not np.isfinite(values).all():
            raise InputError(f"the map of layer {name!r} is not finite: the model's values overflow on this image")
        return self.pictures[index].geometry.undo(values, field) if self.pictures else values

    def _shown(self, layer: str | None) -> tuple[str, Field | None]:
        """Which map is meant, and where its cells lie."""
        name = layer or (FUSED if FUSED in self.maps else next(reversed(self.maps)))
        return name, self.fields.get(self.maps.aliases.get(name, name))

    def overlay(
        self, layer: str | None = None, image: PictureSource | None = None, index: int = 0, target: int = 0
    ) -> Image.Image:
        """The positive part of a map over its picture.

        Parameters
        ----------
        layer, index, target
            As in `heat`.
        image
            Another picture to draw on (path, PIL image or pixels), as large as it likes; None: the original.

        Returns
        -------
        Image.Image
            RGB, in the picture's own pixels.

        Raises
        ------
        InputError
            Arrays were explained, and no image is given to draw on; else as in `heat`.
        """
        heat = self.heat(layer, index, target)
        if image is not None:
            picture, (_, field) = open_picture(image), self._shown(layer)
            if field and not self.pictures:
                heat = Geometry.whole(field.size).undo(heat, field)
            return render.overlay(picture, render.resize_map(heat, (picture.height, picture.width)))
        if not self.pictures:
            raise InputError("an array was explained, so there is no picture to draw on; give one with image=")
        return render.overlay(self.pictures[index].image, heat)

    def save(self, folder: str | PathLike[str], formats: Sequence[str] = ("png", "npz"), *, mask: bool = False) -> None:
        """Write what the command line writes: overlays, maps and ``results.json``.

        Parameters
        ----------
        folder
            Where to; made if need be. Files of the same names are replaced, each whole or not at all.
        formats
            "png" (overlays; none where arrays were explained) and "npz" (the raw maps, (K, ...), by layer).
        mask
            Also write each map's mask as PNG, 0 and 255.

        Raises
        ------
        OptionError
            An unknown format, or the folder cannot be written.
        """
        report = Report(Path(folder), self.settings, formats, mask=mask)
        make_folder(report.folder)
        try:
            for index in range(len(self.targets)):
                report.add(self.single(index))
            report.write()
        except OSError as error:
            raise OptionError(cannot_write(report.folder, error)) from error
