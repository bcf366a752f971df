"""What ``relcam compile`` and ``relcam expose`` do: a model made of another one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from relcam_onnx.cli.console import tell
from relcam_onnx.compiling.compile import compile_model
from relcam_onnx.errors import OptionError
from relcam_onnx.exposing import expose
from relcam_onnx.files import cannot_write, make_folder, target_of
from relcam_onnx.onnx_file.store import write_model


def compile_file(model: Path, out: Path | None, *, triton: Path | None, heatmap: bool, options: dict[str, Any]) -> None:
    """Compile a model into a file, or into a model repository of Triton, and print what it holds.

    Parameters
    ----------
    model, out, triton, heatmap
        As on the command line.
    options
        Of `compile_model`.

    Raises
    ------
    RelcamError
        The model or an option is at fault, or the file cannot be written.
    """
    if out is None and triton is None:
        raise OptionError("nothing says where to write: give -o FILE, --triton REPO, or both")
    if out is not None:
        target_of(out)  # refuses what is no file before the work
        check_other(model, out)
    proto = compile_model(model, heatmap=heatmap, **options)
    if out is not None:
        written(proto, out)
    if triton is not None:
        # Only this needs onnxruntime.
        from relcam_onnx.compiling.triton import write_triton  # noqa: PLC0415

        tell(f"{write_triton(proto, triton, model.stem)}: a model for Triton")


def expose_file(model: Path, out: Path, layers: Sequence[str], output: str | None) -> None:
    """Add layers' activations to a model's outputs and print what it returns; errors as in `compile_file`."""
    target_of(out)
    check_other(model, out)
    written(expose(model, layers, output), out)


def check_other(model: Path, out: Path) -> None:
    """Refuse to write a file over the one that it is made of."""
    if out.resolve() == model.resolve():
        raise OptionError(f"{str(out)!r} is the model itself, which would be lost; give -o another name")


def written(proto: onnx.ModelProto, out: Path) -> None:
    """Write a model and tell its outputs."""
    make_folder(out.parent)
    try:
        files = write_model(proto, out)
    except OSError as error:
        raise OptionError(cannot_write(out, error)) from error
    size = sum(file.stat().st_size for file in files) / 1e6
    names = ", ".join(output.name for output in proto.graph.output)
    tell(f"{' and '.join(map(str, files))}: {size:.1f} MB, outputs {names}")
