"""The commands around explaining: auditing, exporting. As in `commands`, what they run is imported when they run."""

# ruff: noqa: PLC0415 - see above
from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from relcam_onnx.cli.commands import app
from relcam_onnx.cli.console import Command, reporting
from relcam_onnx.cli.options import (
    Debug,
    Head,
    LabelsFile,
    Layer,
    Method,
    Model,
    Output,
    Pictures,
    Preprocess,
    Preset,
    Seed,
    chosen,
)

__all__ = ["app"]


class BatchNorm(StrEnum):
    """What `relcam export` does with batch normalisation."""

    FUSED = "fused"
    UNFUSED = "unfused"


class Exporter(StrEnum):
    """PyTorch's exporters: over `torch.export`, and over TorchScript."""

    DYNAMO = "dynamo"
    TORCHSCRIPT = "torchscript"


@app.command(cls=Command)
def audit(
    model: Model,
    sources: Pictures,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The folder of the report.", metavar="FOLDER", show_default=False)
    ],
    reference: Annotated[
        Path | None,
        typer.Option(help="Another file of the model, or a folder that relcam explain wrote.", metavar="PATH"),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(help="CSV with file and index (or label). Default: subfolders, else top classes.", metavar="FILE"),
    ] = None,
    boxes: Annotated[Path | None, typer.Option(help="Where objects are: COCO's JSON.", metavar="FILE")] = None,
    masks: Annotated[
        Path | None, typer.Option(help="The same as pictures of the same names, white inside.", metavar="FOLDER")
    ] = None,
    like: Annotated[
        list[Path] | None,
        typer.Option(help="A picture that an embedding's are to be like; repeatable.", metavar="PICTURE"),
    ] = None,
    full: Annotated[bool, typer.Option("--full/--quick", help="Many more figures, beside other methods.")] = False,
    fail_under: Annotated[
        list[str] | None, typer.Option(help="End with 1 where a mean is less; repeatable.", metavar="MEASURE=NUMBER")
    ] = None,
    fail_over: Annotated[
        list[str] | None, typer.Option(help="The same where it is more.", metavar="MEASURE=NUMBER")
    ] = None,
    thresholds: Annotated[
        Path | None, typer.Option(help="Both in TOML: tables fail-under and fail-over.", metavar="FILE")
    ] = None,
    layer: Layer = None,
    method: Method = None,
    preset: Preset = None,
    seed: Seed = None,
    output: Output = None,
    head: Head = None,
    labels: LabelsFile = None,
    preprocess: Preprocess = None,
    random_state: Annotated[int, typer.Option(min=0, help="What every random choice is drawn by.", metavar="N")] = 0,
    debug: Debug = False,
) -> None:
    """Ask whether an exported model, and its explanation, can be trusted: a report to file and to gate on.

    In the folder: report.html, report.json, metrics.csv, junit.xml. Needs the audit extra.
    """
    # NumPy's BLAS reads it when it is loaded: its threads would go on spinning beside onnxruntime's.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with reporting(debug=debug):
        from relcam_onnx.audit.run import Request
        from relcam_onnx.audit.thresholds import read_thresholds
        from relcam_onnx.cli.auditing import audit_model

        options = chosen(layers=layer, method=method, preset=preset, seed=seed, output=output, head=head)
        request = Request(
            model,
            sources,
            out,
            reference=reference,
            classes=classes,
            boxes=boxes,
            masks=masks,
            like=tuple(like or ()),
            extent="full" if full else "quick",
            preprocess=preprocess,
            labels=labels,
            random_state=random_state,
            thresholds=read_thresholds(fail_under or (), fail_over or (), thresholds),
            options=options,
        )
        raise typer.Exit(audit_model(request))


@app.command(cls=Command)
def export(
    arch: Annotated[
        str,
        typer.Argument(help="resnet50, timm:NAME, package.module:callable, ...", metavar="ARCH", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The ONNX file to write.", metavar="FILE", show_default=False)
    ],
    size: Annotated[
        tuple[int, int] | None, typer.Option(help="Height and width. Default: as trained.", metavar="H W")
    ] = None,
    fixed: Annotated[bool, typer.Option("--fixed", help="Fix the batch at 1, and the size.")] = False,
    batch_norm: Annotated[
        BatchNorm, typer.Option(help="Fold it into the convolutions, or keep it.", metavar="fused|unfused")
    ] = BatchNorm.FUSED,
    activation: Annotated[
        list[str] | None,
        typer.Option(help="A module, or stages, to make an output; repeatable.", metavar="MODULE|stages"),
    ] = None,
    weights: Annotated[
        str, typer.Option(help="default, random, or a state dict's path (.safetensors too).", metavar="NAME|FILE")
    ] = "default",
    seed: Annotated[int, typer.Option(help="Of random weights.", metavar="N")] = 0,
    exporter: Annotated[
        Exporter, typer.Option(help="Which of PyTorch's exporters.", metavar="dynamo|torchscript")
    ] = Exporter.DYNAMO,
    opset: Annotated[int, typer.Option(help="Of the file.", metavar="N")] = 18,
    half: Annotated[bool, typer.Option("--half", help="In float16.")] = False,
    quantize: Annotated[
        list[str] | None,
        typer.Option(help="In int8, calibrated on these pictures; repeatable.", metavar="IMAGE|DIR|GLOB"),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a PyTorch network as ONNX, with module paths, preprocessing and labels (needs the export extra)."""
    with reporting(debug=debug):
        from relcam_exporters.cli import run_export

        run_export(
            arch,
            out,
            size=size,
            dynamic=not fixed,
            batch_norm=batch_norm.value,
            activations=activation or (),
            weights=weights,
            seed=seed,
            exporter=exporter.value,
            opset=opset,
            half=half,
            quantize=quantize or (),
        )


@app.command("expose", cls=Command)
def expose_(
    model: Model,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The ONNX file to write.", metavar="FILE", show_default=False)
    ],
    layer: Layer = None,
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Make activations of any ONNX file outputs of it; --layer names them, all stages otherwise."""
    with reporting(debug=debug):
        from relcam_onnx.cli.compiling import expose_file

        expose_file(model, out, layer or ("stages",), output)


@app.command(cls=Command)
def web(
    model: Model,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The folder of the site.", metavar="SITE", show_default=False)
    ],
    layer: Layer = None,
    method: Method = None,
    preset: Preset = None,
    seed: Seed = None,
    output: Output = None,
    head: Head = None,
    labels: LabelsFile = None,
    preprocess: Preprocess = None,
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(
            help="Height and width of the model's input. Default: what the preprocessing says.", metavar="H W"
        ),
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(help="An unpacked onnxruntime-web. Default: from npm's registry, once.", metavar="FOLDER"),
    ] = None,
    webgpu: Annotated[
        bool, typer.Option("--webgpu", help="Also the runtime for browsers with WebGPU: 17 MB more.")
    ] = False,
    title: Annotated[
        str | None, typer.Option(help="What the page calls the model. Default: the file's name.", metavar="TEXT")
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a static page that explains pictures in the browser; they never leave it."""
    with reporting(debug=debug):
        from relcam_onnx.cli.publishing import publish

        options = chosen(
            layers=layer,
            method=method,
            preset=preset,
            seed=seed,
            output=output,
            head=head,
            labels=labels,
            preprocess=preprocess,
            size=size,
            runtime=runtime,
            webgpu=webgpu,
            title=title,
        )
        publish(model, out, options)
