"""Whether maps are the same, to a share of each map's own maximum."""

from __future__ import annotations

import numpy as np

import relcam_onnx as rc


def agree(got: np.ndarray, wanted: np.ndarray, share: float = 1e-4) -> None:
    """Maps (N, K, ...), each to a share of its own maximum."""
    assert got.shape == wanted.shape
    for place in np.ndindex(*wanted.shape[:2]):
        np.testing.assert_allclose(got[place], wanted[place], rtol=0, atol=share * np.abs(wanted[place]).max())


def same_maps(got: rc.Explanation, wanted: rc.Explanation, share: float = 1e-5) -> None:
    """The maps of the same targets at the same layers; one that is all zero compares nothing."""
    np.testing.assert_array_equal(got.targets, wanted.targets)
    assert list(got.maps) == list(wanted.maps)
    for layer, value in wanted.maps.items():
        assert np.abs(value).max() > 0, layer
        agree(got.maps[layer], value, share)
