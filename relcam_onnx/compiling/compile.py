"""The reverse walk written into the model: one standard ONNX file that returns logits and maps."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import onnx

from relcam_onnx.analysis.scores import shape_text
from relcam_onnx.analysis.support import node_text
from relcam_onnx.backends.symbols import UnknownSizeError
from relcam_onnx.compiling.writer import Writer
from relcam_onnx.errors import OptionError, RelcamError, UnsupportedModelError
from relcam_onnx.lrp.methods import Probe
from relcam_onnx.lrp.presets import Preset
from relcam_onnx.lrp.seeds import GIVEN
from relcam_onnx.model import variables
from relcam_onnx.onnx_file.load import load, pixels, with_sizes
from relcam_onnx.onnx_file.weights import whole
from relcam_onnx.prepare import Prepared


def compile_model(
    model: str | PathLike[str] | bytes | onnx.ModelProto,
    layers: str | Sequence[str] | None = None,
    preset: str | Path | Preset | None = None,
    method: str | None = None,
    seed: str | None = None,
    output: str | None = None,
    size: tuple[int, int] | None = None,
    *,
    weights: bool = False,
    heatmap: bool = False,
    preprocess: Any = None,
    head: str | None = None,
) -> onnx.ModelProto:
    """Write the reverse walk into a model.

    Parameters
    ----------
    model, layers, preset, method, seed, output, preprocess, head
        As in `Explainer`.
    size
        Height and width to fix in the file; None leaves them as free as they are.
    weights
        Add the outputs ``weights/<layer>``, float32 (N, K, C).
    heatmap
        Add ``heatmap/<layer>``, float32 (N, K, H, W): the positive part resized to the input, over its maximum.

    Returns
    -------
    onnx.ModelProto
        Inputs: the model's own and ``relcam_targets``, int64 (N, K), ranks allowed (with seed "given" ``relcam_seed``,
        float32 (N, K, classes), instead). Outputs: the model's own, ``relcam_classes``, int64 (N, K), and the maps:
        ``cam/<layer>``, ``cam/fused``, ``relevance/<layer>``. A target out of range gives zeros.

    Raises
    ------
    RelcamError
        As `Explainer`; `UnsupportedModelError` also where a size that only a run knows stands in the way, `OptionError`
        for head "embedding", which has no classes to ask for, unless the seed is "given".
    """
    loaded = load(model)
    sized = loaded if size is None else with_sizes(loaded, pixels(loaded, size))
    prepared = Prepared(sized, layers, method, preset, seed, output, preprocess, head=head)
    if head == "embedding" and prepared.seed != GIVEN:
        raise OptionError(
            "a compiled file is asked for classes, and an embedding has none: take seed 'given' (--seed given), which "
            "the file is handed as relcam_seed, of a likeness to a vector v the terms z · v / (|z| |v|); or explain "
            "pictures with relcam explain --like, targets={'like': ...}"
        )
    if isinstance(prepared.maps.how, Probe):
        raise OptionError(
            f"method {prepared.method!r} runs the model again and again, which one file cannot hold; take a method "
            "that walks it once, such as 'local-relevance-cam'"
        )
    try:
        proto = Writer(prepared, single=False).write(weights=weights, heatmap=heatmap)
    except UnknownSizeError as error:
        fixed = "fix the picture's size: size=(height, width), --size H W"
        raise unknown_size(prepared, error, fixed if works_sized(prepared) else EAGER) from error
    return whole(proto, loaded.weights)


EAGER = "take Explainer(..., backend='eager'), --backend eager, which needs no compiled file"


def works_sized(prepared: Prepared) -> bool:
    """Whether the same file would be compiled if the picture's size was fixed."""
    try:
        Writer(prepared.sized(pixels(prepared.model, (224, 224))), single=False).write()
    except (RelcamError, UnknownSizeError):
        return False
    return True


def unknown_size(prepared: Prepared, error: UnknownSizeError, advice: str) -> UnsupportedModelError:
    """What stands in the way of the walk, where it hangs on a run, and what to do."""
    what = "the reverse walk needs a size that only a run knows"
    if error.node is None:
        return UnsupportedModelError(f"{what} ({error}); {advice}")
    reads = ", ".join(f"{tensor.name!r} {shape_text(tensor)}" for _, tensor in variables(error.node))
    return UnsupportedModelError(
        f"{what}, at {node_text(prepared.model, error.node)}, which reads {reads} ({error}); {advice}"
    )


def compile_prepared(
    prepared: Prepared,
    *,
    weights: bool = False,
    heatmap: bool = False,
    scores: bool = False,
    single: bool = False,
    told: Sequence[str] = (),
) -> onnx.ModelProto:
    """Write a prepared explanation into a copy of its model.

    ``single`` is for one target each, whose K is not computed with; ``scores`` adds the output ``relcam_scores``,
    (N, classes), where relevance starts, ``told`` tensors inside.
    """
    made = compile_light(prepared, weights=weights, heatmap=heatmap, scores=scores, single=single, told=told)
    return whole(made, prepared.model.weights)


def compile_light(
    prepared: Prepared,
    *,
    weights: bool = False,
    heatmap: bool = False,
    scores: bool = False,
    single: bool = False,
    told: Sequence[str] = (),
) -> onnx.ModelProto:
    """The same, which refers to the model's large weights: see `relcam_onnx.onnx_file.weights`."""
    try:
        return Writer(prepared, single=single).write(weights=weights, heatmap=heatmap, scores=scores, told=told)
    except UnknownSizeError as error:
        raise unknown_size(prepared, error, EAGER) from error
