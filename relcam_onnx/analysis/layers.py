"""Layers by name: stages, module paths, tensors, nodes, and the words ``input``, ``stages``, ``last`` and ``fused``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import onnx_graphsurgeon as gs

from relcam_onnx.analysis.layout import Layout
from relcam_onnx.analysis.paths import Paths, origin
from relcam_onnx.analysis.positions import of_image
from relcam_onnx.analysis.stages import Stages
from relcam_onnx.analysis.support import check_supported
from relcam_onnx.errors import LayerError, nearest
from relcam_onnx.model import Model
from relcam_onnx.onnx_file.module_paths import module_outputs
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
    """A layer that was asked for: its name, its tensor, and where it has positions its stride and its layout."""

    name: str
    tensor: gs.Tensor
    stride: Fraction | None
    layout: Layout | None = None


class Layers:
    """The names of one canonical model."""

    def __init__(self, model: Model, paths: Paths) -> None:
        self.model, self.paths = model, paths
        self.geometry = Stages(paths)
        self.modules = module_outputs(model)

    @cached_property
    def tensors(self) -> dict[str, gs.Tensor]:
        """Every tensor that relevance passes, by name."""
        return {t.name: t for t in (*self.paths.images, *self.paths.tensors)}

    @cached_property
    def _preferred(self) -> dict[str, str]:
        """Tensor -> the outermost module whose output it is."""
        names: dict[str, str] = {}
        for path, tensor in self.modules.items():
            current = self.model.current(tensor)
            if current not in names or path.count(".") < names[current].count("."):
                names[current] = path
        return names

    def _named(self, name: str, tensor: gs.Tensor) -> Layer:
        return Layer(name, tensor, self.geometry.strides.get(tensor.name), self.geometry.layouts.get(tensor.name))

    @cached_property
    def stages(self) -> tuple[Layer, ...]:
        """The stages, finest first, under their names."""
        return tuple(self._named(stage.name, stage.tensor) for stage in self.geometry.stages)

    def names_of(self, tensor: gs.Tensor) -> list[str]:
        """Everything that a tensor can be called: stage, module paths, tensors of the file."""
        stages = [stage.name for stage in self.stages if stage.tensor is tensor]
        paths = [path for path, output in self.modules.items() if self.model.current(output) == tensor.name]
        gone = [name for name in self.model.replaced if self.model.current(name) == tensor.name]
        return [*stages, *paths, tensor.name, *gone]

    @property
    def image(self) -> Layer:
        """The image input, under the name ``input``.

        Raises
        ------
        LayerError
            Relevance reaches no input, or several.
        """
        images = self.paths.images
        if len(images) != 1:
            names = ", ".join(repr(t.name) for t in images) or "none"
            raise LayerError(f"'input' means the one input that relevance reaches; here they are {names}: name one")
        return self._named(INPUT, images[0])

    @property
    def picture(self) -> Layer:
        """The same; where relevance reaches no input, since an op on the way is unknown, the model's only one."""
        inputs = [tensor for tensor in self.model.graph.inputs if tensor.outputs]
        if self.paths.images or len(inputs) != 1:
            return self.image
        return Layer(INPUT, inputs[0], None, of_image(inputs[0]))

    def resolve(self, name: str) -> tuple[Layer, ...]:
        """The layers that a name means; several for ``stages``, none for ``fused`` (a map, not a layer).

        Raises
        ------
        LayerError
            No such layer, one that folding removed, or one that relevance does not pass.
        """
        if name == INPUT:
            return (self.image,)
        if name in (STAGES, LAST, FUSED):
            if not self.stages:
                check_supported(self.model, self.paths.nodes)  # an op that nobody knows hides all behind it
                raise LayerError(
                    f"{name!r}: this model has no stage, no tensor with positions that every path passes; "
                    "method 'lrp' with layers='input' remains"
                )
            return {STAGES: self.stages, LAST: self.stages[-1:], FUSED: ()}[name]
        if stage := [layer for layer in self.stages if layer.name == name]:
            return tuple(stage)
        return (self._named(name, self._tensor(name)),)

    def _tensor(self, name: str) -> gs.Tensor:
        """The tensor of a module path, a tensor name or a node name."""
        known = name in self._every or name in self.tensors  # the table lists tensors that only rewriting made, too
        original = self.modules.get(name) or (name if known else self._nodes.get(name))
        if original is None:
            stages = [layer.name for layer in self.stages]
            possible = [
                INPUT,
                STAGES,
                LAST,
                FUSED,
                *stages,
                *self.modules,
                *self.tensors,
                *(n for n in self._nodes if n),
            ]
            raise LayerError(
                f"no layer is called {name!r}{nearest(name, possible)}; `relcam layers MODEL` lists what can be named"
            )
        current = self.model.current(original)
        if current in self.model.folded:
            into = self.model.folded[current]
            while into in self.model.folded:
                into = self.model.folded[into]
            label = self._preferred.get(into, into)
            raise LayerError(
                f"layer {name!r} was folded into {label!r}, with the bias, batch normalisation, padding or sum between "
                "the two: name that one. Presets that do not fold batch normalisation, such as 'official', keep what "
                "stands before it"
            )
        if current not in self.tensors:
            raise LayerError(
                f"layer {name!r} (tensor {current!r}) lies on no path that relevance takes from the scores to the image"
            )
        return self.tensors[current]

    @cached_property
    def _nodes(self) -> dict[str, str]:
        """Node -> its first output."""
        return {node.name: node.output[0] for node in self.model.proto.graph.node if node.output}

    @cached_property
    def _every(self) -> frozenset[str]:
        """All tensors of the file."""
        graph = self.model.proto.graph
        return frozenset(name for node in graph.node for name in node.output) | {i.name for i in graph.input}

    def table(self) -> list[LayerInfo]:
        """Every layer that can be named: each module's output, and each tensor that is no module's."""
        stages = {layer.tensor.name: layer.name for layer in self.stages}
        names: dict[str, list[str]] = {}
        for path, tensor in self.modules.items():
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
                note_on(tensor) or beside(self.geometry.layouts.get(tensor.name)),
            )
            for tensor in self.tensors.values()
            for name in sorted(names.get(tensor.name, [tensor.name]), key=len)
        ]


def note_on(tensor: gs.Tensor) -> str:
    """What is worth knowing about the node that makes a tensor."""
    node = tensor.inputs[0] if tensor.inputs else None
    if node is None:
        return ""
    if key(node) not in TABLE:
        return "no rule: relevance stops here"
    return "a product without a gate: each operand gets half" if is_halved(node) else ""


def beside(layout: Layout | None) -> str:
    """How many entries of a row are no positions."""
    extra = 0 if layout is None else layout.tokens
    return f"{extra} {'token' if extra == 1 else 'tokens'} beside the positions" if extra else ""


def unique(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """Each layer once, by name, in order."""
    return tuple({layer.name: layer for layer in layers}.values())


def as_names(layers: str | Sequence[str]) -> tuple[str, ...]:
    """One name or several."""
    return (layers,) if isinstance(layers, str) else tuple(layers)
