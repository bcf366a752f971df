"""What is said of options that go badly together."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.analysis.deciding import scales
from relcam_onnx.analysis.layers import Layers
from relcam_onnx.analysis.paths import Paths
from relcam_onnx.analysis.towers import Tower
from relcam_onnx.lrp.maps import MapPlan
from relcam_onnx.lrp.plan import Plan
from relcam_onnx.lrp.presets import Preset
from relcam_onnx.lrp.seeds import PROPORTIONAL
from relcam_onnx.model import Model, is_constant, producer, variables
from relcam_onnx.rules import Epsilon, PublishedConv

LEVEL = 4
"""From here to the call of `Explainer`."""
MOST = 4
"""So many layers are named."""


def warn_of_folded(preset: Preset, model: Model) -> None:
    """Say that the published code's rules, for batch normalisation as a layer of its own, find none."""
    published = any(isinstance(rule, PublishedConv) for _, rule in preset.rules)
    if not published or any(node.op_type == "BatchNormalization" for node in model.proto.graph.node):
        return
    warnings.warn(
        f"preset {preset.name!r} takes batch normalisation as a layer of its own, and this file has none: "
        "figures match the published code only if the network has none either; else export it unfused",
        stacklevel=LEVEL,
    )


def warn_of_epsilon(plan: Plan, paths: Paths, preset: Preset, seed: str) -> None:
    """Say that ε divides by each score, which suits only seeds proportional to them."""
    last = next((step for step in plan.steps if step.node.outputs[0].name in paths.output), None)
    if last is not None and isinstance(last.rule, Epsilon) and seed not in PROPORTIONAL:
        warnings.warn(
            f"seed {seed!r} under preset {preset.name!r}: the ε rule of the last layer divides it by "
            "every score, also those near zero; take a preset with z⁺ there ('paper'), or seed 'rivals', "
            "'contrast', 'logit' or 'one-hot'",
            stacklevel=LEVEL,
        )


def warn_of_others(layers: Layers, maps: MapPlan) -> None:
    """Say that stages are of one crop, view or network of several: what the others saw is not in them."""
    asked = {layer.name for layer in maps.walked}
    for picture, stages in layers.towers.items():
        others = Tower(layers.geometry, picture).beside if stages[-1].name in asked else []
        if others:
            names = ", ".join(repr(layers.names_of(t)[0]) for t in others[:MOST])
            more = f" and {len(others) - MOST} more" if len(others) > MOST else ""
            own = layers.names.of(stages[-1].tensor)[0]
            warnings.warn(
                f"stages are of one of {len(others) + 1} crops, views or networks that the file makes one of: "
                f"{stages[-1].name!r} is {own!r}. The others end in {names}{more}, which are layers too; "
                "the map of 'input' is of all",
                stacklevel=LEVEL,
            )


def warn_of_length(scores: gs.Tensor) -> None:
    """Say that a table looks like an embedding's, of whose numbers none is a class."""
    maker = producer(scores)
    while maker is not None and scales(maker):
        maker = producer(next(t for _, t in variables(maker)))
    if maker is None or len(scores.shape or ()) < 2:
        return
    gain = (
        np.asarray(maker.inputs[1].values) if maker.op == "RMSNormalization" and is_constant(maker.inputs[1]) else None
    )
    if (maker.op == "LpNormalization" and maker.attrs.get("p", 2) == 2) or (gain is not None and np.ptp(gain) == 0):
        warnings.warn(
            "the scores are vectors of one length, as embeddings are, and their numbers no classes: say what to be "
            "like ({'like': picture or vector}, --like), or that this is meant with head='classifier'",
            stacklevel=LEVEL,
        )


def warn_of_nothing(
    maps: Mapping[str, np.ndarray], warned: set[str], there: np.ndarray, *, levels: bool = False
) -> None:
    """Say where no relevance arrives, for each layer of ``maps`` once: ``warned`` has those that it was said of.

    ``there`` tells, (N, K), which targets exist. Where scores stand at several ``levels``, what is found at a finer one
    leaves coarser layers empty: it is said of targets alone that reach no layer at all.
    """
    images = {name: np.any(m.reshape(len(there), -1, *m.shape[1:]).swapaxes(1, 2), axis=tuple(range(2, m.ndim + 1)))
              for name, m in maps.items()}  # fmt: skip
    reached = np.any(list(images.values()), axis=0) if levels and images else False
    empty = [name for name, some in images.items() if not (some | reached)[there].all() and name not in warned]
    if not empty:
        return
    warned.update(empty)
    warnings.warn(
        f"the map of {', '.join(map(repr, empty))} is zero all over for some image and target: no relevance comes "
        "there. The score it starts from is 0, or everything on the way is (ReLUs that never open, a picture of "
        "one colour); method 'grad-cam' also drops a map that is negative throughout",
        stacklevel=5,
    )
