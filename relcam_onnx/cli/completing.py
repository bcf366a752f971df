"""What a shell completes.

Names are written out, since to import them takes longer than a key press may; a test compares them.
"""

# ruff: noqa: PLC0415 - what reads a model is imported where one is named
from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import typer

METHODS = (
    "local-relevance-cam",
    "relevance-cam",
    "lrp",
    "grad-cam",
    "grad-cam++",
    "xgrad-cam",
    "layer-cam",
    "hires-cam",
    "refine-cam",
    "finer-cam",
    "eigen-cam",
    "eigen-grad-cam",
    "saliency",
    "gradient-x-input",
    "score-cam",
    "ablation-cam",
    "recipro-cam",
    "occlusion",
    "rise",
    "smoothgrad",
    "integrated-gradients",
    "expected-gradients",
)
PRESETS = (
    "default",
    "paper",
    "official",
    "gradient",
    "guided-backprop",
    "epsilon-plus",
    "epsilon-plus-flat",
    "epsilon-gamma-box",
    "epsilon-alpha2-beta1",
    "epsilon-alpha2-beta1-flat",
    "attn-lrp",
)
SEEDS = ("rivals", "contrast", "finer", "logit", "one-hot", "clrp", "official", "sglrp")
HEADS = ("classifier", "segmenter", "detector", "embedding")
BACKENDS = ("compiled", "eager")
PROVIDERS = ("cpu", "cuda", "tensorrt")
CONVENTIONS = ("imagenet", "torchvision", "tensorflow", "caffe", "unit", "raw")
FORMATS = ("sheet", "png", "npz", "json", "html", "coco", "anim", "anim.gif")
MASK_RULES = ("mass=0.8", "deviation", "otsu")
LAYERS = ("stages", "fused", "last", "input")

LARGEST = 256 * 2**20
"""Bytes of a file that is read for a completion; more takes too long."""
PLAIN = re.compile(r"[\w./:#+-]+")
"""Names that a shell takes as they are."""


def among(names: tuple[str, ...]) -> Callable[[], list[str]]:
    """What completes an option that takes one of a few names; Typer keeps those that begin as it does."""
    return lambda: list(names)


def layers(ctx: typer.Context) -> list[str]:
    """What ``--layer`` takes: the stages and layers of the model that stands on the line, after the names for any."""
    return [*LAYERS, *dict.fromkeys(name for name in of_model(ctx, layers_of) if PLAIN.fullmatch(name))]


def outputs(ctx: typer.Context) -> list[str]:
    """What ``--output`` takes: the model's outputs."""
    return [name for name in of_model(ctx, outputs_of) if PLAIN.fullmatch(name)]


def of_model(ctx: typer.Context, read: Callable[[Path], list[str]]) -> list[str]:
    """What is read from the model on the line; nothing where there is none, or anything is wrong with it."""
    named = ctx.params.get("model") or next(iter(ctx.args), None)  # there while an option lacks its value
    try:
        path = Path(named or "").expanduser()
        if not path.is_file() or path.stat().st_size > LARGEST:
            return []
        with warnings.catch_warnings(action="ignore"):
            return read(path)
    except Exception:  # a key press gets no error; the command will tell
        return []


def layers_of(path: Path) -> list[str]:
    """Stages first, then every layer that has positions, and so a map under any method."""
    from relcam_onnx.listing import layer_table

    rows = layer_table(path)
    return [row.stage for row in rows if row.stage] + [row.name for row in rows if row.stride is not None]


def outputs_of(path: Path) -> list[str]:
    """The outputs' names, without a look at weights."""
    import onnx

    return [output.name for output in onnx.load(str(path), load_external_data=False).graph.output]
