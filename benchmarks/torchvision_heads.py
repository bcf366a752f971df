"""torchvision's segmenters and detectors beside PyTorch: ``python -m benchmarks.torchvision_heads [--write]``.

Each network has seeded weights and is exported whole, what chooses its detections too. Asked is the gradient of one
place's score (of a class over the pixels that it wins) at the picture; then how far eager and compiled maps differ.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from relcam_exporters._quiet import quiet
from relcam_exporters._torchvision import torchvision

import relcam_onnx as rc
from benchmarks.cost import ROOT
from benchmarks.page import fill, table

PAGE = ROOT / "docs" / "heads.md"
CLASSES, SIZE = 5, 128
SEGMENTERS = ("lraspp_mobilenet_v3_large", "fcn_resnet50", "deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50")
DETECTORS = ("ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn", "fcos_resnet50_fpn")


def missing() -> None:
    """Stands for torchvision's search for its compiled operators, which a CPU build of PyTorch does not find."""


def suppressed(boxes: torch.Tensor, scores: torch.Tensor, overlap: float) -> torch.Tensor:
    """Non-maximum suppression in PyTorch: only while an export is traced; the file has ONNX's."""
    order, kept = scores.argsort(descending=True), []
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    while len(order):
        best, rest = order[0], order[1:]
        sides = torch.minimum(boxes[best, 2:], boxes[rest, 2:]) - torch.maximum(boxes[best, :2], boxes[rest, :2])
        inner = sides.clamp(min=0).prod(dim=1)
        kept.append(best)
        order = rest[inner / (areas[best] + areas[rest] - inner) <= overlap]
    return torch.stack(kept) if kept else torch.zeros(0, dtype=torch.int64)


def exported(network: torch.nn.Module, given: Any, outputs: list[str]) -> bytes:
    """A network as the older exporter writes it: the other one lacks torchvision's suppression."""
    file = io.BytesIO()
    with quiet():
        torch.onnx.export(
            network, (given,), file, input_names=["image"], output_names=outputs, opset_version=18, dynamo=False
        )
    return file.getvalue()


class Scores(torch.nn.Module):
    """A segmenter that gives its scores alone, as a tensor."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, classes, H, W)."""
        scores: torch.Tensor = self.network(x)["out"]
        return scores


def segmenter(name: str) -> tuple[bytes, torch.Tensor, Callable[[torch.Tensor], torch.Tensor], Any]:
    """A file, a picture, the score that is asked about as a function of it, and the target."""
    network = getattr(torchvision().models.segmentation, name)(
        weights=None, weights_backbone=None, num_classes=CLASSES
    ).eval()
    x = torch.rand(1, 3, SIZE, SIZE)
    with torch.no_grad():
        won = network(x)["out"].argmax(dim=1)[0]
    kind = int(won.flatten().mode().values)

    return (
        exported(Scores(network).eval(), x, ["out"]),
        x,
        lambda x: network(x)["out"][0, kind][won == kind].mean(),
        [[kind]],
    )


def detector(name: str) -> tuple[bytes, torch.Tensor, Callable[[torch.Tensor], torch.Tensor], Any]:
    """The same of a detector, which takes a list of pictures, each (3, H, W)."""
    options: dict[str, Any] = {} if name.startswith("ssd") else {"min_size": SIZE, "max_size": SIZE}
    network = getattr(torchvision().models.detection, name)(
        weights=None, weights_backbone=None, num_classes=CLASSES, score_thresh=0.0, topk_candidates=100, **options
    ).eval()
    side, told = 320 if name.startswith("ssd") else SIZE, {}
    network.head.register_forward_hook(lambda _, __, found: told.update(found))
    x = torch.rand(3, side, side)

    def logits(x: torch.Tensor) -> torch.Tensor:
        network([x])
        scores: torch.Tensor = told["cls_logits"][0]
        return scores + told["bbox_ctrness"][0] if "bbox_ctrness" in told else scores

    place, kind = divmod(int(logits(x).detach().flatten().argmax()), CLASSES)
    return exported(network, [x], ["boxes", "scores", "labels"]), x, lambda x: logits(x)[place, kind], [[[place, kind]]]


def compared(name: str) -> list[str]:
    """A row of the table."""
    torch.manual_seed(0)
    file, x, score, targets = (segmenter if name in SEGMENTERS else detector)(name)
    read = x.clone().requires_grad_()
    score(read).backward()
    assert read.grad is not None
    wanted = read.grad.numpy().ravel().astype(np.float64)
    maps = {}
    for backend in ("compiled", "eager"):
        with rc.Explainer(file, "input", "lrp", "gradient", "one-hot", backend=backend) as explainer:
            found = explainer(x.numpy(), np.array(targets)).maps["input"].ravel().astype(np.float64)
        away = 1 - found @ wanted / np.linalg.norm(found) / np.linalg.norm(wanted)
        with rc.Explainer(file, ["stages", "fused"], backend=backend) as explainer:
            maps[backend] = away, explainer(x.numpy(), np.array(targets)).maps
    ours = maps["compiled"][1]
    apart = max(float(np.abs(maps["eager"][1][k] - v).max() / max(np.abs(v).max(), 1e-30)) for k, v in ours.items())
    return [name, *(f"{abs(maps[b][0]):.0e}" for b in maps), f"{apart:.0e}", " ".join(k for k in ours if k != "fused")]


def main() -> None:
    """Compare, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the table of docs/heads.md")
    options = parser.parse_args()
    vision = torchvision()
    vision.extension._assert_has_ops = vision.ops.boxes._assert_has_ops = missing
    library = torch.library.Library("torchvision", "IMPL")
    library.impl("nms", suppressed, "CPU")
    rows = []
    for name in (*SEGMENTERS, *DETECTORS):
        rows.append(compared(name))
        print(*rows[-1], sep=" | ", flush=True)
    if options.write:
        head = ["network", "1 - cosine, compiled", "eager", "eager beside compiled", "stages"]
        fill(PAGE, {"gradients": table(head, rows)})


if __name__ == "__main__":
    main()
