"""What happens to the graph between PyTorch's exporter and the file: simplified, named, stripped."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir
from onnx_ir.passes import common as passes
from onnxscript import optimizer, rewriter
from onnxscript.rewriter.rules import common as rules

from relcam_onnx.errors import LayerError, nearest
from relcam_onnx.listing import layer_table

SCOPES = "pkg.torch.onnx.name_scopes"
_KEPT = (SCOPES, "namespace")

_TIDY = [
    rules.fuse_pad_into_conv_rule,
    rules.remove_optional_bias_from_conv_rule,
    rules.materialize_reshape_shape_rule,
    rules.squeeze_reshape_1d_rule,
]
_FOLD_BATCH_NORM = [
    rules.fuse_batchnorm_into_conv_rule,
    rules.fuse_batchnorm_into_conv_transpose_rule,
    rules.fuse_batchnorm_into_gemm_rule,
]


def simplify(model: ir.Model, *, fold_batch_norm: bool) -> None:
    """Rewrite a fresh export in place: constants folded, padding as attributes, no shape arithmetic.

    Batch norms go into the convolutions before them where ``fold_batch_norm`` says so; else weights stay raw.
    """
    optimizer.fold_constants(model)
    rewriter.rewrite(model, _TIDY)
    if fold_batch_norm:
        # A second round: a convolution that has just taken its padding in is not visited again in the same.
        rewriter.rewrite(model, _FOLD_BATCH_NORM)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    passes.RemoveUnusedNodesPass()(model)


def name_tensors(model: ir.Model) -> None:
    """Name the first output of each module's nodes by the module's dotted path.

    A module that makes one tensor, and hands that one on, gives it its path (``layer1.0.conv1``); all others number
    theirs in order (``layer1.0.relu#1``, ``layer1.0.relu#2``), so a bare path always means the module's output. Inputs,
    outputs and initializers keep their names.
    """
    graph = model.graph
    made: dict[str, list[ir.Value]] = defaultdict(list)
    for node in graph:
        if path := _path(node):
            made[path].append(node.outputs[0])
    kept = {value.name for value in (*graph.inputs, *graph.outputs, *graph.initializers.values())}
    names: dict[ir.Value, str] = {}
    for path, values in made.items():
        alone = len(values) == 1 and values[0] is _output_of(model, path) and path not in kept
        for number, value in enumerate(values, 1):
            if not value.is_graph_output():
                names[value] = path if alone else f"{path}#{number}"
    given = set(names.values())
    for node in graph:
        for value in node.outputs:
            if value in names:
                value.name = names[value]
            elif value.name in given and not value.is_graph_output():
                value.name = f"{value.name}_"
    passes.NameFixPass()(model)


def expose(model: ir.Model, paths: Iterable[str]) -> None:
    """Make the outputs of modules outputs of the graph, each tensor renamed to its module's dotted path.

    Raises
    ------
    LayerError
        A path names no module of the graph, or two names mean one tensor.
    """
    for path in paths:
        value = _output_of(model, path)
        if value.is_graph_output():
            raise LayerError(f"activation {path!r} is already the output {value.name!r}: name each tensor once")
        value.name = path
        model.graph.outputs.append(value)
    # A tensor that happened to have such a name gives way to the output.
    passes.NameFixPass()(model)


def expose_stages(model: ir.Model) -> None:
    """Make the tensors of all stages outputs of the graph, named by their strides or depths.

    Raises
    ------
    LayerError
        A stage is no tensor of the file.
    """
    found = {layer.tensor: layer.stage for layer in layer_table(ir.to_proto(model)) if layer.stage}
    values = {value.name: value for node in model.graph for value in node.outputs}
    for tensor, stage in found.items():
        if tensor not in values:
            raise LayerError(f"stage {stage} is {tensor!r}, which the file does not have; name modules instead")
        if not values[tensor].is_graph_output():
            values[tensor].name = stage
            model.graph.outputs.append(values[tensor])
    passes.NameFixPass()(model)


def module_outputs(model: ir.Model) -> dict[str, str]:
    """Module path -> the tensor that leaves the module, for all that make nodes, in the order of the graph."""
    found: dict[str, str] = {}
    for node in model.graph:
        path = _path(node)
        if path and path not in found:
            try:
                found[path] = str(_output_of(model, path).name)
            except LayerError:  # nothing outside reads what it makes
                continue
    return found


def scopes(model: ir.Model) -> dict[str, str]:
    """Tensor name (a node's first output) -> dotted path of the module whose node makes it."""
    paths = ((node.outputs[0].name, _path(node)) for node in model.graph)
    return {name: path for name, path in paths if name and path}


def strip(model: ir.Model, metadata: Mapping[str, str]) -> None:
    """Leave only what a reader of the file needs, no stack traces or file names; add ``metadata``."""
    for holder in _holders(model):
        kept = {key: value for key, value in holder.metadata_props.items() if key in _KEPT}
        holder.metadata_props.clear()
        holder.metadata_props.update(kept)
        holder.doc_string = None
    model.metadata_props.update(metadata)


def _holders(model: ir.Model) -> Iterable[ir.Model | ir.Graph | ir.Node | ir.Value]:
    """Everything in the file that can hold metadata."""
    yield model
    yield model.graph
    yield from model.graph.inputs
    yield from model.graph.initializers.values()
    for node in model.graph:
        yield node
        yield from node.outputs


def _path(node: ir.Node) -> str:
    """Give the dotted path of the module that a node stands in; empty at the root.

    PyTorch's list runs from the root's empty name over each module to the operator's own.
    """
    names: Sequence[str] = ast.literal_eval(node.metadata_props.get(SCOPES, "[]"))
    return names[-2] if len(names) > 1 and names[0] == "" else ""


def _output_of(model: ir.Model, path: str) -> ir.Value:
    """Find the tensor that leaves a module last: made inside, read outside."""
    inside = [node for node in model.graph if f"{_path(node)}.".startswith(f"{path}.")]
    members = set(inside)
    for node in reversed(inside):
        for value in node.outputs:
            if value.is_graph_output() or any(user not in members for user in value.consumers()):
                return value
    parts = [tuple(scope.split(".")) for scope in scopes(model).values()]
    known = dict.fromkeys(".".join(names[:end]) for names in parts for end in range(1, len(names) + 1))
    raise LayerError(f"no module {path!r} leaves a tensor in the graph{nearest(path, known)}")
