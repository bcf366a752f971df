"""How much an audit measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relcam_onnx.audit.experiments import Curves


@dataclass(frozen=True)
class Extent:
    """How many items of each kind, at most, and beside which other methods.

    Attributes
    ----------
    each
        Of a picture: detections, or classes of most pixels.
    grids, pairs, outlines, deletions, classes, weights, disturbed, activations, shattering, confidence,
    accounts
        Of GridPG, Focus, outlines and the model's own regions, deleting, classes, weights drawn anew, noise and shifts,
        activations against the reference's, the two plots of gradients, and where relevance goes.
    curves
        What deleting measures.
    depths
        Of the weights, from the top, that are drawn anew; 0 is the classifier alone.
    beside
        Row -> options of `Explainer`: other methods, measured in pairs with the audited one.
    """

    each: int
    grids: int
    pairs: int
    outlines: int
    deletions: int
    classes: int
    weights: int
    disturbed: int
    activations: int
    shattering: int
    confidence: int
    accounts: int
    curves: Curves
    depths: tuple[float, ...]
    beside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


QUICK = Extent(
    each=3, grids=3, pairs=3, outlines=20, deletions=3, classes=20, weights=5, disturbed=3, activations=2,
    shattering=0, confidence=0, accounts=0,
    curves=Curves(road=False), depths=(1.0,),
)  # fmt: skip
FULL = Extent(
    each=5, grids=60, pairs=40, outlines=200, deletions=60, classes=80, weights=20, disturbed=40, activations=10,
    shattering=10, confidence=3, accounts=5,
    curves=Curves(), depths=(0.0, 0.1, 0.25, 0.5, 1.0),
    beside={
        "grad-cam": {"method": "grad-cam"},
        "layer-cam": {"method": "layer-cam"},
        "relevance-cam": {"preset": "paper"},
    },
)  # fmt: skip
EXTENTS = {"quick": QUICK, "full": FULL}
