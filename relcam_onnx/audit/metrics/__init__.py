"""How good a map is, by the measures of the literature: where it lies, what it finds, what it hangs on.

All of them take arrays and return numbers; what they need of a model is a function of pictures.
"""

from __future__ import annotations

from relcam_onnx.audit.metrics.deletion import (
    PATCHES,
    SHARES,
    STEPS,
    Score,
    blurred,
    deletion,
    imputed,
    insertion,
    road,
    single_deletion,
    without_patches,
)
from relcam_onnx.audit.metrics.masking import Left, first_half, left, times_map
from relcam_onnx.audit.metrics.pairs import FARTHEST, centre, cosine, entropy, rank, region_iou, shift
from relcam_onnx.audit.metrics.places import (
    average_precision,
    best_iou,
    in_tiles,
    iou,
    mass_accuracy,
    points,
    points_at_tile,
    rank_accuracy,
)
from relcam_onnx.audit.metrics.sensitivity import correlation, drawn
from relcam_onnx.audit.metrics.statistics import Estimate, auroc, bootstrap, spearman

__all__ = [
    "FARTHEST",
    "PATCHES",
    "SHARES",
    "STEPS",
    "Estimate",
    "Left",
    "Score",
    "auroc",
    "average_precision",
    "best_iou",
    "blurred",
    "bootstrap",
    "centre",
    "correlation",
    "cosine",
    "deletion",
    "drawn",
    "entropy",
    "first_half",
    "imputed",
    "in_tiles",
    "insertion",
    "iou",
    "left",
    "mass_accuracy",
    "points",
    "points_at_tile",
    "rank",
    "rank_accuracy",
    "region_iou",
    "road",
    "shift",
    "single_deletion",
    "spearman",
    "times_map",
    "without_patches",
]
