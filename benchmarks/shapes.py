"""A network whose objects' places are known: a plain ResNet, trained on drawn shapes in a few minutes on two cores.

python -m benchmarks.shapes
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks.cost import ROOT
from relcam_onnx.pictures.preprocess import Preprocess

if TYPE_CHECKING:
    import torch

SIZE = 64
LABELS = ("circle", "square", "triangle", "star", "cross", "arrow")
FILE = ROOT / "build" / "shapes-resnet.onnx"
WIDTHS = (12, 24, 48, 96)
STEPS, BATCH, RATE = 2500, 32, 4e-3
HELD_OUT = 10**6
"""Seeds from here on are not trained on."""


class Drawing(NamedTuple):
    """A picture, uint8 (64, 64, 3), its class, and the shape's corners as (x, y) in pixels."""

    pixels: NDArray[np.uint8]
    label: int
    corners: NDArray[np.float64]


def draw(seed: int) -> Drawing:
    """One filled shape, anywhere, of any size and turn, on a ground of coarse and fine noise and strokes."""
    rng = np.random.default_rng(seed)
    label = int(rng.integers(len(LABELS)))
    coarse = Image.fromarray(rng.integers(40, 216, (6, 6, 3), np.uint8)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    pencil = ImageDraw.Draw(coarse)
    for _ in range(6):
        pencil.line([tuple(end) for end in rng.uniform(0, SIZE, (2, 2))], colour(rng), int(rng.integers(1, 3)))
    radius, turn = rng.uniform(9, 17), rng.uniform(0, 2 * np.pi)
    middle = rng.uniform(radius, SIZE - radius, 2)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    corners = outline(LABELS[label]) * radius @ rotation + middle
    pencil.polygon([tuple(corner) for corner in corners], fill=colour(rng))
    noisy = np.asarray(coarse, float) + rng.normal(0, 12, (SIZE, SIZE, 3))
    return Drawing(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), label, corners)


def colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """Any."""
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue


def outline(label: str) -> NDArray[np.float64]:
    """The corners of a shape of radius 1 around the origin."""
    if label == "cross":
        third = 0.34
        arm = np.array([[third, 1.0], [third, third], [1.0, third], [1.0, -third], [third, -third], [third, -1.0]])
        return np.concatenate([arm, -arm]) * 0.9
    if label == "arrow":
        return np.array([[1, 0], [0, 0.9], [0, 0.35], [-0.9, 0.35], [-0.9, -0.35], [0, -0.35], [0, -0.9]])
    count = {"circle": 48, "square": 4, "triangle": 3, "star": 10}[label]
    angles = np.arange(count) * 2 * np.pi / count
    radii = np.where(np.arange(count) % 2, 0.42, 1.0) if label == "star" else np.ones(count)
    return radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def pictures(folder: Path, count: int = 300) -> Path:
    """Drawings that were not trained on, as files with labels and outlines; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    names, outlines = [], {}
    for number in range(count):
        pixels, label, corners = draw(HELD_OUT + number)
        name = f"{number:03}-{LABELS[label]}.png"
        Image.fromarray(pixels).save(folder / name)
        names.append((name, label))
        outlines[name] = [np.round(corners / SIZE, 4).tolist()]
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "index"), *names])
    (folder / "outlines.json").write_text(json.dumps(outlines), encoding="utf-8")
    return folder


def resnet() -> torch.nn.Module:
    """A basic block at each of the strides 1, 2, 4 and 8."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.bn1, self.bn2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)
            self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
            same = before == after and stride == 1
            self.skip = (
                nn.Identity()
                if same
                else nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
            total: torch.Tensor = self.relu2(y + self.skip(x))
            return total

    layers: list[nn.Module] = [nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU()]
    before = WIDTHS[0]
    for place, width in enumerate(WIDTHS):
        layers.append(Block(before, width, 2 if place else 1))
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, len(LABELS)))


def network() -> Path:
    """The trained network as our exporter writes it, kept in build/."""
    if not FILE.exists():
        import relcam_exporters
        import torch

        module = trained()
        FILE.parent.mkdir(exist_ok=True)
        preprocess = Preprocess(size=(SIZE, SIZE), resize_size=SIZE, mean=(0.5,) * 3, std=(0.25,) * 3)
        example = torch.zeros(2, 3, SIZE, SIZE)
        relcam_exporters.export(
            module,
            example,
            FILE,
            preprocess=preprocess,
            labels=list(LABELS),
            dynamic=("batch", "height", "width"),  # mosaics are larger
        )
    return FILE


def trained() -> torch.nn.Module:
    """The network after `STEPS` steps of Adam on drawings that are made as it goes."""
    import torch

    torch.manual_seed(0)
    module = resnet()
    optimiser = torch.optim.AdamW(module.parameters(), RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, STEPS)
    right = 0.0
    for step in range(STEPS):
        x, labels = (torch.from_numpy(part) for part in batch(step * BATCH))
        scores = module(x)
        loss = torch.nn.functional.cross_entropy(scores, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        right = 0.98 * right + 0.02 * float((scores.argmax(1) == labels).float().mean())
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss.item():.3f}, right {right:.3f}", flush=True)
    return module.eval()


def batch(start: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Drawings as the network takes them, and their classes."""
    drawn = [draw(start + number) for number in range(BATCH)]
    pixels = np.stack([d.pixels for d in drawn]).transpose(0, 3, 1, 2).astype(np.float32)
    return (pixels / 255 - np.float32(0.5)) / np.float32(0.25), np.array([d.label for d in drawn])


if __name__ == "__main__":
    print(network())
