"""Module paths: which PyTorch module made which tensor, and which tensor is its output, as far as an ONNX file tells.

Three conventions are read, the later ones winning: the node names of PyTorch's older exporter, the metadata
that the newer one (``dynamo=True``) writes on each node, and ``relcam.scopes`` in the model's metadata. What was put
before all names of the older one (``onnx.compose.add_prefix``) is no part of them.
"""

from __future__ import annotations

import ast
import json
import re
from collections import defaultdict
from collections.abc import Mapping

import onnx

from relcam_onnx.errors import ModelFileError
from relcam_onnx.model import Model

Scope = tuple[str, ...]  # the parts of an older exporter's node name, without the op: ("layer1", "layer1.0", "conv1")


ROUNDING = ("QuantizeLinear", "DequantizeLinear")
STORED = ("Identity", *ROUNDING)
"""What stands between a parameter and its readers: equal ones are shared by Identity, quantised ones are scaled."""


def read_scopes(graph: onnx.GraphProto, metadata: Mapping[str, str]) -> dict[str, str]:
    """Map tensors to the dotted path of the innermost module whose node makes them.

    Parameters
    ----------
    graph
        The file's graph, before tools drop the nodes' metadata.
    metadata
        The model's metadata; its ``relcam.scopes`` is a JSON object {tensor: path}.

    Returns
    -------
    dict[str, str]
        Tensor name -> path such as ``layer1.0.relu``, as in ``named_modules()``. Tensors that the outermost
        module makes itself, and constants, have no entry. A convolution into which the older exporter folded
        a batch norm counts as its parent's: it holds the batch norm's value, and the file does not name that.

    Raises
    ------
    ModelFileError
        ``relcam.scopes`` is no JSON object of strings. (Malformed metadata of nodes is passed over.)
    """
    prefix = _prefix(graph)
    named = _from_names(graph, prefix)
    scopes = {}
    for node in graph.node:
        if node.op_type in ROUNDING:
            continue
        recorded = _recorded({entry.key: entry.value for entry in node.metadata_props})
        for tensor in filter(None, node.output):
            path = recorded or named.get(_maker(tensor, node, prefix))
            if path and node.op_type != "Constant":
                scopes[tensor] = path
    return scopes | _declared(metadata.get("relcam.scopes", "{}"))


def _declared(text: str) -> dict[str, str]:
    """Parse ``relcam.scopes``."""
    try:
        scopes = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(
            f"its metadata 'relcam.scopes' is no JSON ({error}); write it again or remove it"
        ) from error
    if not isinstance(scopes, dict) or not all(isinstance(path, str) for path in scopes.values()):
        raise ModelFileError(
            "its metadata 'relcam.scopes' is no JSON object {tensor: path}; write it again or remove it"
        )
    return scopes


def _recorded(metadata: Mapping[str, str]) -> str:
    """Read the module path that the newer exporter wrote on a node; empty where there is none."""
    try:
        scopes = ast.literal_eval(metadata.get("pkg.torch.onnx.name_scopes", ""))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        # "path: class" for each module, outermost first, then the op
        scopes = [entry.rpartition(": ")[0] for entry in metadata.get("namespace", "").split("/")]
    if not isinstance(scopes, list) or len(scopes) < 2 or not isinstance(scopes[-2], str):
        return ""
    return re.sub(r"@\d+", "", scopes[-2])  # "relu@1" is the second call of relu


def _prefix(graph: onnx.GraphProto) -> str:
    """What stands before the ``/`` that the older exporter begins with, in the names of all nodes that it names."""
    found = set()
    for node in graph.node:
        if "/" in node.name and any(tensor.startswith(f"{node.name}_output_") for tensor in node.output):
            before, slashes, _ = node.name.rpartition("//")
            found.add(f"{before}/" if slashes else node.name.partition("/")[0])
    return found.pop() if len(found) == 1 else ""


def _from_names(graph: onnx.GraphProto, prefix: str) -> dict[str, str]:
    """Name of a node -> module path, from names such as ``/layer1/layer1.0/relu_1/Relu`` behind a prefix.

    Nodes that an optimiser or quantiser took out live on in the names of the tensors that they made.
    """
    parameters = {tensor.name for tensor in graph.initializer}
    calls: dict[Scope, set[str]] = {}  # each scope and those around it -> the parameters read inside
    scopes: dict[str, tuple[Scope, set[str]]] = {}
    for node in graph.node:
        if node.op_type in STORED and parameters.issuperset(node.input):
            parameters.update(node.output)
        if node.op_type in ROUNDING:
            continue  # it is named after a tensor of the module, but is no part of it
        gone = [maker for tensor in node.output if (maker := _maker(tensor, node, prefix)) != node.name]
        for name, own in ((node.name, parameters.intersection(node.input)), *((maker, set()) for maker in gone)):
            root, *parts = name.removeprefix(prefix).split("/")
            if root or not all(parts):
                continue
            scope = tuple(parts[:-2] if name == node.name and _holds_batch_norm(node, prefix) else parts[:-1])
            scopes[name] = scope, own
            for depth in range(1, len(scope) + 1):
                calls.setdefault(scope[:depth], set()).update(own)
    return {name: _path(scope, own, calls) for name, (scope, own) in scopes.items()}


def _maker(tensor: str, node: onnx.NodeProto, prefix: str) -> str:
    """The name of the node that the older exporter had make a tensor, which it calls ``<node>_output_0``."""
    maker, mark, number = tensor.rpartition("_output_")
    return maker if mark and maker.startswith(f"{prefix}/") and number.isdigit() else node.name


def _holds_batch_norm(node: onnx.NodeProto, prefix: str) -> bool:
    """Tell whether the exporter folded into a convolution: its weight is then no parameter of a module."""
    folded = f"{prefix}onnx::Conv"
    return node.op_type in ("Conv", "ConvTranspose") and any(i.startswith(folded) for i in node.input[1:2])


def _path(scope: Scope, own: set[str], calls: Mapping[Scope, set[str]]) -> str:
    """Join the parts of a node's scope to a dotted path.

    A part either repeats the one before and goes on (``layer1``, ``layer1.0``) or is a name inside it. The
    second call of a module has ``_1`` after its name, the third ``_2``; a sibling whose own name ends so is
    told from it by parameters that the first call does not read: the node's ``own``, else its scope's.
    """
    path, parts = "", [""]
    for depth, part in enumerate(scope):
        first, _, call = part.rpartition("_")
        before = calls.get((*parts[1:], first))
        again = call.isdigit() and before is not None and (own or calls[scope[: depth + 1]]) <= before
        name = first if again else part
        inside = name.removeprefix(f"{parts[-1]}.")
        path = f"{path}.{inside}" if path else inside
        parts.append(name)
    return path


def module_outputs(model: Model) -> dict[str, str]:
    """Module path -> the tensor that the module's last call hands on, for every module that the file tells of.

    A module's output is the last tensor made inside it that something outside reads: another module, or the model's
    outputs.
    """
    readers: dict[str, list[str | None]] = defaultdict(list)
    for node in model.proto.graph.node:
        inside = next((model.scopes[name] for name in node.output if name in model.scopes), "")
        for name in node.input:
            readers[name].append(inside)
    for output in model.proto.graph.output:
        readers[output.name].append(None)
    outputs: dict[str, str] = {}
    for node in model.proto.graph.node:
        for tensor in node.output:
            path = model.scopes.get(tensor, "")
            while path:
                if any(reader is None or not within(reader, path) for reader in readers[tensor]):
                    outputs[path] = tensor
                path = path.rpartition(".")[0]
    return outputs


def within(path: str, module: str) -> bool:
    """Whether a path is a module or lies inside it."""
    return path == module or path.startswith(f"{module}.")
