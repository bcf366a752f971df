"""The rows of the tables: methods that make maps, ours by `Explainer`, peers from gradients and activations.

Sources: Grad-CAM, Selvaraju et al. 2017; HiRes-CAM, Draelos and Carin 2020, arXiv:2011.08891; Layer-CAM, Jiang et al.
2021; RefineCAM, the product over layers of HiRes-CAM; Finer-CAM, Zhang et al. 2025, arXiv:2501.11309.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from benchmarks.timing import session
from relcam_onnx import Explainer
from relcam_onnx.results.render import resize_map

Floats = NDArray[np.float32]
Maps: TypeAlias = dict[str, Floats]
"""Layer -> (K, h, w), of one picture."""
Source: TypeAlias = Callable[[Floats, Sequence[int]], dict[str, Maps]]
"""A picture, (1, 3, H, W), and K classes -> row -> maps."""

FUSED = "fused"
DEFAULT = "default"
OURS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "seed contrast": {"seed": "contrast"},
    "seed logit": {"seed": "logit"},
    "the paper": {"preset": "paper"},
}
FLOOR = 1e-6
FINER = 3
"""Classes that Finer-CAM compares with."""


def sources(model: Path) -> dict[str, Source]:
    """Every source of rows for a model, by name."""
    ours = {name: ours_of(name, Explainer(model, **options)) for name, options in OURS.items()}
    return {**ours, "gradients": gradients(model), "Finer-CAM": finer(model), "baselines": baselines}


def ours_of(name: str, explainer: Explainer) -> Source:
    """A row of ours."""
    return lambda x, classes: {name: {k: v[0] for k, v in explainer(x, [list(classes)]).maps.items()}}


def fuse(maps: Maps) -> Floats:
    """The geometric mean over stages, as ours."""
    return np.asarray(np.exp(np.mean([np.log(np.maximum(m, FLOOR)) for m in aligned(maps)], axis=0)), np.float32)


def product(maps: Maps) -> Floats:
    """The product over stages."""
    return np.asarray(np.prod(aligned(maps), axis=0), np.float32)


def aligned(maps: Maps) -> list[Floats]:
    """Each stage's positive part over its maximum, at the finest stage's size."""
    size = max((m.shape[1:] for m in maps.values()), key=lambda s: s[0])
    found = []
    for stage in maps.values():
        positive = np.maximum(stage, 0)
        positive = positive / np.maximum(positive.max(axis=(1, 2), keepdims=True), np.finfo(np.float32).tiny)
        found.append(np.stack([resize_map(m, (size[0], size[1])) for m in positive]))
    return found


def gradients(model: Path) -> Source:
    """Peers that all hang on the gradient of the score at the stages: one pass for all of them."""
    explainer = Explainer(model, ["stages", "input"], preset="gradient", method="lrp")
    tensors: dict[str, str] = {}
    activations: list[onnxruntime.InferenceSession] = []

    def maps(x: Floats, classes: Sequence[int]) -> dict[str, Maps]:
        found = explainer(x, [list(classes)])
        if not activations:
            tensors.update({s.name: s.tensor for s in found.settings.layers if s.name != "input" and s.tensor})
            activations.append(exposing(model, list(tensors.values())))
        values = dict(
            zip(tensors, activations[0].run(list(tensors.values()), {explainer.inputs[0].name: x}), strict=True)
        )
        grad: Maps = {}
        hires: Maps = {}
        layer: Maps = {}
        for name, a in values.items():
            g = found.maps[name][0]
            grad[name] = np.maximum((g.mean(axis=(2, 3), keepdims=True) * a).sum(axis=1), 0)
            hires[name] = (g * a).sum(axis=1)
            layer[name] = (np.maximum(g, 0) * a).sum(axis=1)
        times = (found.maps["input"][0] * x).sum(axis=1)
        return {
            "Grad-CAM": {**grad, FUSED: fuse(grad)},
            "HiRes-CAM": {**hires, FUSED: fuse(hires)},
            "Layer-CAM": {**layer, FUSED: fuse(layer)},
            "RefineCAM": {FUSED: product(hires)},
            "gradient × input": {FUSED: times},
        }

    return maps


def exposing(model: Path, tensors: Sequence[str]) -> onnxruntime.InferenceSession:
    """The model with inner tensors as outputs."""
    proto = onnx.load(model)
    there = {output.name for output in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in there)
    return session(proto, threads=None, spinning=False)


def finer(model: Path) -> Source:
    """Grad-CAM of the score less the mean of the three nearest in score."""
    explainer = Explainer(model, preset="gradient", method="grad-cam", seed="given")
    scores = Explainer(model, "last")

    def maps(x: Floats, classes: Sequence[int]) -> dict[str, Maps]:
        z = scores(x, int(classes[0])).scores[0]
        seed = np.zeros((1, len(classes), len(z)), np.float32)
        for place, target in enumerate(classes):
            distance = np.abs(z - z[target])
            distance[target] = np.inf
            seed[0, place, np.argsort(distance, kind="stable")[:FINER]] = -1 / min(FINER, len(z) - 1)
            seed[0, place, target] = 1
        return {"Finer-CAM": {k: v[0] for k, v in explainer(x, seed=seed).maps.items()}}

    return maps


def baselines(x: Floats, classes: Sequence[int]) -> dict[str, Maps]:
    """Maps that know nothing of the model: its middle, the picture's edges, chance."""
    grey = x[0].mean(axis=0)
    height, width = (size // 4 for size in grey.shape)
    down, across = ((np.arange(size) + 0.5) / size * 2 - 1 for size in (height, width))
    centre = np.exp(-2 * (down[:, None] ** 2 + across**2))
    edges = np.hypot(*np.gradient(grey))[: 4 * height, : 4 * width].reshape(height, 4, width, 4).mean(axis=(1, 3))
    chance = np.random.default_rng(0).random((height, width))
    found = {"centre": centre, "edges": edges, "random": chance}
    return {k: {FUSED: np.stack([v.astype(np.float32)] * len(classes))} for k, v in found.items()}
