"""The command for many pictures. As in `commands`, what it runs is imported when it runs."""

# ruff: noqa: PLC0415 - see above
from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from relcam_onnx.cli.console import Command, reporting
from relcam_onnx.cli.more_commands import app
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
    Method,
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
    by_name,
    chosen,
)

__all__ = ["app"]


class Engine(StrEnum):
    """What runs a batch: this process, or workers of a Ray cluster."""

    LOCAL = "local"
    RAY = "ray"


@app.command(cls=Command)
def batch(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Pictures, folders, globs, .tar and .parquet files, here or as s3://, gs://, hf:// addresses.",
            metavar="SOURCE...",
            show_default=False,
        ),
    ],
    dest: Annotated[str, typer.Option("-o", "--out", help="The folder to write to, or its address.", metavar="DEST")],
    model: Annotated[Path, typer.Option("-m", "--model", help="The ONNX file.", metavar="MODEL")],
    where: Annotated[
        str | None,
        typer.Option(help='Explain only these, such as "probability < 0.6"; the rest is classified.', metavar="TEST"),
    ] = None,
    sheets: Annotated[bool, typer.Option("--sheets", help="Also write a sheet for each picture.")] = False,
    engine: Annotated[Engine, typer.Option(help="This process, or a Ray cluster.", metavar="local|ray")] = Engine.LOCAL,
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
    mask_rule: MaskRule = None,
    column: Annotated[
        str | None,
        typer.Option(help="Of Parquet files, with pictures or paths. Default: what looks so.", metavar="NAME"),
    ] = None,
    shard: Annotated[int, typer.Option(min=1, help="Pictures of a Parquet file, at most.", metavar="N")] = 1000,
    exact: Exact = False,
    backend: Backend = None,
    provider: Provider = None,
    threads: Threads = None,
    batch_size: BatchSize = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Workers of a Ray cluster. Default: as many as fit.", metavar="N")
    ] = None,
    num_gpus: Annotated[float, typer.Option(min=0, help="GPUs of each of these.", metavar="N")] = 0,
    address: Annotated[
        str | None,
        typer.Option(help="The Ray cluster. Default: RAY_ADDRESS, else one on this machine.", metavar="ADDRESS"),
    ] = None,
    cache: Cache = None,
    samples: Samples = None,
    random_state: RandomState = None,
    max_pixels: MaxPixels = None,
    debug: Debug = False,
) -> None:
    """Explain many pictures into Parquet files; the same command goes on where it was stopped.

    A row a picture: targets, scores, boxes, figures of each layer, the map, its mask. Needs the batch extra; engine
    ray needs the ray extra.
    """
    with reporting(debug=debug):
        from relcam_onnx.batch import Request
        from relcam_onnx.cli.batching import batch_pictures

        options = chosen(
            layers=layer,
            method=method,
            preset=preset,
            seed=seed,
            output=output,
            head=head,
            backend=backend,
            providers=provider,
            cache=cache,
            samples=samples,
            random_state=random_state,
        )
        request = Request(
            model,
            sources,
            dest,
            targets=[*(target or []), *range(-1, -1 - (top or 0), -1), *({"like": file} for file in like or [])],
            inputs=by_name(inputs or ()),
            where=where,
            preprocess=preprocess,
            labels=labels,
            exact=exact,
            column=column,
            sheets=sheets,
            shard=shard,
            batch=batch_size,
            threads=threads,
            max_pixels=max_pixels,
            engine=engine.value,
            concurrency=concurrency,
            num_gpus=num_gpus,
            address=address,
            options=options,
            **chosen(mask_rule=mask_rule),
        )
        raise typer.Exit(batch_pictures(request))
