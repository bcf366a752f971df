"""What an explainer returns: what it has computed, and how that is seen and kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from relcam_onnx.errors import InputError, OptionError
from relcam_onnx.files import cannot_write, make_folder
from relcam_onnx.pictures.geometry import Floats, Geometry, Size
from relcam_onnx.pictures.reading import PictureSource, open_picture
from relcam_onnx.results import dataset, page, render, sheet, words
from relcam_onnx.results.answer import Answer
from relcam_onnx.results.report import DEFAULT, Report
from relcam_onnx.results.segment import MASS

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from xarray import Dataset


@dataclass(frozen=True, repr=False)
class Explanation(Answer):
    """Why a model said what it said, for N images and K targets each: `Answer` lists what it holds."""

    def __repr__(self) -> str:
        return words.described(self)

    def _repr_html_(self) -> str:
        """What a notebook shows: one sheet a picture."""
        return page.notebook(self)

    def heat(
        self,
        layer: str | None = None,
        index: int = 0,
        target: int = 0,
        size: Size | None = None,
        *,
        picture: str | None = None,
    ) -> Floats:
        """One map as pictures show it: signed, channels summed, at the picture's size.

        Parameters
        ----------
        layer
            Which map; None: ``fused`` if it was asked for, else the last one.
        index
            Which image; of clips which frame, counted through all of them.
        target
            Which of the image's K targets, by place.
        size
            Height and width to see the picture, or an array's input, at; None: its own.
        picture
            Where a model reads several: the input whose picture, and whose map where each has its own; None: the
            map's own, or the first.

        Returns
        -------
        NDArray
            float32 (H, W): the original picture's pixels; where arrays were explained, the map's own (h, w).

        Raises
        ------
        LayerError
            No such map, or it has no two axes of positions.
        InputError
            No such image, a size without pixels, or the map is not finite.
        TargetError
            No such target.
        """
        self.check(index, target)
        if size is not None and not (np.shape(size) == (2,) and all(isinstance(n, Integral) and n > 0 for n in size)):
            raise InputError(f"a map is seen at a size (height, width), both at least 1, not at {size!r}")
        name = self.map_name(layer, picture)
        values, field = self.plane(name, index, target), self.fields.get(name)
        if (shown := self.picture_of(name, index, picture)) is not None:
            geometry = shown.geometry
            if field is not None and field.size != geometry.size:
                field = None  # that of another picture
        elif size is None or field is None:
            return render.resize_map(values, size) if size else values
        else:
            geometry = Geometry.whole(field.size)
        return (geometry.seen_at(size) if size else geometry).undo(values, field)

    def overlay(
        self,
        layer: str | None = None,
        image: PictureSource | None = None,
        index: int = 0,
        target: int = 0,
        *,
        picture: str | None = None,
    ) -> Image.Image:
        """The positive part of a map over its picture.

        Parameters
        ----------
        layer, index, target, picture
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
        self.check(index, target)
        faint = self.doubt(index // self.frames, target) is not None
        most = self.most(self.map_name(layer, picture), index, target)
        if image is not None:
            ground = open_picture(image)
            heat = self.heat(layer, index, target, (ground.height, ground.width), picture=picture)
            return render.overlay(ground, heat, faint=faint, most=most)
        heat = self.heat(layer, index, target, picture=picture)
        shown = self.picture_of(self.map_name(layer, picture), index, picture)
        if shown is None:
            raise InputError("an array was explained, so there is no picture to draw on; give one with image=")
        return render.overlay(shown.full(), heat, faint=faint, most=most)

    def sheet(self, index: int = 0) -> Image.Image:
        """All there is to see of one image: the picture and every map, a row a target with its label and margin.

        Parameters
        ----------
        index
            Which image, or clip, whose frames are rows.

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

    def to_xarray(self) -> Dataset:
        """The maps as an ``xarray.Dataset`` (the extra ``xarray``), with the places of their cells.

        Returns
        -------
        Dataset
            A variable for each layer, over picture (or frame), target and axes of its own, ``<layer>_y`` and
            ``<layer>_x``, whose coordinates are pixels of the model's input, 0 at the centre of the first; beside them
            ``<layer>_picture_y`` and ``_x``, the same in each picture's own pixels. Coordinates ``class``, ``label``,
            ``probability``, ``margin`` of each target and ``file`` of each picture; ``settings`` are attributes. Where
            a layer is called like one of these, it gets a ``_`` behind it.

        Raises
        ------
        OptionError
            xarray is not installed.
        """
        return dataset.dataset(self)

    def save(
        self,
        folder: str | PathLike[str],
        formats: str | Sequence[str] = DEFAULT,
        *,
        mask: bool = False,
        mask_rule: str = MASS,
        refine: bool = False,
        record: str | PathLike[str] | None = None,
    ) -> None:
        """Write what the command line writes: sheets, maps, ``index.html`` and ``results.json``.

        Parameters
        ----------
        folder
            Where to; made if need be. Files of the same names are replaced, each whole or not at all.
        formats
            One or several: "sheet" (a JPEG for each image), "png" (an overlay for each map; none where arrays were
            explained), "npz" (the raw maps, (K, ...), by layer), "html" (a page, with its sheets), "coco" (regions as
            components with polygons, the extra ``regions``), "json" (alone: ``results.json`` only).
        mask
            Also write each map's mask as PNG, 0 and 255.
        mask_rule
            What masks, boxes and areas mark: a rule of `relcam_onnx.segment`.
        refine
            Give masks, boxes and areas the picture's own edges (GrabCut; the extra ``regions``).
        record
            A file that gets one line of JSON for each image; what stands in it stays.

        Raises
        ------
        OptionError
            An unknown format or rule, or the folder cannot be written.
        """
        lines = None if record is None else Path(record)
        report = Report(
            Path(folder), self.settings, formats, mask=mask, mask_rule=mask_rule, refine=refine, record=lines
        )
        make_folder(report.folder)
        try:
            for index in range(len(self.targets)):
                report.add(self.single(index))
            report.write()
        except OSError as error:
            raise OptionError(cannot_write(report.folder, error)) from error
