"""Where maps are made: the names that were asked for, held against what a model has and what a method can."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from relcam_onnx.analysis.batch import check_frames
from relcam_onnx.analysis.layers import INPUT, Layer, Layers, unique
from relcam_onnx.errors import LayerError
from relcam_onnx.lrp.methods import METHODS, Probe


class Wanted(NamedTuple):
    """The layers whose own maps are asked for, the fused maps with their stages, and other names of maps."""

    layers: tuple[Layer, ...]
    fused: dict[str, tuple[Layer, ...]]
    aliases: dict[str, str]

    @property
    def walked(self) -> tuple[Layer, ...]:
        """All that relevance is wanted at."""
        return unique((*self.layers, *chain.from_iterable(self.fused.values())))


def resolve_layers(layers: Layers, names: Sequence[str], method: str) -> Wanted:
    """What names mean.

    Parameters
    ----------
    layers
        Of the model.
    names
        As in `relcam_onnx.Explainer`.
    method
        Its name.

    Raises
    ------
    LayerError
        No such layer, or none that the method makes maps of.
    UnsupportedModelError
        Its rows are parts of images.
    """
    how = METHODS[method]
    if not names:
        raise LayerError("no layer was asked for; layers= takes 'stages', 'fused', 'last', 'input' or a name")
    check_alone(layers, method)
    altered = isinstance(how, Probe) and how.picture is not None
    found = unique(
        layer for name in names for layer in ((layers.picture,) if altered and name == INPUT else layers.resolve(name))
    )
    fused = {name: stages for asked in names for name, stages in layers.fused_by(asked).items()}
    aliases = {alias: layer.name for layer in found for alias in layers.names_of(layer.tensor)}
    wanted = Wanted(found, fused, {**layers.aliases, **aliases})
    for layer in wanted.walked if layers.pictures else ():
        check_frames(layer.name, layer.tensor, layers.picture.tensor, layers.paths.frames)
    if how.explains_input_alone and (fused or not all(layer.is_input for layer in found)):
        raise LayerError(f"method {method!r} explains the input alone: leave layers= out, or name 'input'")
    for layer in wanted.walked:
        if not how.keeps_channels and not layer.is_input and layer.stride is None:
            raise LayerError(
                f"layer {layer.name!r} has no positions to make a map of; method 'lrp' gives its relevance"
            )
        if isinstance(how, Probe) and how.layer is not None and layer.is_input:
            raise LayerError(f"method {method!r} explains layers, not the input itself; name others")
        if isinstance(how, Probe) and how.changes_layer and layer.tensor.name in layers.model.views:
            raise LayerError(
                f"layer {layer.name!r} is no tensor of the file, only what its tensors amount to, so method "
                f"{method!r} cannot put anything in its place; 'relcam layers' lists others"
            )
    return wanted


def check_alone(layers: Layers, method: str) -> None:
    """A method that alters pictures has one to alter."""
    if not isinstance(METHODS[method], Probe):
        return
    several = ", ".join(repr(layer.tensor.name) for layer in layers.pictures) if len(layers.pictures) > 1 else ""
    what = f"several ({several})" if several else f"clips of {layers.paths.frames}"
    if several or layers.paths.frames > 1:
        raise LayerError(
            f"method {method!r} alters one picture, and this model reads {what}: take a method that walks the model "
            "once, such as 'local-relevance-cam'"
        )
