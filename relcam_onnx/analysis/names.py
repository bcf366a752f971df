"""The tensors of a canonical model by the names that files give them: module paths, tensors and nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import onnx_graphsurgeon as gs

from relcam_onnx.errors import LayerError, nearest
from relcam_onnx.model import Model
from relcam_onnx.onnx_file.module_paths import module_outputs


class Names:
    """What names mean in one model.

    Parameters
    ----------
    model
        A canonical model.
    tensors
        Every tensor that relevance passes, by name.
    """

    def __init__(self, model: Model, tensors: Mapping[str, gs.Tensor]) -> None:
        self._model, self._tensors = model, tensors
        self.modules = module_outputs(model)

    @cached_property
    def preferred(self) -> dict[str, str]:
        """Tensor -> the outermost module whose output it is."""
        names: dict[str, str] = {}
        for path, tensor in self.modules.items():
            current = self._model.current(tensor)
            if current not in names or path.count(".") < names[current].count("."):
                names[current] = path
        return names

    def of(self, tensor: gs.Tensor) -> list[str]:
        """Everything that a tensor is called."""
        paths = [path for path, output in self.modules.items() if self._model.current(output) == tensor.name]
        gone = [name for name in self._model.replaced if self._model.current(name) == tensor.name]
        return [*paths, tensor.name, *gone]

    def tensor(self, name: str, words: Sequence[str]) -> gs.Tensor:
        """The tensor of a name; ``words`` are what else could have been meant.

        Raises
        ------
        LayerError
            No such layer, one that folding removed, or one that relevance does not pass.
        """
        known = name in self._every or name in self._tensors  # the table lists tensors that only rewriting made, too
        original = self.modules.get(name) or (name if known else self._nodes.get(name))
        if original is None:
            possible = [*words, *self.modules, *self._tensors, *(n for n in self._nodes if n)]
            raise LayerError(
                f"no layer is called {name!r}{nearest(name, possible)}; `relcam layers MODEL` lists what can be named"
            )
        current = self._model.current(original)
        if current in self._model.folded:
            into = self._model.folded[current]
            while into in self._model.folded:
                into = self._model.folded[into]
            label = self.preferred.get(into, into)
            raise LayerError(
                f"layer {name!r} was folded into {label!r}, with the bias, batch normalisation, padding, ReLU or sum "
                "between the two: name that one. Presets that do not fold batch normalisation, such as 'official', "
                "keep what stands before it"
            )
        if current not in self._tensors:
            raise LayerError(
                f"layer {name!r} (tensor {current!r}) lies on no path that relevance takes from the scores to the image"
            )
        return self._tensors[current]

    @cached_property
    def _nodes(self) -> dict[str, str]:
        """Node -> its first output."""
        return {node.name: node.output[0] for node in self._model.proto.graph.node if node.output}

    @cached_property
    def _every(self) -> frozenset[str]:
        """All tensors of the file."""
        graph = self._model.proto.graph
        return frozenset(name for node in graph.node for name in node.output) | {i.name for i in graph.input}
