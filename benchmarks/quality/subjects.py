"""The pictures that maps are measured on: their classes, and where their objects are, if known."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from relcam_onnx.audit.model import Audited
from relcam_onnx.audit.outlines import Outlined, drawn, seen
from relcam_onnx.audit.subjects import Subject, read_subjects
from relcam_onnx.audit.told import Told
from relcam_onnx.pictures.finding import Found
from relcam_onnx.pictures.preprocess import Preprocess

OUTLINES = Path(__file__).parents[1] / "outlines.json"


def audited(model: Path) -> Audited:
    """A model that sees pictures as its file says, but the shorter side filling what it sees."""
    read = Audited(model).pictures.preprocess
    whole: Preprocess = replace(read, resize_size=None)
    return Audited(model, preprocess=whole)


def read_labels(file: Path) -> dict[str, int]:
    """File name -> class, of a CSV with the columns ``file`` and ``index``."""
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            return {row["file"]: int(row["index"]) for row in csv.DictReader(lines)}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise SystemExit(f"{file} is no CSV with the columns file and index: {error}") from error


def read_outlines(file: Path) -> dict[str, list[list[list[float]]]]:
    """File name -> polygons, in shares of a picture's width and height."""
    try:
        found: dict[str, list[list[list[float]]]] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{file} holds no outlines: {error}") from error
    return found


def listed(folder: Path, labels: Path | None) -> dict[Path, int]:
    """The pictures of a folder with their classes; says at once what does not fit."""
    labels = labels or folder / "labels.csv"
    if not labels.exists():
        raise SystemExit(f"{folder} has no labels: name a CSV with the columns file and index (LABELS=...)")
    found = {folder / name: index for name, index in read_labels(labels).items()}
    if missing := [file.name for file in found if not file.exists()]:
        raise SystemExit(f"{labels} names {len(missing)} files that are not in {folder}, such as {missing[0]}")
    if len(set(found.values())) < 4:
        raise SystemExit(f"{labels} has {len(set(found.values()))} classes; a grid needs pictures of four")
    return found


def read(files: Mapping[Path, int], model: Audited, outlines: Path) -> list[Subject]:
    """All pictures, with the model's scores."""
    polygons = read_outlines(outlines)

    def outlined(picture: Found) -> Outlined | None:
        shapes = polygons.get(picture.path.name)
        if shapes is None:
            return None
        height, width = model.upright(picture.path)
        corners = [np.array(polygon) * (width, height) for polygon in shapes]
        return Outlined((None,), lambda places: seen(model, drawn((height, width), [corners])))

    told = {file.resolve(): Told(label, str(label)) for file, label in files.items()}
    subjects, failed = read_subjects(model, [Found(file, file.name) for file in files], told, outlined)
    if failed:
        raise SystemExit(f"{Path(failed[0].file).name}: {failed[0].error}: other labels?")
    return subjects
