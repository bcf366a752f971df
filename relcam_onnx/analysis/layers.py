"""Layers by name: stages, module paths, tensors, nodes, and the words ``input``, ``stages``, ``last`` and ``fused``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import zip_longest

import onnx_graphsurgeon as gs

from relcam_onnx.analysis.frames import rows_over
from relcam_onnx.analysis.layout import Layout
from relcam_onnx.analysis.names import Names
from relcam_onnx.analysis.paths import Paths, origin
from relcam_onnx.analysis.positions import of_image
from relcam_onnx.analysis.stages import Stages
from relcam_onnx.analysis.support import check_supported
from relcam_onnx.analysis.towers import towers
from relcam_onnx.canon.unsquashing import MADE
from relcam_onnx.errors import LayerError
from relcam_onnx.model import Model
from relcam_onnx.ops import TABLE, key
from relcam_onnx.ops.arithmetic import is_halved

INPUT, STAGES, LAST, FUSED = "input", "stages", "last", "fused"


@dataclass(frozen=True)
class LayerInfo:
    """One line of the table of layers.

    Attributes
    ----------
    name
        What to call it: a module path, or the tensor's name where the file tells of no module.
    tensor
        The ONNX tensor.
    shape
        Its shape as it stands in the file; names for sizes that only a run knows.
    op
        The op that makes it.
    stride
        Input pixels per position; None for tensors without positions.
    stage
        The stage's name, ``stride8`` or ``depth6``, where it is one; "" elsewhere.
    share
        The part of all paths from the picture to the scores that passes here, 0..1; 1 is a cut.
    note
        What is worth knowing about how relevance passes there, or "".
    """

    name: str
    tensor: str
    shape: tuple[int | str, ...]
    op: str
    stride: float | None
    stage: str
    share: float
    note: str = ""


@dataclass(frozen=True)
class Layer:
    """A layer that was asked for.

    Attributes
    ----------
    name
        What it was asked for by.
    tensor
        The ONNX tensor.
    stride, layout
        Where it has positions.
    picture
        The one picture that it is made of where a model reads several; None where it is made of all, or of none.
    is_input
        Whether it is an input, asked for as such: its map keeps its channels.
    frames
        How many of its rows are the frames of one clip that the model folded into the batch; 1 as a rule.
    """

    name: str
    tensor: gs.Tensor
    stride: Fraction | None
    layout: Layout | None = None
    picture: str | None = None
    is_input: bool = False
    frames: int = 1


class Layers:
    """The names of one canonical model."""

    def __init__(self, model: Model, paths: Paths) -> None:
        self.model, self.paths = model, paths
        self.geometry = Stages(paths)
        self.names = Names(model, self.tensors)

    @cached_property
    def tensors(self) -> dict[str, gs.Tensor]:
        """Every tensor of the file that relevance passes, by name."""
        return {t.name: t for t in (*self.paths.images, *self.paths.tensors) if not t.name.startswith(MADE)}

    def _named(self, name: str, tensor: gs.Tensor) -> Layer:
        strides, layouts, origins = self.geometry.strides, self.geometry.layouts, self.paths.origins[tensor.name]
        picture = next(iter(origins)) if len(self.paths.pictures) > 1 and len(origins) == 1 else None
        frames = self.paths.frames if rows_over(tensor, self.paths.pictures[0]) == self.paths.frames else 1
        return Layer(name, tensor, strides.get(tensor.name), layouts.get(tensor.name), picture, frames=frames)

    @cached_property
    def towers(self) -> dict[str, tuple[Layer, ...]]:
        """Picture -> its stages, finest first, under their names."""
        found = towers(self.geometry)
        return {picture: tuple(self._named(*stage) for stage in stages) for picture, stages in found.items()}

    @cached_property
    def stages(self) -> tuple[Layer, ...]:
        """All stages, finest first; where several pictures have some, those of one place side by side."""
        columns = zip_longest(*(stages[::-1] for stages in self.towers.values()))
        return unique(stage for column in columns for stage in column[::-1] if stage is not None)[::-1]

    @cached_property
    def fused(self) -> dict[str, tuple[Layer, ...]]:
        """Fused map -> the stages that it is made of: one for each picture, or for all where they have the same."""
        if len({tuple(layer.name for layer in stages) for stages in self.towers.values()}) == 1:
            return {FUSED: in_one_plane(self.stages)}
        return {f"{FUSED}/{picture}": in_one_plane(stages) for picture, stages in self.towers.items()}

    def names_of(self, tensor: gs.Tensor) -> list[str]:
        """Everything that a tensor can be called."""
        return [*(stage.name for stage in self.stages if stage.tensor is tensor), *self.names.of(tensor)]

    @cached_property
    def aliases(self) -> dict[str, str]:
        """Another name of a map -> its own."""
        last = {f"{LAST}/{picture}": stages[-1].name for picture, stages in self.towers.items()}
        aliases = {LAST: next(iter(last.values()))} if len(set(last.values())) == 1 else {}
        aliases |= last | {f"{FUSED}/{picture}": FUSED for picture in self.towers if FUSED in self.fused}
        aliases |= {f"{INPUT}/{layer.tensor.name}": layer.name for layer in self.inputs}
        aliases |= {INPUT: self.picture.name} if len(self.pictures) == 1 else {}
        return {alias: name for alias, name in aliases.items() if alias != name}

    @cached_property
    def inputs(self) -> tuple[Layer, ...]:
        """The inputs that relevance reaches: ``input``, or ``input/<name>`` where there are several."""
        images = self.paths.images
        names = [INPUT] if len(images) == 1 else [f"{INPUT}/{tensor.name}" for tensor in images]
        layers = (self._named(name, tensor) for name, tensor in zip(names, images, strict=True))
        return tuple(replace(layer, is_input=True) for layer in layers)

    @property
    def pictures(self) -> tuple[Layer, ...]:
        """Those of them that have positions, or all; where an op on the way is unknown, the model's only input."""
        read = [tensor for tensor in self.model.graph.inputs if tensor.outputs]
        if not self.inputs and len(read) == 1:
            return (Layer(INPUT, read[0], None, of_image(read[0]), is_input=True),)
        return tuple(layer for layer in self.inputs if layer.layout is not None) or self.inputs

    @property
    def picture(self) -> Layer:
        """The first of them; `LayerError` where there is none."""
        if not self.pictures:
            raise LayerError("relevance reaches none of this model's inputs: name a layer")
        return self.pictures[0]

    def resolve(self, name: str) -> tuple[Layer, ...]:
        """The layers that a name means; several for ``stages``, none for a fused map, which is no layer.

        Raises
        ------
        LayerError
            No such layer, one that folding removed, or one that relevance does not pass.
        """
        if name == INPUT and not self.inputs:
            raise LayerError("relevance reaches none of this model's inputs: name another layer")
        if name == INPUT:
            return self.inputs
        name = self.aliases.get(name, name)
        if known := [layer for layer in (*self.inputs, *self.stages) if layer.name == name]:
            return tuple(known)
        if name in (STAGES, LAST, FUSED):
            if not self.stages:
                check_supported(self.model, self.paths.nodes)  # an op that nobody knows hides all behind it
                raise LayerError(
                    f"{name!r}: this model has no stage, no tensor with positions that every path passes; "
                    "method 'lrp' with layers='input' remains"
                )
            deepest = unique(stages[-1] for stages in self.towers.values())
            return {STAGES: self.stages, LAST: deepest, FUSED: ()}[name]
        if name in self.fused:
            return ()
        return (self._named(name, self.names.tensor(name, self._words)),)

    def fused_by(self, name: str) -> dict[str, tuple[Layer, ...]]:
        """The fused maps that a name means."""
        name = self.aliases.get(name, name)
        return {fused: stages for fused, stages in self.fused.items() if name in (FUSED, fused)}

    @property
    def _words(self) -> list[str]:
        """What is no tensor's name."""
        return [INPUT, STAGES, LAST, FUSED, *(n.name for n in (*self.inputs, *self.stages)), *self.fused, *self.aliases]

    def table(self) -> list[LayerInfo]:
        """Every layer that can be named: each module's output, and each tensor that is no module's."""
        stages = {layer.tensor.name: layer.name for layer in self.stages}
        names: dict[str, list[str]] = {}
        for path, tensor in self.names.modules.items():
            names.setdefault(self.model.current(tensor), []).append(path)
        return [
            LayerInfo(
                name,
                tensor.name,
                tuple(tensor.shape or ()),
                origin(tensor),
                float(self.geometry.strides[tensor.name]) if tensor.name in self.geometry.strides else None,
                stages.get(tensor.name, ""),
                float(self.paths.shares.get(tensor.name, 1)),
                note_on(tensor) or ("" if (own := self.geometry.layouts.get(tensor.name)) is None else own.note),
            )
            for tensor in self.tensors.values()
            for name in sorted(names.get(tensor.name, [tensor.name]), key=len)
        ]


def note_on(tensor: gs.Tensor) -> str:
    """What is worth knowing about the node that makes a tensor."""
    node = tensor.inputs[0] if tensor.inputs else None
    if node is not None and key(node) not in TABLE:
        return "no rule: relevance stops here"
    return "a product without a gate: each operand gets half" if node is not None and is_halved(node) else ""


def in_one_plane(stages: Sequence[Layer]) -> tuple[Layer, ...]:
    """Those with as many axes of positions as the finest: a row behind a plane has no places in common with it."""
    planes = [layer.layout.places if layer.layout is not None else 0 for layer in stages]
    return tuple(layer for layer, axes in zip(stages, planes, strict=True) if axes == planes[0])


def unique(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """Each layer once, by name, in order."""
    return tuple({layer.name: layer for layer in layers}.values())
