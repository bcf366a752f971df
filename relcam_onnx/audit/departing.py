"""The first layer where two files depart: how far activations are apart, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from relcam_onnx.analysis.layers import Layer
from relcam_onnx.audit.experiments import Item
from relcam_onnx.audit.model import Audited, Source
from relcam_onnx.audit.rows import AUDITED
from relcam_onnx.audit.store import Found
from relcam_onnx.lrp.plan import reading_plan
from relcam_onnx.pictures import finding
from relcam_onnx.runners.reading import Reading


def by_activations(pictures: Sequence[finding.Found], model: Audited, reference: Audited) -> Iterator[Item]:
    """Every layer that both files have, in the order that the model runs them: how far activations are apart.

    ``difference``: the root of the mean square of what differs, over that of the reference's activation.
    """
    common = common_layers(model, reference)
    if not common:
        return
    readings, common_sides = [], [{name: pair[side] for name, pair in common.items()} for side in (0, 1)]
    for layers, audited in zip(common_sides, (model, reference), strict=True):
        plan = reading_plan(audited.prepared.paths, list(layers.values()))
        readings.append(Reading.of(audited.prepared.model, plan, audited.settings, spinning=False))
    for picture in pictures:

        def measure(source: Source, picture: finding.Found = picture) -> Found:
            mine, theirs = (
                activations(picture, *each) for each in zip(readings, (model, reference), common_sides, strict=True)
            )
            return {AUDITED: {name: {"difference": apart(mine[name], theirs[name])} for name in common}}

        yield Item(picture.name, measure, 2, 0)


def activations(
    picture: finding.Found, reading: Reading, audited: Audited, layers: Mapping[str, Layer]
) -> dict[str, np.ndarray]:
    """A file's activations of one picture at some layers, without the rows that fill up a fixed batch."""
    feeds = audited.feeds(audited.read(picture.path)[None])
    rows = len(feeds[audited.prepared.layers.picture.tensor.name])
    _, read = reading.run(feeds)
    values = {name: read[layer.tensor.name] for name, layer in layers.items()}
    return {name: value[: -(-len(value) // rows)] if value.ndim else value for name, value in values.items()}


def apart(mine: np.ndarray, theirs: np.ndarray) -> float:
    """Of two activations; NaN where their sizes differ."""
    if mine.shape != theirs.shape:
        return float("nan")
    a, b = mine.astype(np.float64), theirs.astype(np.float64)
    norm = float(np.sqrt(np.square(b).mean()))
    return float(np.sqrt(np.square(a - b).mean())) / norm if norm else float("nan")


def common_layers(model: Audited, reference: Audited) -> dict[str, tuple[Layer, Layer]]:
    """The layers that both have under one name, in the model's order; a stage by its stride, each tensor once.

    Pictures are no layers where one file has what is done to them inside and the other has not, nor are numbers names
    where the files have other layers: then they count otherwise.
    """
    mine, its = (named_layers(audited) for audited in (model, reference))
    alike = model.pictures.preprocess == reference.pictures.preprocess
    counted = [list(layers) for layers in (mine, its)]
    found: dict[str, tuple[Layer, Layer]] = {}
    taken: set[str] = set() if alike else pictures_of(model)
    for name, layer in mine.items():
        same = name in its and (not name.isdigit() or counted[0] == counted[1])
        if same and layer.tensor.name not in taken:
            taken.add(layer.tensor.name)
            found[name] = (layer, its[name])
    return found


def pictures_of(audited: Audited) -> set[str]:
    """The tensors that hold pictures, and what is done to them before the first layer."""
    paths = audited.prepared.paths
    return {tensor.name for tensor in paths.pictures} | set(paths.raw)


def named_layers(audited: Audited) -> Mapping[str, Layer]:
    """Every layer by each name, from the image on."""
    layers = audited.prepared.layers
    found: dict[str, Layer] = {}
    for row in layers.table():
        for name in (row.stage or row.name, row.name):
            found.setdefault(name, layers.resolve(row.stage or row.name)[0])
    return found
