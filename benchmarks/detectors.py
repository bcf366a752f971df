"""A real detector's maps against its own boxes, beside other methods: ``python -m benchmarks.detectors [--write]``.

YOLOv8n of faces and scikit-image's people. *Energy* is the share of the map's positive part in the box, *pointing*
whether the map's peak lies in it or at most 15 pixels from it (the pointing game's margin, Zhang et al. 2018,
arXiv:1608.00507); RISE scores each masked picture by the same class at the same place.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from PIL import Image
from skimage import data

import relcam_onnx as rc
from benchmarks.carried import YOLO
from benchmarks.cost import ROOT
from benchmarks.page import fill, table
from relcam_onnx.audit.metrics import bootstrap

PAGE = ROOT / "docs" / "quality.md"
LAYERS = ("stride4", "stride8", "stride16", "stride32", "fused")
MARGIN = 15
ROWS: dict[str, dict[str, Any]] = {
    "default": {},
    "relevance-cam": {"preset": "paper"},
    "grad-cam": {"method": "grad-cam"},
    "layer-cam": {"method": "layer-cam"},
    "hires-cam": {"method": "hires-cam"},
    "eigen-cam": {"method": "eigen-cam"},
    "rise, 1,000 masks": {"method": "rise", "samples": 1000},
}


def pictures() -> list[np.ndarray]:
    """Two people, and four faces in a row."""
    faces = Image.fromarray((np.hstack(data.lfw_subset()[:4]) * 255).astype(np.uint8)).convert("RGB").resize((800, 200))
    return [data.astronaut(), np.stack([data.camera()] * 3, axis=-1), np.asarray(faces)]


def measured(found: rc.Explanation) -> dict[str, list[tuple[float, bool]]]:
    """Layer -> energy and pointing of each detection."""
    told: dict[str, list[tuple[float, bool]]] = {layer: [] for layer in found.maps}
    for place, each in enumerate(found.detections[0]):
        assert each.box is not None
        left, top, right, bottom = map(round, each.box)
        for layer, values in told.items():
            heat = np.maximum(found.heat(layer, 0, place), 0)
            row, column = np.unravel_index(int(heat.argmax()), heat.shape)
            share = float(heat[top:bottom, left:right].sum() / max(float(heat.sum()), 1e-12))
            near = top - MARGIN <= row < bottom + MARGIN and left - MARGIN <= column < right + MARGIN
            values.append((share, bool(near)))
    return told


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the table of docs/quality.md")
    options = parser.parse_args()
    rows = []
    for name, own in ROWS.items():
        together: dict[str, list[tuple[float, bool]]] = {}
        with rc.Explainer(YOLO.file(), **own) as explainer:
            for picture in pictures():
                for layer, values in measured(rc.explain(explainer, picture)).items():
                    together.setdefault(layer.replace("input", "fused"), []).extend(values)
        cells = {layer: cell(values) for layer, values in together.items()}
        rows.append([name, *(cells.get(layer, "") for layer in LAYERS)])
        print(*rows[-1], sep=" | ", flush=True)
    found = table(["energy, pointing", "4", "8", "16", "32", "fused, or input"], rows)
    if options.write:
        fill(PAGE, {"detectors": found})


def cell(values: list[tuple[float, bool]]) -> str:
    """Mean energy with its interval, and the share of peaks in boxes."""
    mean, low, high, _ = bootstrap([share for share, _ in values])
    return f"{mean:.2f} ({low:.2f} … {high:.2f}), {np.mean([hit for _, hit in values]):.2f}"


if __name__ == "__main__":
    main()
