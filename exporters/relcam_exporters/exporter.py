"""Export: from a PyTorch module to a checked ONNX file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import onnx
import onnx_ir as ir
import torch

from relcam_exporters.graph import expose, expose_stages, module_outputs, name_tensors, scopes, simplify, strip
from relcam_exporters.precision import halved, quantised
from relcam_exporters.report import ExportReport
from relcam_exporters.trace import AXES, Exporter, compare, first_to_depart, pictures, trace
from relcam_onnx import __version__
from relcam_onnx.errors import OptionError, UnsupportedModelError, nearest
from relcam_onnx.files import reason, whole
from relcam_onnx.pictures.preprocess import Preprocess

BatchNorm = Literal["fused", "unfused"]

TOLERANCE = 1e-3
"""The largest difference from PyTorch that an export may have, as a share of the largest score."""
STAGES = "stages"

OPSETS: dict[Exporter, range] = {
    "dynamo": range(18, onnx.defs.onnx_opset_version() + 1),
    "torchscript": range(9, 21),
}
"""What each of PyTorch's exporters writes."""


def export(
    module: torch.nn.Module,
    example: torch.Tensor,
    path: str | os.PathLike[str],
    *,
    quantize: Sequence[str] = (),
    **options: Any,
) -> ExportReport:
    """Write any module that takes one (N, C, H, W) tensor and returns one tensor of scores.

    Parameters
    ----------
    module
        Exported in evaluation mode; its own mode is put back.
    example
        Of the shape and dtype that the module takes; its values do not matter. An axis that stays open needs
        a size of at least 2 here.
    path
        The file to write; written whole or not at all.
    quantize
        Pictures, folders or wildcards that int8 activations are calibrated on: onnxruntime's static quantisation, QDQ,
        weights per channel. () for none.
    options
        As in `to_onnx`; so are the errors.
    """
    content, difference, largest = made(module, example, **options)
    if quantize:
        content = quantised(content, quantize)
    write(Path(path), content)
    model = onnx.load_from_string(content)
    return ExportReport(
        path=Path(path),
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        inputs=shapes(model.graph.input),
        outputs=shapes(model.graph.output),
        nodes=len(model.graph.node),
        difference=difference,
        largest=largest,
    )


def to_onnx(module: torch.nn.Module, example: torch.Tensor, **options: Any) -> onnx.ModelProto:
    """The same in memory: ``rc.explain(to_onnx(net, example), "cat.jpg")``.

    Tensors are named by the modules that make them: ``layer1.0.conv1``, or ``layer1.0.relu#1``, ``layer1.0.relu#2``
    where a module makes several. The same arguments and versions give the same bytes.

    Parameters
    ----------
    module, example
        As in `export`.
    preprocess
        Written as ``relcam.preprocess``: a `relcam_onnx.pictures.preprocess.Preprocess` or its fields.
    labels
        Written as ``relcam.labels``, in the order of the scores.
    dynamic
        Which axes to leave open: any of "batch" (the default), "height", "width".
    batch_norm
        "fused" folds batch norms into the convolutions before them, "unfused" keeps them and the raw weights.
    activations
        Dotted module paths ("layer4", "features.43") whose outputs become outputs of the file, named so; "stages" for
        those of all stages, named by their strides.
    exporter
        "dynamo", PyTorch's exporter over `torch.export`, or "torchscript", the older one.
    opset
        Of the file: 18 or newer, 9 to 20 by the older exporter.
    half
        Weights and activations in float16; the input and the scores stay float32.
    source
        Written into ``relcam.source`` beside the versions: what was exported, and of which library.

    Raises
    ------
    OptionError
        An argument has a value that does not exist or does not fit.
    LayerError
        An activation names no module.
    UnsupportedModelError
        PyTorch cannot export the module so, or what it wrote departs from what it computes.
    """
    return onnx.load_from_string(made(module, example, **options)[0])


def made(
    module: torch.nn.Module,
    example: torch.Tensor,
    *,
    preprocess: Preprocess | Mapping[str, Any] | None = None,
    labels: Sequence[str] | None = None,
    dynamic: Sequence[str] = ("batch",),
    batch_norm: BatchNorm = "fused",
    activations: Sequence[str] = (),
    exporter: Exporter = "dynamo",
    opset: int = 18,
    half: bool = False,
    source: Mapping[str, str] | None = None,
) -> tuple[bytes, float, float]:
    """A checked file, its largest difference from PyTorch, and the largest score; see `to_onnx`."""
    one_of("batch_norm", batch_norm, get_args(BatchNorm))
    one_of("exporter", exporter, OPSETS)
    one_of("opset", opset, OPSETS[exporter])
    for axis in dynamic:
        one_of("dynamic", axis, AXES)
    if preprocess is not None and not isinstance(preprocess, Preprocess):
        preprocess = Preprocess.from_dict(preprocess)

    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        model = trace(module, example, dynamic, opset, exporter)
        simplify(model, fold_batch_norm=batch_norm == "fused")
        name_tensors(model)
        expose(model, [path for path in activations if path != STAGES])
        if STAGES in activations:
            expose_stages(model)
        metadata = {
            "relcam.scopes": json.dumps(scopes(model)),
            "relcam.source": json.dumps({
                "model": type(module).__qualname__, **(source or {}),
                "exporter": exporter, "torch": torch.__version__, "relcam-onnx": __version__,
            }),
        }  # fmt: skip
        if preprocess is not None:
            metadata["relcam.preprocess"] = preprocess.to_json()
        if labels is not None:
            metadata["relcam.labels"] = json.dumps(list(labels))
        strip(model, metadata)
        content = ir.to_proto(model).SerializeToString(deterministic=True)
        difference, largest = checked(content, model, module, example, dynamic)
    finally:
        for part, training in modes.items():
            part.training = training
    return halved(content) if half else content, difference, largest


def checked(
    content: bytes, model: ir.Model, module: torch.nn.Module, example: torch.Tensor, dynamic: Sequence[str]
) -> tuple[float, float]:
    """The largest difference from PyTorch on several batches, and the largest score.

    Raises
    ------
    UnsupportedModelError
        The scores depart from PyTorch's; the message names the first module whose output does.
    """
    found = []
    for x in pictures(example, dynamic):
        difference, largest = compare(content, module, x)
        if not difference <= TOLERANCE * largest:  # so that NaN fails too
            layer = first_to_depart(content, module_outputs(model), module, x, TOLERANCE)
            where = f"; the first module whose output does is {layer!r}" if layer else ""
            raise UnsupportedModelError(
                f"the exported scores differ from PyTorch's by {difference:.2g} where the largest is {largest:.2g}, "
                f"and {TOLERANCE:.0e} of that is allowed: nothing was written{where}"
            )
        found.append((difference, largest))
    return max(one for one, _ in found), max(other for _, other in found)


def one_of(option: str, value: object, known: Collection[object]) -> None:
    """Raise `OptionError` unless a value is among those that there are."""
    if value not in known:
        choices = [str(choice) for choice in known]
        raise OptionError(f"{option}: {value!r} is none of {', '.join(choices)}{nearest(str(value), choices)}")


def shapes(values: Sequence[onnx.ValueInfoProto]) -> dict[str, tuple[int | str, ...]]:
    """Name -> sizes."""

    def sizes(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
        dims = value.type.tensor_type.shape.dim
        return tuple(d.dim_value if d.HasField("dim_value") else d.dim_param for d in dims)

    return {value.name: sizes(value) for value in values}


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    try:
        with whole(path) as file:
            file.write(content)
    except OSError as error:
        raise OptionError(f"{path} cannot be written: {reason(error)}") from error
