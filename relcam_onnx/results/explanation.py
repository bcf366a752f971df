"""What an explainer returns: the model's outputs, the targets, and the maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from relcam_onnx.analysis.layers import FUSED
from relcam_onnx.errors import InputError, OptionError, TargetError
from relcam_onnx.files import cannot_write, make_folder
from relcam_onnx.pictures.geometry import Field, Floats, Geometry, Size
from relcam_onnx.pictures.pixels import Picture
from relcam_onnx.pictures.reading import PictureSource, open_picture
from relcam_onnx.results import page, render, sheet, words
from relcam_onnx.results.maps import Maps
from relcam_onnx.results.probabilities import probabilities
from relcam_onnx.results.report import DEFAULT, Report
from relcam_onnx.results.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
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
        """(N, classes): sigmoid of the scores where the model ends in one or has one alone, else their softmax."""
        return probabilities(self.scores, self.squashed_by, self.settings.classes)

    def label(self, target: int) -> str | None:
        """The name of a class; None where there is none."""
        return self.labels[target] if self.labels and target < len(self.labels) else None

    def __repr__(self) -> str:
        return words.described(self)

    def _repr_html_(self) -> str:
        """What a notebook shows: one sheet a picture."""
        return page.notebook(self)

    def heat(self, layer: str | None = None, index: int = 0, target: int = 0, size: Size | None = None) -> Floats:
        """One map as pictures show it: signed, channels summed, at the picture's size.

        Parameters
        ----------
        layer
            Which map; None: ``fused`` if it was asked for, else the last one.
        index
            Which image.
        target
            Which of the image's K targets, by place.
        size
            Height and width to see the picture, or an array's input, at; None: its own.

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
        self.check(index, target)
        name = layer or (FUSED if FUSED in self.maps else next(reversed(self.maps)))
        values, field = self.maps.plane(name, index, target), self.fields.get(self.maps.aliases.get(name, name))
        if self.pictures:
            geometry = self.pictures[index].geometry
        elif size is None or field is None:
            return render.resize_map(values, size) if size else values
        else:
            geometry = Geometry.whole(field.size)
        return (geometry.seen_at(size) if size else geometry).undo(values, field)

    def check(self, index: int, target: int = 0) -> None:
        """Raise what `heat` raises where there is no such image or target."""
        images, targets = self.targets.shape
        if not -images <= index < images:
            raise InputError(f"there is no image {index}: {images} were explained, counted from 0")
        if not -targets <= target < targets:
            raise TargetError(
                f"there is no target {target}: each image has {targets}, counted from 0; target= is a place among "
                "them, not a class"
            )

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
        if image is not None:
            picture = open_picture(image)
            return render.overlay(picture, self.heat(layer, index, target, (picture.height, picture.width)))
        heat = self.heat(layer, index, target)
        if not self.pictures:
            raise InputError("an array was explained, so there is no picture to draw on; give one with image=")
        return render.overlay(self.pictures[index].full(), heat)

    def sheet(self, index: int = 0) -> Image.Image:
        """All there is to see of one image: the picture and every map, a row a target with its label and probability.

        Parameters
        ----------
        index
            Which image.

        Returns
        -------
        Image.Image
            RGB, a few hundred pixels for each map. Where arrays were explained, the maps alone.

        Raises
        ------
        InputError, LayerError
            No such image, a map is not finite, or no map has the two axes of positions that a picture needs.
        """
        return sheet.draw(sheet.panels(self, index))

    def plot(self, index: int = 0) -> Figure:
        """The same as `sheet`, as a Matplotlib figure; `OptionError` where Matplotlib is not installed."""
        from relcam_onnx.results.figure import draw  # noqa: PLC0415 - Matplotlib is seldom needed, and slow to import

        return draw(sheet.panels(self, index))

    def save(self, folder: str | PathLike[str], formats: Sequence[str] = DEFAULT, *, mask: bool = False) -> None:
        """Write what the command line writes: sheets, maps, ``index.html`` and ``results.json``.

        Parameters
        ----------
        folder
            Where to; made if need be. Files of the same names are replaced, each whole or not at all.
        formats
            "sheet" (a JPEG for each image), "png" (an overlay for each map; none where arrays were explained), "npz"
            (the raw maps, (K, ...), by layer), "html" (a page, with its sheets), "json" (alone: ``results.json`` only).
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
