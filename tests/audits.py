"""Small models and pictures for audits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from nets import Net
from PIL import Image

SIDE = 32
PREPROCESS = {"size": [SIDE, SIDE], "resize": "squash", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (40, 60, 230), "yellow": (220, 210, 30)}
MARK = (255, 0, 255)
"""Of a watermark: no blob has it."""


def seeing(*, labels: list[str] | None = None, shift: float = 0.0, side: int = SIDE) -> onnx.ModelProto:
    """Tells blobs of four colours, wherever they are; the first class is also told by a magenta mark.

    ``shift`` is added to the weights of the second layer.
    """
    net = Net("N", 3, side, side)
    wanted = [*COLOURS.values(), MARK]
    # How alike a pixel is to each colour, by a direction; what is not alike stays under 0.
    ways = np.array([(np.array(c) / 255 - 0.5) / 0.25 for c in wanted], np.float32)
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    alike = net("Conv", net.x, ways.reshape(5, 3, 1, 1), np.full(5, -2.3, np.float32), kernel_shape=[1, 1])
    x = net("Relu", alike, name="first")
    x = net("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    smooth = np.zeros((5, 5, 3, 3), np.float32)
    for k in range(5):
        smooth[k, k] = np.outer([1, 2, 1], [1, 2, 1]) / 16
    x = net(
        "Relu",
        net("Conv", x, smooth + np.float32(shift), kernel_shape=[3, 3], pads=[1] * 4, name="blur"),
        name="second",
    )
    head = np.zeros((4, 5), np.float32)
    head[:, :4] = 40 * np.eye(4) - 2
    head[0, 4] = 200
    pooled = net("Flatten", net("GlobalAveragePool", x))
    names = labels or list(COLOURS)
    told = {"relcam.preprocess": json.dumps({**PREPROCESS, "size": [side, side]}), "relcam.labels": json.dumps(names)}
    return net.model(net("Gemm", pooled, head, transB=1, name="scores"), **told)


def blob(colour: str, rng: np.random.Generator, *, marked: bool = False) -> Image.Image:
    """A square of a colour somewhere on grey noise; perhaps with a mark at the lower right."""
    pixels = rng.integers(110, 145, (SIDE, SIDE, 3)).astype(np.uint8)
    row, column = rng.integers(1, SIDE - 9, 2)
    pixels[row : row + 8, column : column + 8] = COLOURS[colour]
    if marked:
        pixels[26:30, 26:30] = MARK
    return Image.fromarray(pixels)


def folder(root: Path, count: int = 3, *, marked: int = 0) -> Path:
    """A folder a class, with so many pictures; of the first class, ``marked`` have a mark."""
    rng = np.random.default_rng(0)
    for colour in COLOURS:
        (root / colour).mkdir(parents=True)
        for place in range(count):
            picture = blob(colour, rng, marked=colour == "red" and place < marked)
            picture.save(root / colour / f"{place}.png")
    return root


def saved(model: onnx.ModelProto, file: Path) -> Path:
    """The model as a file."""
    onnx.save(model, file)
    return file
