"""A small vision transformer that tells drawn shapes apart, trained here in minutes: where the object is, is known."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import nn

SIDE, PATCH, WIDTH, DEPTH, HEADS = 64, 8, 96, 6, 4
SHAPES = ("disc", "ring", "square", "frame", "triangle", "cross", "bars", "diamond")
STEPS, BATCH, RATE = 3000, 96, 1e-3
ROOT = Path(__file__).parents[1]
Pool = Literal["token", "mean"]


class Attention(nn.Module):
    """As everyone writes it: queries, keys and values from one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * (width // HEADS) ** -0.5).softmax(dim=-1)
        mixed: torch.Tensor = self.proj((weights @ v).transpose(1, 2).reshape(n, tokens, width))
        return mixed


class Block(nn.Module):
    """Pre-norm: attention, then two dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2, self.attn = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), Attention()
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 3 * WIDTH), nn.GELU(), nn.Linear(3 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        whole: torch.Tensor = x + self.mlp(self.norm2(x))
        return whole


class ShapesViT(nn.Module):
    """Patches, a class token, positions, blocks, a head on the class token or on the mean over patches."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self.pool = pool
        self.patch_embed = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.cls_token = nn.Parameter(torch.randn(1, 1, WIDTH) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, (SIDE // PATCH) ** 2 + 1, WIDTH) * 0.02)
        self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(SHAPES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        x = self.norm(self.blocks(x))
        scores: torch.Tensor = self.head(x[:, 0] if self.pool == "token" else x[:, 1:].mean(dim=1))
        return scores


def background(rng: np.random.Generator) -> Image.Image:
    """Coarse noise."""
    coarse = rng.uniform(60, 190, (8, 8, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def put(
    rng: np.random.Generator, canvas: Image.Image, shape: int, half: float, x: float, y: float
) -> NDArray[np.bool_]:
    """Draw a shape of any colour around a point; where it is, holes filled."""
    mask = Image.new("L", canvas.size)
    draw, box = ImageDraw.Draw(mask), (x - half, y - half, x + half, y + half)
    inner, third = half * 0.55, half / 2.5
    match SHAPES[shape]:
        case "disc" | "ring":
            draw.ellipse(box, fill=255)
        case "square" | "frame":
            draw.rectangle(box, fill=255)
        case "triangle":
            draw.polygon([(x, y - half), (x - half, y + half), (x + half, y + half)], fill=255)
        case "diamond":
            draw.polygon([(x, y - half), (x + half, y), (x, y + half), (x - half, y)], fill=255)
        case "cross":
            draw.rectangle((x - third, y - half, x + third, y + half), fill=255)
            draw.rectangle((x - half, y - third, x + half, y + third), fill=255)
        case _:
            for offset in (-half, -half * 0.15, half * 0.7):
                draw.rectangle((x - half, y + offset, x + half, y + offset + half * 0.3), fill=255)
    whole = np.asarray(mask) > 127
    if SHAPES[shape] == "ring":
        draw.ellipse((x - inner, y - inner, x + inner, y + inner), fill=0)
    if SHAPES[shape] == "frame":
        draw.rectangle((x - inner, y - inner, x + inner, y + inner), fill=0)
    colour = tuple(int(c) for c in rng.choice([0, 255], 3) * 0.8 + rng.uniform(0, 50, 3))
    canvas.paste(colour, (0, 0), mask)
    return whole


def finished(rng: np.random.Generator, canvas: Image.Image) -> NDArray[np.float32]:
    """The pixels with a little noise: (3, SIDE, SIDE), about -1..1."""
    pixels = np.asarray(canvas, np.float32) + rng.normal(0, 8, (SIDE, SIDE, 3))
    return (pixels.transpose(2, 0, 1) / 127.5 - 1).astype(np.float32)


def single(rng: np.random.Generator, shape: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """One shape somewhere, and where."""
    canvas, half = background(rng), rng.uniform(8, 24)
    x, y = rng.uniform(half + 1, SIDE - half - 1, 2)
    mask = put(rng, canvas, shape, half, x, y)
    return finished(rng, canvas), mask


def quarters(rng: np.random.Generator, shapes: Sequence[int | None]) -> NDArray[np.float32]:
    """A shape in each quarter, or none there."""
    canvas, quarter = background(rng), SIDE / 2
    for place, shape in enumerate(shapes):
        half = rng.uniform(8, 14)
        x, y = rng.uniform(half + 1, quarter - half - 1, 2) + quarter * np.array([place % 2, place // 2])
        if shape is not None:
            put(rng, canvas, shape, half, x, y)
    return finished(rng, canvas)


def batch(rng: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """So many pictures, half of them of several shapes, and the share that each class has in them."""
    pictures, shares = [], np.zeros((count, len(SHAPES)), np.float32)
    for number in range(count):
        if rng.random() < 0.5:
            shape = int(rng.integers(len(SHAPES)))
            pictures.append(single(rng, shape)[0])
            shares[number, shape] = 1
        else:
            shapes = [int(rng.integers(len(SHAPES))) if rng.random() < 0.75 else None for _ in range(3)]
            shapes.insert(int(rng.integers(4)), int(rng.integers(len(SHAPES))))
            pictures.append(quarters(rng, shapes))
            for shape in shapes:
                if shape is not None:
                    shares[number, shape] += 1
    return torch.from_numpy(np.stack(pictures)), torch.from_numpy(shares / shares.sum(axis=1, keepdims=True))


def trained(pool: Pool) -> ShapesViT:
    """The network, trained once and kept in ``build/``."""
    torch.manual_seed(0)
    module, kept = ShapesViT(pool), ROOT / "build" / f"shapes_vit_{pool}.pt"
    if kept.exists():
        module.load_state_dict(torch.load(kept, weights_only=True))
        return module.eval()
    rng = np.random.default_rng(0)
    optimiser = torch.optim.AdamW(module.parameters(), RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS)
    for step in range(STEPS):
        x, shares = batch(rng, BATCH)
        loss = nn.functional.cross_entropy(module(x), shares)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 200 == 0:
            print(f"step {step}: loss {loss.item():.3f}", file=sys.stderr, flush=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    torch.save(module.state_dict(), kept)
    return module.eval()
