"""Regions in COCO's form, which annotation tools read: ``regions.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from relcam_onnx.files import whole
from relcam_onnx.results.regions import Region
from relcam_onnx.results.run_lengths import uncompressed
from relcam_onnx.results.shapes import components, polygons

if TYPE_CHECKING:
    from relcam_onnx.results.explanation import Explanation

LEAST = 0.001
"""Of a picture: components that are smaller are specks."""


class Coco:
    """Collects an annotation for each component of each target's region, in the fused map, else in the last one."""

    def __init__(self, rule: str, *, refine: bool) -> None:
        self._rule, self._refine = rule, refine
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._categories: dict[int, str] = {}

    def add(self, explanation: Explanation) -> None:
        """One picture's regions; nothing where an array was explained.

        Raises
        ------
        OptionError
            scikit-image is not installed.
        """
        if not explanation.pictures or not explanation.maps.drawable:
            return
        for picture in explanation.beside or [None]:
            self._add(explanation, picture)

    def _add(self, explanation: Explanation, picture: str | None) -> None:
        """The regions in one of several pictures, or in the only one."""
        drawable = explanation.maps.drawable
        layer = explanation.map_name(None, picture)
        layer = layer if layer in drawable else drawable[-1]
        shown = explanation.picture_of(layer, 0, picture)
        assert shown is not None
        number = len(self._images) + 1
        height, width = shown.size
        self._images.append({"id": number, "file_name": shown.file or "", "width": width, "height": height})
        for place, index in enumerate(explanation.classes[0, : explanation.count()].tolist()):
            self._categories[index] = explanation.label(index) or str(index)
            region = Region.of(explanation, layer, place, self._rule, refine=self._refine, picture=picture)
            for part in components(region.cells):
                if part.sum() >= LEAST * part.size:
                    self._annotate(Region(part, region.size), number, index, float(explanation.probability[0, place]))

    def _annotate(self, part: Region, image: int, category: int, score: float) -> None:
        box = part.box
        assert box is not None
        left, top, right, bottom = box
        self._annotations.append({
            "id": len(self._annotations) + 1, "image_id": image, "category_id": category, "iscrowd": 0,
            "bbox": [left, top, right - left, bottom - top], "area": part.area, "score": score,
            "segmentation": outlined(part),
        })  # fmt: skip

    def write(self, folder: Path) -> None:
        """Write ``regions.json``; `OSError` where the folder cannot be written."""
        found = {
            "info": {"description": f"regions by rule {self._rule}"},
            "images": self._images,
            "categories": [{"id": index, "name": name} for index, name in sorted(self._categories.items())],
            "annotations": self._annotations,
        }
        with whole(folder / "regions.json") as file:
            file.write(json.dumps(found, allow_nan=False).encode("ascii"))


def outlined(part: Region) -> list[list[float]] | dict[str, list[int]]:
    """Polygons in the picture's pixels; run lengths where the part has holes."""
    outlines = polygons(part.cells)
    if outlines is None:
        return uncompressed(part.mask)
    scale = np.array(part.size[::-1]) / np.array(part.cells.shape[::-1])
    return [(np.array(outline).reshape(-1, 2) * scale).round(2).reshape(-1).tolist() for outline in outlines]
