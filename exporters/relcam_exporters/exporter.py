"""Export: from a PyTorch module to a checked ONNX file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import onnx
import onnx_ir as ir
import torch

from relcam_exporters.graph import expose, name_tensors, scopes, simplify, strip
from relcam_exporters.report import ExportReport
from relcam_exporters.trace import AXES, compare, trace
from relcam_exporters.zoo import architecture
from relcam_onnx.errors import OptionError, UnsupportedModelError, nearest
from relcam_onnx.pictures.preprocess import Preprocess

BatchNorm = Literal["fused", "unfused"]

TOLERANCE = 1e-3
"""The largest difference from PyTorch that an export may have, as a share of the largest score."""

OPSETS = range(18, onnx.defs.onnx_opset_version() + 1)


def export(
    arch: str,
    path: str | os.PathLike[str],
    *,
    size: int | tuple[int, int] | None = None,
    dynamic: bool = True,
    batch_norm: BatchNorm = "fused",
    activations: Sequence[str] = (),
    weights: str | os.PathLike[str] | None = "default",
    seed: int = 0,
    opset: int = 18,
) -> ExportReport:
    """Write a network by name, with its preprocessing and the ImageNet labels.

    Tensors are named by the modules that make them: ``layer1.0.conv1``, or ``layer1.0.relu#1``, ``layer1.0.relu#2``
    where a module makes several. The same arguments and versions give the same bytes.

    Parameters
    ----------
    arch
        One of `relcam_exporters.architectures`.
    path
        The file to write; written whole or not at all.
    size
        Height and width in pixels, one number for both; None: the size that the weights were trained with.
    dynamic
        Leave the batch open and, where the network allows it (no VGG does), height and width; else the file
        takes one picture of ``size``.
    batch_norm
        "fused" folds batch norms into the convolutions before them, "unfused" keeps them and the raw weights.
    activations
        Dotted module paths ("layer4", "features.43") whose outputs become outputs of the file, named so.
    weights
        "default" for the published ImageNet weights, the path of a state dict, or None for random weights.
    seed
        Of the random weights.
    opset
        Of the file, 18 or newer.

    Raises
    ------
    OptionError
        An argument has a value that does not exist or does not fit, the weights cannot be had, or the file
        cannot be written.
    LayerError
        An activation names no module.
    UnsupportedModelError
        PyTorch cannot export the network so, or the file's scores differ from PyTorch's; nothing is written.
    """
    found = architecture(arch)
    preprocess = found.sized(size)
    assert preprocess.size is not None
    every_axis = tuple(AXES) if found.any_size else ("batch",)
    return export_module(
        found.module(weights, seed),
        path,
        example_input=torch.zeros(2 if dynamic else 1, 3, *preprocess.size),
        preprocess=preprocess,
        labels=found.labels,
        dynamic=every_axis if dynamic else (),
        batch_norm=batch_norm,
        activations=activations,
        opset=opset,
    )


def export_module(
    module: torch.nn.Module,
    path: str | os.PathLike[str],
    *,
    example_input: torch.Tensor,
    preprocess: Preprocess | Mapping[str, Any] | None = None,
    labels: Sequence[str] | None = None,
    dynamic: Sequence[str] = ("batch",),
    batch_norm: BatchNorm = "fused",
    activations: Sequence[str] = (),
    opset: int = 18,
) -> ExportReport:
    """Write any module that takes one (N, C, H, W) tensor and returns one tensor of scores.

    Parameters
    ----------
    module
        Exported in evaluation mode; its own mode is put back.
    example_input
        Of the shape and dtype that the module takes; its values do not matter. An axis that stays open needs
        a size of at least 2 here.
    preprocess
        Written as ``relcam.preprocess``: a `relcam_onnx.pictures.preprocess.Preprocess` or its fields.
    labels
        Written as ``relcam.labels``, in the order of the scores.
    dynamic
        Which axes to leave open: any of "batch", "height", "width".
    path, batch_norm, activations, opset
        As in `export`; so are the errors.
    """
    _one_of("batch_norm", batch_norm, ("fused", "unfused"))
    _one_of("opset", opset, OPSETS)
    for axis in dynamic:
        _one_of("dynamic", axis, AXES)
    if preprocess is not None and not isinstance(preprocess, Preprocess):
        preprocess = Preprocess.from_dict(preprocess)

    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        model = trace(module, example_input, dynamic, opset)
        simplify(model, fold_batch_norm=batch_norm == "fused")
        name_tensors(model)
        expose(model, activations)
        metadata = {"relcam.scopes": json.dumps(scopes(model))}
        if preprocess is not None:
            metadata["relcam.preprocess"] = preprocess.to_json()
        if labels is not None:
            metadata["relcam.labels"] = json.dumps(list(labels))
        strip(model, metadata)
        content = ir.to_proto(model).SerializeToString(deterministic=True)
        difference, largest = compare(content, module, example_input, dynamic)
    finally:
        for part, training in modes.items():
            part.training = training
    if not difference <= TOLERANCE * largest:  # so that NaN fails too
        raise UnsupportedModelError(
            f"the exported scores differ from PyTorch's by {difference:.2g} where the largest is "
            f"{largest:.2g}, and {TOLERANCE:.0e} of that is allowed: {os.fspath(path)} was not written"
        )
    _write(Path(path), content)
    return ExportReport(
        path=Path(path),
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        inputs=_shapes(model.graph.inputs),
        outputs=_shapes(model.graph.outputs),
        nodes=len(model.graph),
        difference=difference,
        largest=largest,
    )


def _one_of(option: str, value: object, known: Collection[object]) -> None:
    if value not in known:
        choices = [str(choice) for choice in known]
        raise OptionError(f"{option}: {value!r} is none of {', '.join(choices)}{nearest(str(value), choices)}")


def _shapes(values: Sequence[ir.Value]) -> dict[str, tuple[int | str, ...]]:
    return {
        str(value.name): tuple(dim if isinstance(dim, int) else str(dim.value) for dim in value.shape or ())
        for value in values
    }


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OptionError(f"{path} cannot be written: {error.strerror}") from error
