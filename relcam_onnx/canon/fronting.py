"""Where the batch is not the first axis it is brought in front: relevance of many targets stands there.

Attention as PyTorch has it puts queries, keys and values first, ``(3, N, heads, T, d)``, or works on ``(T, N, C)`` and
on ``(T · N, C)``. Nodes from where the batch leaves the front to where it is back are written anew.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import detach, fresh, is_op, sweep, view
from relcam_onnx.canon.fronted import WRITE, Home, read
from relcam_onnx.canon.leading import put
from relcam_onnx.model import Model, producer


def front_batch(model: Model) -> None:
    """Rewrite every node between a tensor whose batch left the front and one where it is back."""
    images = [t for t in model.graph.inputs if t.shape]
    if images:
        Fronting(model, images).rewrite()
        sweep(model)


class Fronting:
    """One pass over a graph in order; homes of tensors are known, or not."""

    def __init__(self, model: Model, images: Sequence[gs.Tensor]) -> None:
        self.model, self.batch = model, max(images, key=lambda t: len(t.shape)).shape[0]
        self.homes: dict[str, Home] = {t.name: Home() for t in images}
        self.fronted: dict[str, gs.Tensor] = {}

    def rewrite(self) -> None:
        """All nodes."""
        for node in list(self.model.graph.nodes):
            computed = read(node)
            if not computed and (begun := self.begun(node)) is not None:
                self.homes[node.outputs[0].name] = begun
            homes = [home for t in computed if (home := self.homes.get(t.name)) is not None]
            if not homes or len(homes) < len(computed) or len(node.outputs) != 1 or node.outputs[0].shape is None:
                continue
            write = WRITE.get(node.op) if is_op(node, *WRITE) else None
            written = write(self.batch, node, homes) if write else None
            if written is not None:
                home, inputs, op, attrs = written
                self.homes[node.outputs[0].name] = home
                moves = node.op == "Transpose" and op != "Transpose"  # of one image it is a change of shape
                if moves or not home.leads or not all(self.homes[t.name].leads for t in computed):
                    self.put(node, home, inputs, op, attrs)
            elif write is None and all(home.leads and home == homes[0] for home in homes):
                self.homes[node.outputs[0].name] = homes[0]

        for output in self.model.graph.outputs:
            self.end(output)

    def end(self, output: gs.Tensor) -> None:
        """An output that has the batch elsewhere, as sequences (T, N, classes) have it, is turned at the end alone."""
        home, node = self.homes.get(output.name, Home()), producer(output)
        if home.axis == 0 or home.parts or output.name not in self.fronted or node is None:
            return
        perm = [*range(1, home.axis + 1), 0, *range(home.axis + 1, len(output.shape))]
        detach(node)
        moves = self.batch == 1  # of one image it is a change of shape
        attrs: dict[str, object] = {} if moves else {"perm": perm}
        put(self.model, "Reshape" if moves else "Transpose", attrs, [self.fronted[output.name]], output)

    def begun(self, node: gs.Node) -> Home | None:
        """Where the batch stands in what is made of constants: a class token for each image, what one image chose."""
        shape = node.outputs[0].shape if len(node.outputs) == 1 else None
        if is_op(node, "Expand", "Tile") and shape:
            before = [1] * (len(shape) - len(node.inputs[0].shape or ())) + list(node.inputs[0].shape or ())
            axes = [axis for axis, sizes in enumerate(zip(before, shape, strict=True)) if sizes == (1, self.batch)]
            return Home(axes[0]) if axes and (axes[0] == 0 or not isinstance(self.batch, int)) else None
        if self.batch != 1 or not shape or not is_op(node, "Gather") or len(node.inputs[1].shape or ()) != 1:
            return None
        if node.attrs.get("axis", 0) == 0:
            return Home(inner=shape[0]) if isinstance(shape[0], int) else None
        return Home() if shape[0] == 1 else None

    def put(self, node: gs.Node, home: Home, inputs: Sequence[gs.Tensor], op: str, attrs: dict[str, object]) -> None:
        """The node with the batch in front; where its result has it there, it takes the node's place."""
        result = node.outputs[0]
        sources = [self.front(t) if isinstance(t, gs.Variable) and t.name in self.homes else t for t in inputs]
        if not home.leads:
            put(self.model, op, attrs, sources, self.front(result))
            self.model.replaced[result.name] = self.fronted[result.name].name
            return
        detach(node)
        made = self.front(result, made=True)
        put(self.model, op, attrs, sources, made)
        if home.parts:
            put(self.model, "Reshape", {}, [made], result)

    def front(self, tensor: gs.Tensor, *, made: bool = False) -> gs.Tensor:
        """A tensor with the batch in front, alone on its axis."""
        home = self.homes[tensor.name]
        if home.leads and not home.parts:
            return tensor
        if tensor.name not in self.fronted:
            self.fronted[tensor.name] = self.seen(tensor, home)
            if home.leads and not made:
                put(self.model, "Reshape", {}, [tensor], self.fronted[tensor.name])
        return self.fronted[tensor.name]

    def seen(self, tensor: gs.Tensor, home: Home) -> gs.Variable:
        """The view of a tensor of the file that has the batch in front."""
        dims, axis = list(tensor.shape), home.axis
        before, after = (
            [*dims[:axis], *home.parts[: home.outer > 1]],
            [*home.parts[home.outer > 1 :], *dims[axis + 1 :]],
        )
        source = tensor
        if home.parts:
            apart = gs.Variable("", tensor.dtype, (*before, self.batch, *after))
            sizes = [size if isinstance(size, int) else -1 for size in apart.shape]
            name = fresh(self.model, f"{tensor.name}/apart")
            source = view(self.model, apart, name, "Reshape", tensor, np.array(sizes, np.int64))
        place = len(before)
        perm = [place, *(i for i in range(len(before) + 1 + len(after)) if i != place)]
        front = gs.Variable("", tensor.dtype, (self.batch, *before, *after))
        if perm == sorted(perm):
            return source
        return view(self.model, front, fresh(self.model, f"{tensor.name}/front"), "Transpose", source, perm=perm)
