"""The options that several commands have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from relcam_onnx.cli.completing import (
    BACKENDS,
    CONVENTIONS,
    HEADS,
    MASK_RULES,
    METHODS,
    PRESETS,
    PROVIDERS,
    SEEDS,
    among,
    layers,
    outputs,
)
from relcam_onnx.errors import OptionError


def chosen(**options: Any) -> dict[str, Any]:
    """Those that were given: whatever was not is the call's to decide."""
    return {name: value for name, value in options.items() if value is not None}


def by_name(inputs: Sequence[str]) -> dict[str, str]:
    """What ``--input NAME=FILE`` says; `OptionError` where it says nothing, or two things of one input."""
    named: dict[str, str] = {}
    for text in inputs:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise OptionError(f"--input takes NAME=FILE, such as --input right=b.jpg, not {text!r}")
        if name in named:
            raise OptionError(f"--input names {name!r} twice; one file goes with every picture")
        named[name] = value
    return named


Model = Annotated[Path, typer.Argument(help="The ONNX file.", metavar="MODEL", show_default=False)]
Preset = Annotated[
    str | None,
    typer.Option(
        help="Which LRP rule each op gets: a name, or a TOML file. Default: default.",
        metavar="NAME|FILE",
        autocompletion=among(PRESETS),
    ),
]
Layer = Annotated[
    list[str] | None,
    typer.Option(
        help="A layer's name, or stages, fused, last, input; repeatable. Default: stages and fused, or input.",
        metavar="NAME",
        autocompletion=layers,
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        help="local-relevance-cam, lrp, grad-cam, layer-cam, ... Default: the preset's.",
        metavar="NAME",
        autocompletion=among(METHODS),
    ),
]
Seed = Annotated[
    str | None,
    typer.Option(
        help="What relevance starts as, such as rivals or logit. Default: the preset's.",
        metavar="NAME",
        autocompletion=among(SEEDS),
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        help="Which output, or tensor inside, holds the scores, where several could.",
        metavar="NAME",
        autocompletion=outputs,
    ),
]
Head = Annotated[
    str | None,
    typer.Option(
        help="classifier, segmenter, detector or embedding. Default: what the outputs look like.",
        metavar="NAME",
        autocompletion=among(HEADS),
    ),
]
Preprocess = Annotated[
    str | None,
    typer.Option(
        help="How pictures are prepared: a name (imagenet, ...) or a JSON file. Default: what the model says.",
        metavar="NAME|FILE",
        autocompletion=among(CONVENTIONS),
    ),
]
LabelsFile = Annotated[
    str | None,
    typer.Option(help="Names of the classes: .txt or .json. Default: those that come with the model.", metavar="FILE"),
]
Pictures = Annotated[
    list[str], typer.Argument(help="Files, folders, globs.", metavar="PICTURES...", show_default=False)
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        help="What goes into another input: a picture, or numbers as JSON, .json or .npy; repeatable.",
        metavar="NAME=FILE",
    ),
]
Target = Annotated[
    list[str] | None,
    typer.Option(
        help="A class by label, index or rank (-1: the top); repeatable. Default: the top class.", metavar="CLASS"
    ),
]
Top = Annotated[int | None, typer.Option(min=1, help="The K top classes of each picture.", metavar="K")]
Like = Annotated[
    list[Path] | None,
    typer.Option(help="A picture: what makes an embedding like its own; repeatable.", metavar="PICTURE"),
]
MaskRule = Annotated[
    str | None,
    typer.Option(
        help="What masks and boxes mark: mass=0.8 (the default), otsu, ...",
        metavar="RULE",
        autocompletion=among(MASK_RULES),
    ),
]
Exact = Annotated[
    bool, typer.Option("--exact", help="Decode every pixel of large JPEGs, not just as many as the model needs.")
]
Backend = Annotated[
    str | None,
    typer.Option(
        help="What runs the reverse walk: compiled or eager. Default: compiled.",
        metavar="NAME",
        autocompletion=among(BACKENDS),
    ),
]
Provider = Annotated[
    list[str] | None,
    typer.Option(
        help="onnxruntime's provider (cpu, cuda, ...); repeatable, in order.",
        metavar="NAME",
        autocompletion=among(PROVIDERS),
    ),
]
Threads = Annotated[int | None, typer.Option(min=1, help="So many at work on the model.", metavar="N")]
BatchSize = Annotated[int | None, typer.Option("--batch", min=1, help="So many pictures at a time.", metavar="N")]
MaxTargets = Annotated[
    int | None,
    typer.Option(min=1, help="So many targets of a picture at a time: less memory, more passes.", metavar="N"),
]
Cache = Annotated[
    Path | None, typer.Option(help="A folder that keeps compiled models. Default: none are kept.", metavar="FOLDER")
]
Samples = Annotated[
    int | None,
    typer.Option(min=1, help="Masks, noisy copies or steps of methods that have such (rise, ...).", metavar="N"),
]
RandomState = Annotated[
    int | None, typer.Option(min=0, help="What they are drawn by: the same, the same maps. Default: 0.", metavar="N")
]
MaxPixels = Annotated[
    int | None,
    typer.Option(min=1, help="Of a picture that may be read (89478485); more looks like a bomb."),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")]
