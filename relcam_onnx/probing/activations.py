"""Probes of a layer: its channels as masks of the picture, or parts of it left out of what the layers behind it read.

Each returns the map, (K, h, w), and the weight of each channel, (K, C), where it has one.
"""

from __future__ import annotations

import numpy as np

from relcam_onnx.probing.growing import grown
from relcam_onnx.probing.subject import Floats, Subject, parts


def score_cam(subject: Subject) -> tuple[Floats, Floats | None]:
    """Σ_k A_k · softmax_k(v_k), v_k the value of the picture times channel k, resized and in 0..1.

    Wang et al. 2020, arXiv:1910.01279, without its baseline: a softmax does not see what is the same for all. Resized
    bilinearly with aligned corners, (m − min) / (max − min + 1e-8), as pytorch-grad-cam.
    """
    activation, size = subject.activation(), subject.x.shape[-2:]
    pieces = [activation[part] for part in parts(len(activation), subject.size)]
    values = [subject.values(subject.x * masks_of(piece, size)[:, None]) for piece in pieces]
    apart = np.concatenate(values).T.astype(np.float64)
    shares = np.exp(apart - apart.max(axis=1, keepdims=True))
    return weighed(activation, (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32))


def masks_of(channels: Floats, size: tuple[int, ...]) -> Floats:
    """Channels (M, h, w) at the picture's size, each from 0 to 1."""
    large = grown(channels, (size[0], size[1]), aligned=True)
    low, high = (extreme(axis=(1, 2), keepdims=True) for extreme in (large.min, large.max))
    masks: Floats = (large - low) / (high - low + np.float32(1e-8))
    return masks


def ablation_cam(subject: Subject) -> tuple[Floats, Floats | None]:
    """Σ_k A_k · (v − v_k) / abs(v), v_k the value where channel k is 0 (Desai and Ramaswamy 2020, equation 2).

    abs, so that a negative score does not turn the map over.
    """
    activation = subject.activation()
    falls = []
    for part in parts(len(activation), subject.size):
        without = np.repeat(activation[None], part.stop - part.start, axis=0)
        without[np.arange(len(without)), np.arange(part.start, part.stop)] = 0
        falls.append(subject.own - subject.values_with(without))
    scale = np.maximum(np.abs(subject.own), np.finfo(np.float32).tiny)
    return weighed(activation, (np.concatenate(falls) / scale).T.astype(np.float32))


def weighed(activation: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Σ_k w_k · A_k for each target, and the weights."""
    return np.tensordot(weights, activation, 1), weights


def recipro_cam(subject: Subject) -> tuple[Floats, Floats | None]:
    """v(A without all but position p) at each position p, less the least of them, v the probability.

    Byun and Lee 2022, arXiv:2209.14074, its mask of a single position.
    """
    activation = subject.activation()
    height, width = activation.shape[1:]
    values = []
    for part in parts(height * width, subject.size):
        alone = np.zeros((part.stop - part.start, len(activation), height * width), np.float32)
        rows, columns = np.arange(len(alone)), np.arange(part.start, part.stop)
        alone[rows, :, columns] = activation.reshape(len(activation), -1)[:, columns].T
        values.append(subject.values_with(alone.reshape(-1, *activation.shape)))
    planes = np.concatenate(values).T.reshape(-1, height, width)
    return planes - planes.min(axis=(1, 2), keepdims=True), None


def channels(samples: int, picture: tuple[int, ...], layer: tuple[int, ...]) -> int:
    """One pass for each channel."""
    return layer[0]


def places(samples: int, picture: tuple[int, ...], layer: tuple[int, ...]) -> int:
    """One pass for each position."""
    return layer[1] * layer[2]
