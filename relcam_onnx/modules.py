"""Module paths as layer names: which tensor is the output of which PyTorch module."""

from __future__ import annotations

from collections import defaultdict

from relcam_onnx.graph import Model


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
    found: dict[str, str] = {}
    for node in model.proto.graph.node:
        for tensor in node.output:
            path = model.scopes.get(tensor, "")
            while path:
                if any(reader is None or not within(reader, path) for reader in readers[tensor]):
                    found[path] = tensor
                path = path.rpartition(".")[0]
    return found


def within(path: str, module: str) -> bool:
    """Whether a path is a module or lies inside it."""
    return path == module or path.startswith(f"{module}.")
