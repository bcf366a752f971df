"""The maps of an explanation as an xarray.Dataset, each with the places of its cells."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from relcam_onnx.extras import require
from relcam_onnx.results.answer import Answer
from relcam_onnx.results.settings import Settings

if TYPE_CHECKING:
    from xarray import Dataset

AXES = {1: ("x",), 2: ("y", "x"), 3: ("z", "y", "x")}
"""What axes of positions are called, by how many there are."""

Variable = tuple[tuple[str, ...], Any, dict[str, Any]]
"""Dimensions, values and attributes, as xarray takes them."""


def dataset(explanation: Answer) -> Dataset:
    """A variable for each map, as `Explanation.to_xarray` says.

    Raises
    ------
    OptionError
        xarray is not installed.
    """
    require("to_xarray() needs", "xarray", "xarray")
    from xarray import Dataset  # noqa: PLC0415 - needed here alone

    coordinates = dict(of_targets(explanation))
    variables: dict[str, Variable] = {}
    for layer, values in explanation.maps.items():
        dimensions = dimensions_of(explanation, layer)
        variables[layer] = (dimensions, values, about(explanation, layer))
        coordinates |= places(explanation, layer, dimensions)
    return Dataset(variables, coordinates, told(explanation.settings))


def named(explanation: Answer, name: str) -> str:
    """A name that no layer has: those may be called like anything here, and keep their names."""
    while name in explanation.maps:
        name += "_"
    return name


def rows_of(explanation: Answer, count: int) -> str:
    """What the first axis of something with so many rows is of."""
    return named(explanation, "picture" if count == len(explanation.targets) else "frame")


def dimensions_of(explanation: Answer, layer: str) -> tuple[str, ...]:
    """What the axes of a map are called; behind the targets its own."""
    values, channels = explanation.maps[layer], int(layer in explanation.maps.with_channels)
    count = values.ndim - 2 - channels
    own = [*["channel"] * channels, *AXES.get(count, tuple(f"axis{axis}" for axis in range(count)))]
    first = rows_of(explanation, len(values))
    return first, named(explanation, "target"), *(named(explanation, f"{layer}_{name}") for name in own)


def of_targets(explanation: Answer) -> Iterator[tuple[str, Variable]]:
    """What is known of each target and picture, as coordinates."""
    both = (named(explanation, "picture"), named(explanation, "target"))
    values: dict[str, Any] = {
        "class": explanation.classes,
        "probability": explanation.probability,
        "margin": explanation.margin,
    }
    if explanation.targets.ndim == 3:
        values["place"] = explanation.targets[..., 0]
    if explanation.labels:
        names = [
            (explanation.label(kind) if kind >= 0 else None) or "" for kind in explanation.classes.ravel().tolist()
        ]
        values["label"] = np.array(names).reshape(explanation.classes.shape)
    for name, of_each in values.items():
        yield named(explanation, name), (both, of_each, {})
    if files := [picture.file or "" for picture in explanation.pictures]:
        yield named(explanation, "file"), ((rows_of(explanation, len(files)),), np.array(files), {})


def places(explanation: Answer, layer: str, dimensions: tuple[str, ...]) -> dict[str, Variable]:
    """Where the cells of a map lie, on each axis: in the model's input, and in each picture."""
    field, values = explanation.fields.get(layer), explanation.maps[layer]
    if field is None or values.ndim < 4:
        return {}
    step = len(explanation.pictures) // len(values)  # frames of one map
    pictures = [explanation.picture_of(layer, row * step) for row in range(len(values))] if step else []
    lies = [picture.geometry for picture in pictures if picture is not None and picture.geometry.size == field.size]
    found: dict[str, Variable] = {}
    for axis, dimension in enumerate(dimensions[-2:]):
        inside = np.arange(values.shape[axis - 2]) * field.stride[axis] + field.offset[axis]
        found[dimension] = ((dimension,), inside, {"units": "pixels of the model's input"})
        if lies and len(lies) == len(values):
            # A geometry measures from the corner, a field from the centre of the first pixel.
            seen = [(inside + 0.5 - each.offset[axis]) / each.scale[axis] - 0.5 for each in lies]
            name = named(explanation, f"{layer}_picture_{'yx'[axis]}")
            found[name] = ((dimensions[0], dimension), np.stack(seen), {"units": "pixels of the picture"})
    return found


def about(explanation: Answer, layer: str) -> dict[str, Any]:
    """What a map is of."""
    sources = (source.told() for source in explanation.settings.layers if source.name == layer)
    return {name: value for name, value in next(sources, {}).items() if value is not None}


def told(settings: Settings) -> dict[str, Any]:
    """The settings as attributes that files hold: texts and numbers; what has parts as JSON."""
    known = {name: value for name, value in settings.told().items() if value is not None and name != "layers"}
    return {n: v if isinstance(v, str | int | float) else json.dumps(v, default=str) for n, v in known.items()}
