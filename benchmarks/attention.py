"""Which rules put relevance inside the object in a network with attention: a ViT that was trained on shapes.

python -m benchmarks.attention [--write]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from relcam_exporters import to_onnx

import relcam_onnx as rc
from benchmarks.page import fill, table
from benchmarks.shapes_vit import ROOT, SHAPES, SIDE, Pool, ShapesViT, quarters, single, trained
from relcam_onnx import rules
from relcam_onnx.audit import metrics
from relcam_onnx.audit.metrics import bootstrap
from relcam_onnx.lrp.presets import Preset
from relcam_onnx.results.render import resize_map

PAGE = ROOT / "docs" / "quality.md"
MOSAICS, PICTURES = 60, 60
DENSE: dict[str, rules.Rule] = {"ε": rules.Epsilon(), "γ": rules.Gamma(), "z⁺": rules.ZPlus()}
PATCH: dict[str, rules.Rule] = {
    "zᴮ": rules.ZBox(-1.3, 1.3),
    "z⁺": rules.ZPlus(),
    "γ": rules.Gamma(),
    "ε": rules.Epsilon(),
}
SUM: dict[str, rules.Rule] = {"by sign": rules.SignShare(), "in proportion": rules.Norm()}


POOLS: dict[Pool, str] = {"token": "class token", "mean": "mean"}
"""What the head reads."""


class Scene(NamedTuple):
    """A picture, the class that is asked for, and where that is."""

    x: NDArray[np.float32]
    label: int
    mask: NDArray[np.bool_]


def scenes(kind: str, count: int) -> Iterator[Scene]:
    """Four shapes in quarters, two of them of the class; or one shape somewhere."""
    rng = np.random.default_rng({"mosaic": 1, "single": 2}[kind])
    for _ in range(count):
        if kind == "single":
            label = int(rng.integers(len(SHAPES)))
            picture, mask = single(rng, label)
            yield Scene(picture[None], label, mask)
            continue
        label, *others = (int(shape) for shape in rng.permutation(len(SHAPES))[:3])
        mask = np.kron(np.eye(2, dtype=bool), np.ones((SIDE // 2, SIDE // 2), bool))
        yield Scene(quarters(rng, [label, *others, label])[None], label, mask)


def presets() -> dict[str, dict[str, Any]]:
    """What is compared: name -> options of Explainer."""
    stages = {
        f"dense {dense}, sums {how}": {"preset": made(dense_rule, sum_rule)}
        for dense, dense_rule in DENSE.items()
        for how, sum_rule in SUM.items()
    }
    at_input = {
        f"patches {patch}, at the input": {
            "preset": made(rules.Epsilon(), rules.Norm(), patch_rule), "method": "lrp", "layers": "input"
        }
        for patch, patch_rule in PATCH.items()
    }  # fmt: skip
    return {
        **stages,
        **at_input,
        "plain ε, at the input": {"preset": epsilon(), "method": "lrp", "layers": "input", "seed": "logit"},
        "attn-lrp, at the input": {"preset": "attn-lrp", "layers": "input"},
        "attn-lrp": {"preset": "attn-lrp", "method": "local-relevance-cam"},
        "gradient × input": {"method": "gradient-x-input"},
        "Grad-CAM": {"method": "grad-cam"},
        "default": {},
    }


def made(dense: rules.Rule, sums: rules.Rule, patches: rules.Rule = PATCH["zᴮ"]) -> Preset:
    """A preset like the default, but for these."""
    pairs = (
        ("input-shift", rules.Pass()), ("first", patches), ("output", rules.Epsilon()), ("product", rules.Epsilon()),
        ("norm", rules.Epsilon()), ("sum", sums), ("average", sums), ("*", dense),
    )  # fmt: skip
    return Preset("made", pairs)


def epsilon() -> Preset:
    """ε throughout, attention held fixed."""
    return Preset("plain-epsilon", (("sum", rules.Norm()), ("average", rules.Norm()), ("*", rules.Epsilon())))


def measured(model: onnx.ModelProto, options: dict[str, Any]) -> dict[str, list[float]]:
    """Focus at each layer, and what lies inside a single shape."""
    values: dict[str, list[float]] = {}
    with rc.Explainer(model, **options) as explainer:
        for kind, count in (("mosaic", MOSAICS), ("single", PICTURES)):
            for scene in scenes(kind, count):
                maps = explainer(scene.x, [[scene.label]]).maps
                for layer, found in maps.items():
                    heat = found[0, 0].sum(axis=0) if found.ndim == 5 else found[0, 0]
                    whole = resize_map(heat, (SIDE, SIDE))
                    key = f"{layer} {kind}"
                    values.setdefault(key, []).append(metrics.mass_accuracy(whole, scene.mask))
    return values


def main() -> None:
    """Train, measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description="Rules for networks with attention.")
    parser.add_argument("--write", action="store_true", help=f"write the table of {PAGE.name}")
    options = parser.parse_args()
    rows: dict[str, list[str]] = {name: [name] for name in presets()}
    for pool in POOLS:
        module = trained(pool)
        print(f"{pool}: accuracy {accuracy(module):.3f}", file=sys.stderr)
        model = to_onnx(module, torch.zeros(2, 3, SIDE, SIDE))
        for name, how in presets().items():
            values = measured(model, how)
            layers = [key.split()[0] for key in values if key.endswith("mosaic")]
            last = "fused" if "fused" in layers else layers[-1]
            stages = " ".join(f"{np.mean(values[f'{n} mosaic']):.2f}" for n in layers if n not in ("fused", "input"))
            mean, low, high, _ = bootstrap(values[f"{last} mosaic"])
            rows[name] += [stages, f"{mean:.2f} ({low:.2f} … {high:.2f})", f"{np.mean(values[f'{last} single']):.2f}"]
            print(rows[name], file=sys.stderr, flush=True)
    head = [""] + [f"{what}, {said}" for said in POOLS.values() for what in ("stages", "fused, or input", "one shape")]
    found = table(head, list(rows.values()))
    print(found)
    if options.write:
        fill(PAGE, {"attention": found})


def accuracy(module: ShapesViT) -> float:
    """On pictures of one shape."""
    pictures = list(scenes("single", 256))
    with torch.inference_mode():
        answers = module(torch.from_numpy(np.concatenate([scene.x for scene in pictures]))).argmax(dim=1).numpy()
    return float(np.mean(answers == [scene.label for scene in pictures]))


if __name__ == "__main__":
    main()
