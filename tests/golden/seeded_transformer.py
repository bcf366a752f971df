"""Seeded weights and inputs for timm's vision transformers: ViT, DeiT (with distillation token), Swin.

The same numbers on every machine: NumPy's PCG64, one draw for each entry of the state dict, in the order of the
sorted keys. Attention is neither uniform nor one-hot, residual branches add less than the stream holds, and layer norms
have biases, spread weights and a few negative ones.
"""

from __future__ import annotations

import numpy as np
import torch

from .seeded_weights import seeded_input

GAIN = {"qkv": 1.3, "proj": 0.8, "fc1": 1.0, "fc2": 0.7, "reduction": 1.0, "head": 3.0, "fc": 3.0, "head_dist": 3.0}
"""A matrix's deviation times the square root of its fan-in, by the module's name."""
TOKENS = ("cls_token", "dist_token", "pos_embed")


def seeded_transformer_state(model: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """A state dict for a VisionTransformer, VisionTransformerDistilled or SwinTransformer of timm."""
    rng = np.random.default_rng(seed)
    return {
        name: torch.from_numpy(drawn(rng, name, tuple(value.shape)).astype(np.float32))
        for name, value in sorted(model.state_dict().items())
    }


def drawn(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """One entry."""
    if name.endswith("relative_position_bias_table"):
        return rng.normal(0.0, 0.5, shape)
    if name in TOKENS:
        return rng.normal(0.0, 0.2, shape)
    if name.endswith("bias"):
        return rng.normal(0.0, 0.1, shape)
    if len(shape) == 1:  # a layer norm's weight
        return rng.uniform(0.5, 1.5, shape) * np.where(rng.uniform(size=shape) < 0.1, -1, 1)
    gain = 1.0 if name.startswith("patch_embed") else GAIN[name.split(".")[-2]]
    return rng.normal(0.0, gain / np.sqrt(np.prod(shape[1:])), shape)


def transformer_input(seed: int, height: int, width: int, batch: int = 2) -> torch.Tensor:
    """The first rows and columns of `seeded_input`'s square, float32 (batch, 3, height, width)."""
    return seeded_input(seed, batch, max(height, width))[:, :, :height, :width].contiguous()
