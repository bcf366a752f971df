"""`expose`: activations of somebody else's file as outputs of it."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

import onnx

from relcam_onnx.analysis.layers import Layers
from relcam_onnx.analysis.paths import Paths
from relcam_onnx.analysis.scores import find_scores
from relcam_onnx.canon import canonicalise
from relcam_onnx.errors import LayerError, as_texts
from relcam_onnx.onnx_file.load import load
from relcam_onnx.onnx_file.weights import whole


def expose(
    model: str | PathLike[str] | bytes | onnx.ModelProto, layers: str | Sequence[str], output: str | None = None
) -> onnx.ModelProto:
    """A model that returns the activations of layers too.

    Parameters
    ----------
    model
        A path, bytes or a model.
    layers
        As in `Explainer`: "stages", module paths, tensors, nodes. Each output has the name that was asked for, those of
        stages their strides'; its values are the tensor's, in the tensor's shape.
    output
        Which output holds the scores, where there are several; stages are found from there.

    Returns
    -------
    onnx.ModelProto
        The file, raised to the working opset as for explaining; what it returned it still returns.

    Raises
    ------
    LayerError
        There is no such layer, or its value stands nowhere in the file.
    """
    loaded = load(model)
    canonicalise(loaded, batch_norm=False, output=output)
    found = Layers(loaded, Paths(loaded, find_scores(loaded, output).tensor))
    proto = onnx.ModelProto()
    proto.CopyFrom(loaded.proto)
    made = {name for node in proto.graph.node for name in node.output} | {value.name for value in proto.graph.input}
    given = {value.name for value in proto.graph.output}
    for asked in as_texts("layers", layers):
        if not (resolved := found.resolve(asked)):
            raise LayerError(f"{asked!r} is a map of several layers, no tensor of the file; ask for 'stages'")
        for layer in resolved:
            tensor = layer.tensor
            if tensor.name not in made:
                raise LayerError(
                    f"{layer.name!r} is no tensor of the file, only what some amount to; `relcam layers` has others"
                )
            if layer.name in given:
                continue
            given.add(layer.name)
            if layer.name != tensor.name:
                if layer.name in made:
                    raise LayerError(f"{layer.name!r} names another tensor of the file; ask for {tensor.name!r}")
                proto.graph.node.append(onnx.helper.make_node("Identity", [tensor.name], [layer.name], layer.name))
            kind = onnx.helper.np_dtype_to_tensor_dtype(tensor.dtype)
            proto.graph.output.append(onnx.helper.make_tensor_value_info(layer.name, kind, tensor.shape))
    return whole(proto, loaded.weights)
