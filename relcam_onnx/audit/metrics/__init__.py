"""How good a map is, by the measures of the literature: where it lies, what it finds, what it hangs on.

All of them take arrays and return numbers; what they need of a model is a function of pictures.
"""

from __future__ import annotations

from relcam_onnx.audit.metrics.deletion import (
    blurred,
    deletion,
    imputed,
    insertion,
    road,
    single_deletion,
    without_patches,
)
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
from relcam_onnx.audit.metrics.sensitivity import correlation, randomised, weights_from_the_top
from relcam_onnx.audit.metrics.statistics import Estimate, auroc, bootstrap, spearman

__all__ = [
    "Estimate",
    "auroc",
    "average_precision",
    "best_iou",
    "blurred",
    "bootstrap",
    "correlation",
    "deletion",
    "imputed",
    "in_tiles",
    "insertion",
    "iou",
    "mass_accuracy",
    "points",
    "points_at_tile",
    "randomised",
    "rank_accuracy",
    "road",
    "single_deletion",
    "spearman",
    "weights_from_the_top",
    "without_patches",
]
