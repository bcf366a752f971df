"""The commands and their options. What they run is imported when they run, so that ``--help`` is quick."""

# ruff: noqa: PLC0415 - see above
from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from relcam_onnx import __version__
from relcam_onnx.cli.completing import FORMATS, among
from relcam_onnx.cli.console import Command, Commands, reporting
from relcam_onnx.cli.options import (
    Backend,
    BatchSize,
    Cache,
    Debug,
    Exact,
    Head,
    Inputs,
    LabelsFile,
    Layer,
    Like,
    MaskRule,
    MaxPixels,
    MaxTargets,
    Method,
    Model,
    Output,
    Preprocess,
    Preset,
    Provider,
    RandomState,
    Samples,
    Seed,
    Target,
    Threads,
    Top,
    chosen,
)

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Explain what an ONNX model sees: Relevance-CAMs at every depth, from nothing but the file.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"relcam-onnx {__version__}")
        raise typer.Exit


@app.callback()
def relcam(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")] = False,
) -> None:
    """Hold the options that stand before any command."""


@app.command(cls=Command)
def explain(
    model: Model,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The folder to write to.", metavar="FOLDER", show_default=False)
    ],
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders, globs.", metavar="PICTURES...", show_default=False),
    ] = None,
    inputs: Inputs = None,
    layer: Layer = None,
    target: Target = None,
    top: Top = None,
    like: Like = None,
    method: Method = None,
    preset: Preset = None,
    seed: Seed = None,
    output: Output = None,
    head: Head = None,
    labels: LabelsFile = None,
    preprocess: Preprocess = None,
    form: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="sheet (a JPEG a picture), png (an overlay a map), npz (the maps), html (a page of all sheets), "
            "coco (regions.json, regions as polygons), anim or anim.gif (a clip's overlays, moving), json "
            "(results.json alone, always there); repeatable. Default: sheet, npz and html.",
            metavar="NAME",
            autocompletion=among(FORMATS),
        ),
    ] = None,
    mask: Annotated[bool, typer.Option("--mask", help="Also write each map's mask as PNG.")] = False,
    mask_rule: MaskRule = None,
    refine: Annotated[
        bool, typer.Option("--refine", help="Give masks and boxes the picture's own edges (GrabCut; extra regions).")
    ] = False,
    record: Annotated[
        Path | None, typer.Option(help="Append a line of JSON for each picture; several may write.", metavar="FILE")
    ] = None,
    exact: Exact = False,
    backend: Backend = None,
    provider: Provider = None,
    threads: Threads = None,
    batch: BatchSize = None,
    max_targets: MaxTargets = None,
    cache: Cache = None,
    samples: Samples = None,
    random_state: RandomState = None,
    baseline: Annotated[
        list[Path] | None,
        typer.Option(help="A picture for expected-gradients to start from; repeatable.", metavar="FILE"),
    ] = None,
    max_pixels: MaxPixels = None,
    debug: Debug = False,
) -> None:
    """Explain pictures: a sheet of maps for each, raw maps, and a page of all.

    In the folder: <picture>.jpg, <picture>.npz, index.html and results.json; with --format png also
    <picture>.<layer>.png, or <picture>.<layer>.<class>.png for several targets.
    """
    with reporting(debug=debug):
        from relcam_onnx.cli.explaining import explain_pictures

        options = chosen(
            layers=layer,
            method=method,
            preset=preset,
            seed=seed,
            output=output,
            head=head,
            backend=backend,
            providers=provider,
            max_targets=max_targets,
            cache=cache,
            samples=samples,
            random_state=random_state,
        )
        code = explain_pictures(
            model,
            sources or (),
            out,
            inputs=inputs or (),
            targets=[*(target or []), *range(-1, -1 - (top or 0), -1), *({"like": file} for file in like or [])],
            labels=labels,
            preprocess=preprocess,
            formats=form,
            mask=mask,
            mask_rule=mask_rule,
            refine=refine,
            record=record,
            exact=exact,
            batch=batch,
            max_pixels=max_pixels,
            debug=debug,
            threads=threads,
            baselines=baseline or (),
            options=options,
        )
        raise typer.Exit(code)


@app.command(cls=Command)
def layers(
    model: Model,
    preset: Preset = None,
    output: Output = None,
    head: Head = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    debug: Debug = False,
) -> None:
    """List the layers that can be named."""
    with reporting(debug=debug):
        from relcam_onnx.cli.layer_table import print_layers

        print_layers(model, preset, output, head, as_json=as_json)


@app.command("compile", cls=Command)
def compile_(
    model: Model,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The ONNX file to write.", metavar="FILE", show_default=False)
    ] = None,
    triton: Annotated[
        Path | None,
        typer.Option(help="A model repository of Triton to write it into, beside or instead of -o.", metavar="REPO"),
    ] = None,
    layer: Layer = None,
    method: Method = None,
    preset: Preset = None,
    seed: Seed = None,
    output: Output = None,
    head: Head = None,
    preprocess: Preprocess = None,
    heatmap: Annotated[bool, typer.Option("--heatmap", help="Also output each map in 0..1 at picture size.")] = False,
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(help="Height and width to fix. Default: as in the model.", metavar="H W"),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write the reverse walk into the model: one ONNX file that returns scores and maps."""
    with reporting(debug=debug):
        from relcam_onnx.cli.compiling import compile_file

        options = chosen(
            layers=layer,
            method=method,
            preset=preset,
            seed=seed,
            output=output,
            head=head,
            preprocess=preprocess,
            size=size,
        )
        compile_file(model, out, triton=triton, heatmap=heatmap, options=options)
