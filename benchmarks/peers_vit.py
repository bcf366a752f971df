"""LXT beside relcam-onnx: a ViT-S/16 with the same random weights, one picture, one target, the same map.

``python -m benchmarks.peers_vit`` prints the table, ``--write`` puts it into docs/speed.md. It needs the extra
``bench`` and LXT itself, which `make bench-peers` installs.

LXT's CP-LRP for torchvision's ViT: attention held fixed, GELU passed, a norm's deviation held fixed, ε = 0 elsewhere,
as a gradient times the input (Achtibat et al. 2024, arXiv:2402.05602).
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import relcam_exporters
import torch
from relcam_exporters._torchvision import torchvision

import relcam_onnx as rc
from benchmarks.compiled import PAGE
from benchmarks.cost import ROOT
from benchmarks.models import SIZE
from benchmarks.page import fill, table
from benchmarks.timing import compare_work, running, session, work

THREADS, TARGET = 1, 0  # processor time is compared, as in `benchmarks.peers`
PIXELS = np.random.default_rng(0).standard_normal((1, 3, SIZE, SIZE), np.float32)
EPSILON = rc.Preset("epsilon", (("*", rc.rules.Epsilon()),))


def vit() -> torch.nn.Module:
    """torchvision's ViT at the sizes of ViT-S/16, its head drawn too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module: Any = torchvision().models.VisionTransformer(SIZE, 16, 12, 6, 384, 1536).eval()
        torch.nn.init.normal_(module.heads.head.weight, std=0.05)
    return cast(torch.nn.Module, module)


def exported(module: torch.nn.Module) -> Path:
    """Its file, kept in build/."""
    file = ROOT / "build" / "vit-s-torchvision-random.onnx"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        relcam_exporters.export(module, torch.zeros(2, 3, SIZE, SIZE), file)
    return file


def lxt(module: torch.nn.Module) -> np.ndarray:
    """LXT's relevance of the input, (3, H, W); its patches are set before."""
    x = torch.from_numpy(PIXELS).requires_grad_()
    (gradient,) = torch.autograd.grad(module(x)[0, TARGET], x)
    return np.asarray((gradient * x).detach()[0])


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the table of docs/speed.md")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    module = vit()
    file = exported(module)  # before LXT changes PyTorch's classes
    from lxt.efficient import monkey_patch
    from lxt.efficient.models.vit_torch import cp_LRP
    from torchvision.models import vision_transformer

    monkey_patch(vision_transformer, cp_LRP)
    for part in module.parameters():
        part.requires_grad_(False)
    peer, plain = partial(lxt, module), running(session(file, THREADS))
    rows = [["LXT, CP-LRP", "input", f"{1e3 * work(peer):,.0f} ms", f"{compare_work(peer, plain, 5):.1f}", "", ""]]
    theirs = peer()
    for name, layers, same in (("relcam-onnx, the same rules", "input", True), ("default", ["stages", "fused"], False)):
        own: dict[str, Any] = {"method": "lrp", "preset": EPSILON, "seed": "logit"} if same else {}
        with rc.Explainer(file, layers, threads=THREADS, **own) as explainer:
            call = partial(explainer, PIXELS, TARGET)
            likeness = cosine(call().maps["input"][0, 0], theirs) if same else ""
            factor = f"{compare_work(peer, call, 5):.1f}"
            depth = layers if isinstance(layers, str) else "all four, fused"
            rows.append(
                [name, depth, f"{1e3 * work(call):,.0f} ms", f"{compare_work(call, plain, 5):.1f}", factor, likeness]
            )
    found = table(["", "to", "time", "forward passes", "LXT's time over it", "same map"], rows)
    print(f"\n{found}")
    if options.write:
        fill(PAGE, {"transformer peers": found})


def cosine(mine: np.ndarray, theirs: np.ndarray) -> str:
    """Between two maps."""
    a, b = mine.astype(np.float64).ravel(), theirs.astype(np.float64).ravel()
    return f"yes, cosine {a @ b / np.linalg.norm(a) / np.linalg.norm(b):.4f}"


if __name__ == "__main__":
    main()
