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
    readings = []
    for side, audited in enumerate((model, reference)):
        plan = reading_plan(audited.prepared.paths, [pair[side] for pair in common.values()])
        readings.append(Reading.of(audited.prepared.model, plan, audited.settings, spinning=False))
    for picture in pictures:

        def measure(source: Source, picture: finding.Found = picture) -> Found:
            values = [
                reading.run(audited.feeds(audited.read(picture.path)[None]))[1]
                for reading, audited in zip(readings, (model, reference), strict=True)
            ]
            return {AUDITED: {
                name: {"difference": apart(values[0][pair[0].tensor.name], values[1][pair[1].tensor.name])}
                for name, pair in common.items()
            }}  # fmt: skip

        yield Item(picture.name, measure, 2, 0)


def apart(mine: np.ndarray, theirs: np.ndarray) -> float:
    """Of two activations; NaN where their sizes differ."""
    if mine.shape != theirs.shape:
        return float("nan")
    a, b = mine.astype(np.float64), theirs.astype(np.float64)
    norm = float(np.sqrt(np.square(b).mean()))
    return float(np.sqrt(np.square(a - b).mean())) / norm if norm else float("nan")


def common_layers(model: Audited, reference: Audited) -> dict[str, tuple[Layer, Layer]]:
    """The layers that both have under one name, in the model's order; a stage by its stride, each tensor once."""
    mine, its = (named_layers(audited) for audited in (model, reference))
    found: dict[str, tuple[Layer, Layer]] = {}
    taken: set[str] = set()
    for name, layer in mine.items():
        if name in its and layer.tensor.name not in taken:
            taken.add(layer.tensor.name)
            found[name] = (layer, its[name])
    return found


def named_layers(audited: Audited) -> Mapping[str, Layer]:
    """Every layer by each name, from the image on."""
    layers = audited.prepared.layers
    found: dict[str, Layer] = {}
    for row in layers.table():
        for name in (row.stage or row.name, row.name):
            found.setdefault(name, layers.resolve(row.stage or row.name)[0])
    return found
