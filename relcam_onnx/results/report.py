"""What is kept of explanations in a folder: sheets, overlays, maps, masks, and two files about them all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from relcam_onnx import __version__
from relcam_onnx.errors import OptionError, as_texts
from relcam_onnx.files import Names, plain, whole
from relcam_onnx.results import entries, render
from relcam_onnx.results.animation import ANIMATED, animated
from relcam_onnx.results.archive import Pictures, archived, stem
from relcam_onnx.results.coco import Coco
from relcam_onnx.results.earlier import remove_earlier
from relcam_onnx.results.page import page
from relcam_onnx.results.record import Record
from relcam_onnx.results.regions import Region
from relcam_onnx.results.segment import MASS, read_rule
from relcam_onnx.results.settings import Settings
from relcam_onnx.results.shapes import check_installed
from relcam_onnx.results.sheet import encoded

if TYPE_CHECKING:
    from relcam_onnx.results.explanation import Explanation

FORMATS = ("sheet", "png", "npz", "json", "html", "coco", *ANIMATED)
"""What can be written: sheets, overlays, raw maps, a page, regions, a clip's overlays as WebP ("anim") or GIF;
"json" adds nothing to ``results.json``, always there."""

DEFAULT = ("sheet", "npz", "html")
"""What is written if nothing else is said."""

DRAWERS = 2
"""Overlays drawn at a time. Each takes some 50 bytes of memory a pixel."""


class Drawing(NamedTuple):
    """One map to draw: its entry in ``results.json``, and the names of its overlay and mask where they are wanted."""

    entry: dict[str, Any]
    layer: str
    place: int
    frame: int
    overlay: str | None
    mask: str | None


class Report:
    """A folder of results, filled picture by picture.

    Parameters
    ----------
    folder
        Where to; it must exist once something is added.
    settings
        What all explanations are made with.
    formats
        Some of `FORMATS`; "html" brings the sheets that the page shows.
    mask
        Whether to write masks.
    mask_rule
        What masks, boxes and areas mark, as in `segment`.
    refine
        Whether regions get the picture's own edges.
    record
        A file that gets a line for each picture, as `Record` writes it; None: none does.
    kept
        Names of files in the folder that must stay as they are: pictures that lie where the results go.

    Raises
    ------
    OptionError
        An unknown format or rule.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        formats: str | Sequence[str],
        *,
        mask: bool = False,
        mask_rule: str = MASS,
        refine: bool = False,
        record: Path | None = None,
        kept: Iterable[str] = (),
    ) -> None:
        if unknown := sorted(set(formats := as_texts("formats", formats)) - set(FORMATS)):
            raise OptionError(f"no format is called {unknown[0]!r}; there are {', '.join(FORMATS)}")
        self.folder, self.settings, self.formats, self.mask = folder, settings, formats, mask
        read_rule(mask_rule)  # a wrong one is said before anything is computed
        self.mask_rule, self.refine = mask_rule, refine
        if refine or "coco" in formats:
            check_installed()
        self._coco = Coco(mask_rule, refine=refine) if "coco" in formats else None
        self._record = None if record is None else Record(record)
        self._sheets = "sheet" in formats or "html" in formats
        self.images: list[dict[str, Any]] = []
        self.failed: list[dict[str, str]] = []
        self._names, layers = Names(), Names()
        for name in (*kept, "results.json", "index.html", "regions.json"):
            self._names.take(name)
        self._layers = {source.name: layers.take(plain(source.name)) for source in settings.layers}

    def add(self, explanation: Explanation, name: str | None = None) -> None:
        """Write the files of one image; all of them, or none where one fails.

        Parameters
        ----------
        explanation
            Of a single image.
        name
            What its files start with; None: its picture's file name, else "image".

        Raises
        ------
        OSError
            The disk is full, or the folder cannot be written.
        """
        written: list[Path] = []
        told = explanation.settings  # what was asked of an embedding makes it one
        self.settings = replace(self.settings, head=told.head, seed=told.seed, classes=told.classes)
        try:
            image = self._write(explanation, name or stem(explanation), written)
            if self._coco is not None:
                self._coco.add(explanation)
            if self._record is not None:
                self._record.add(image, self.folder, self.settings)
            self.images.append(image)
        except BaseException:
            for path in written:
                path.unlink(missing_ok=True)
            raise

    def fail(self, file: str, error: str) -> None:
        """Note an input that gave no result, and why."""
        self.failed.append({"file": file, "error": error})

    def write(self) -> None:
        """Write ``results.json``, and ``index.html`` if asked for; `OSError` as in `add`."""
        options = self.settings.told()
        own = {"formats": self.formats, "mask": self.mask, "mask_rule": self.mask_rule, "refine": self.refine}
        results = {
            "version": __version__,
            "model": options.pop("model"),
            "options": options | own,
            "images": self.images,
            "failed": self.failed,
        }
        text = json.dumps(results, indent=2, allow_nan=False)
        remove_earlier(self.folder, self.formats)
        with whole(self.folder / "results.json") as file:
            file.write(text.encode("ascii"))
        if self._coco is not None:
            self._coco.write(self.folder)
        if "html" in self.formats:
            with whole(self.folder / "index.html") as file:
                file.writelines(piece.encode() for piece in page(results))

    def _write(self, explanation: Explanation, name: str, written: list[Path]) -> dict[str, Any]:
        image = entries.picture(explanation)
        maps = {layer: values[0] for layer, values in explanation.maps.items()}
        drawn = self._sheets and explanation.maps.drawable
        image["sheet"] = self._save_sheet(name, explanation, written) if drawn else None
        file = self._save(name, ".npz", archived(maps), written) if "npz" in self.formats else None
        for form in ANIMATED:
            if form in self.formats:
                image[form] = self._save_moving(name, form, explanation, written)
        image["layers"] = entries.layers(explanation, file)
        # All names are given out here, in order.
        drawings = [
            self._drawing(entry, name, layer, number, explanation)
            for layer in (explanation.maps.drawable if explanation.pictures else ())
            for number, entry in enumerate(image["layers"][layer])
        ]
        full = Pictures(explanation)
        draw = partial(self._draw, explanation, full, written)
        if "png" in self.formats or self.mask:  # colouring and packing take two cores
            with ThreadPoolExecutor(DRAWERS) as pool:
                list(pool.map(draw, drawings))
        else:
            for drawing in drawings:
                draw(drawing)
        return image

    def _drawing(self, entry: dict[str, Any], name: str, layer: str, count: int, explanation: Explanation) -> Drawing:
        """What is to be drawn of one map, and its file names: several targets by class, detections by number."""
        place, frame = divmod(count, explanation.frames)
        number = place if explanation.detections else int(explanation.classes[0, place])
        stem = f"{name}.{self._layers[layer]}" + (f".{number}" if explanation.targets.shape[1] > 1 else "")
        stem += f".f{frame}" if explanation.frames > 1 else ""
        overlay = self._names.take(stem, ".png") if "png" in self.formats else None
        return Drawing(entry, layer, place, frame, overlay, self._names.take(stem, ".mask.png") if self.mask else None)

    def _draw(self, explanation: Explanation, full: Pictures, written: list[Path], drawing: Drawing) -> None:
        """One map's overlay, its region, and that as a mask in the picture's pixels."""
        layer, place, frame = drawing.layer, drawing.place, drawing.frame
        if drawing.overlay:
            heat = explanation.heat(layer, frame, place)
            faint, most = explanation.doubt(0, place) is not None, explanation.most(layer, frame, place)
            shown = render.overlay(full.of(layer, frame), heat, faint=faint, most=most)
            self._save_picture(drawing.overlay, shown, written)
        region = Region.of(explanation, layer, place, self.mask_rule, refine=self.refine, index=frame)
        if drawing.mask:
            bits = Image.fromarray(region.mask.astype(np.uint8) * np.uint8(255))
            self._save_picture(drawing.mask, bits, written)
        drawing.entry["png"] = drawing.overlay
        told = {"png": drawing.mask, "rule": self.mask_rule, "box": region.box, "area": region.area}
        drawing.entry["mask"] = told

    def _save_sheet(self, stem: str, explanation: Explanation, written: list[Path]) -> dict[str, Any]:
        """The sheet as JPEG: its file, width and height."""
        drawn = explanation.sheet()
        file_name = self._save(stem, ".jpg", encoded(drawn), written)
        return {"file": file_name, "width": drawn.width, "height": drawn.height}

    def _save_moving(self, name: str, form: str, explanation: Explanation, written: list[Path]) -> list[str]:
        """The overlays of a clip as one animated picture for each target."""
        classes = explanation.classes[0, : explanation.count()].tolist()
        stems = [f"{name}.{index}" if len(classes) > 1 else name for index in classes]
        return [
            self._save(stem, f".{ANIMATED[form].lower()}", animated(explanation, place, form), written)
            for place, stem in enumerate(stems)
        ]

    def _save(self, stem: str, suffix: str, content: bytes, written: list[Path]) -> str:
        """A file by a name that none has yet."""
        file_name = self._names.take(stem, suffix)
        with whole(self.folder / file_name) as file:
            file.write(content)
        written.append(self.folder / file_name)
        return file_name

    def _save_picture(self, name: str, image: Image.Image, written: list[Path]) -> None:
        with whole(self.folder / name) as file:
            # Photographs are 6 % smaller at level 6, which takes five times as long.
            image.save(file, "PNG", compress_level=1)
        written.append(self.folder / name)
