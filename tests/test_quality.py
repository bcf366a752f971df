"""The figures of docs/quality.md: what reads them is right, and the default keeps the promise that they make."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.measures import (
    MODEL,
    Classifier,
    Mosaic,
    blurred,
    focus,
    fours,
    insertion_minus_deletion,
    pairs,
    points,
)
from benchmarks.quality import LAYERS, in_mosaics, named
from relcam_onnx import Explainer


def test_focus_and_pointing_of_known_maps() -> None:
    mosaic = Mosaic(("cat", "palace", "palace", "cat"))
    heat = np.zeros((4, 6), np.float32)
    heat[0, 0], heat[3, 5] = 3, 1  # the first and the last tile
    heat[0, 5] = 4  # the second
    heat[3, 0] = -9  # the third; what is negative does not count
    assert mosaic.classes == ["cat", "palace"]
    assert focus(heat, mosaic.tiles("cat")) == focus(heat, mosaic.tiles("palace")) == 0.5
    assert points(heat, mosaic.tiles("palace"))
    assert not points(heat, mosaic.tiles("cat"))
    assert focus(-np.ones((4, 6), np.float32), mosaic.tiles("cat")) == 0


def test_mosaics() -> None:
    assert [mosaic.names for mosaic in pairs("abc")] == [
        ("a", "b", "b", "a"),
        ("a", "c", "c", "a"),
        ("b", "c", "c", "b"),
    ]
    assert len(fours("abcde")) == 5


def test_insertion_and_deletion_reward_the_pixels_that_count() -> None:
    """A "model" that sees only the left half of a picture: the areas under its curves are known."""
    x = np.zeros((3, 64, 64), np.float32)
    x[:, 8:56, :16] = 1
    veil = blurred(x)

    def probability(pictures: np.ndarray) -> np.ndarray:
        """0 for the blur, 1 for the picture, linear between."""
        left = np.abs(pictures - veil)[..., :32].sum(axis=(1, 2, 3))
        return np.asarray(left / np.abs(x - veil)[..., :32].sum())

    columns = np.tile(np.arange(64, 0, -1, dtype=np.float32), (64, 1))
    right = insertion_minus_deletion(probability, x, columns)
    assert right > 0.4
    assert insertion_minus_deletion(probability, x, -columns) == pytest.approx(-right, abs=1e-4)


def test_blur_is_a_gaussian_of_deviation_10() -> None:
    point = np.zeros((1, 201, 201), np.float32)
    point[0, 100, 100] = 1
    spread = blurred(point)[0]
    at = np.arange(201) - 100
    assert spread.sum() == pytest.approx(1, abs=1e-4)
    assert (spread.sum(axis=0) * at**2).sum() == pytest.approx(100, rel=1e-3)
    np.testing.assert_allclose(blurred(np.ones((2, 30, 40), np.float32)), 1, atol=1e-5)


def test_a_table_of_named_rows() -> None:
    assert named(["a", "b"], {"one": ["1", "2"]}) == "|  | a | b |\n| --- | --- | --- |\n| one | 1 | 2 |"


def test_the_default_finds_a_class_at_every_stage() -> None:
    """At least 0.9 of the positive relevance in the class's own two of four tiles."""
    classifier = Classifier()
    mosaics = [Mosaic((a, b, b, a)) for a, b in [("cat", "coffee"), ("rocket", "palace"), ("flower", "cat")]]
    subjects = {name: classifier.subject(name) for mosaic in mosaics for name in mosaic.classes}
    shares = in_mosaics(Explainer(MODEL), subjects, mosaics)["focus"]
    assert shares.shape == (6, len(LAYERS))
    assert shares.mean(axis=0).min() >= 0.9
