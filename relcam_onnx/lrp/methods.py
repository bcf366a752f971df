"""The methods: how a map is made of relevance, or of the gradient. Formulas: docs/methods.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from relcam_onnx.analysis.layers import FUSED, INPUT
from relcam_onnx.lrp import gradient_cams as gradients
from relcam_onnx.lrp.fusing import geometric_mean, product_of_all
from relcam_onnx.lrp.relevance_cams import channel_weights, local_relevance_cam, lrp, relevance_cam
from relcam_onnx.ops import Backend, Value


@dataclass(frozen=True)
class Method:
    """How a map is made of relevance.

    Attributes
    ----------
    make
        (f, A, R, window) -> the map.
    keeps_channels
        Whether it is (K·N, C, h, w), not (K·N, h, w).
    needs_gradient
        Whether R must be the gradient itself: preset ``gradient`` goes with it.
    weights
        (f, A, R) -> what ``weights`` holds of each channel, (K·N, C, 1, ...).
    fuse
        (f, maps, sizes) -> one map of all stages.
    seed
        What relevance starts as unless another is named; None: the preset's.
    layers
        Where maps are made unless somewhere else is named.
    """

    make: Callable[[Backend, Value, Value, int], Value]
    keeps_channels: bool = False
    needs_gradient: bool = False
    weights: Callable[[Backend, Value, Value], Value] = channel_weights
    fuse: Callable[[Backend, Sequence[Value], Sequence[Sequence[Any]]], Value] = geometric_mean
    seed: str | None = None
    layers: tuple[str, ...] = ("stages", FUSED)

    @property
    def explains_input_alone(self) -> bool:
        """Whether it makes maps of nothing but the input."""
        return self.layers == (INPUT,)


METHODS: dict[str, Method] = {
    "local-relevance-cam": Method(local_relevance_cam),
    "relevance-cam": Method(relevance_cam),
    "lrp": Method(lrp, keeps_channels=True),
    "grad-cam": Method(gradients.grad_cam, needs_gradient=True),
    "grad-cam++": Method(gradients.grad_cam_plus_plus, needs_gradient=True, weights=gradients.plus_plus_weights),
    "xgrad-cam": Method(gradients.xgrad_cam, needs_gradient=True, weights=gradients.xgrad_weights),
    "layer-cam": Method(gradients.layer_cam, needs_gradient=True),
    "hires-cam": Method(gradients.hires_cam, needs_gradient=True),
    "refine-cam": Method(gradients.hires_cam, needs_gradient=True, fuse=product_of_all),
    "finer-cam": Method(gradients.grad_cam, needs_gradient=True, seed="finer"),
    "eigen-cam": Method(gradients.eigen_cam, needs_gradient=True),
    "eigen-grad-cam": Method(gradients.eigen_grad_cam, needs_gradient=True),
    "saliency": Method(gradients.saliency, keeps_channels=True, needs_gradient=True, layers=(INPUT,)),
    "gradient-x-input": Method(
        gradients.gradient_times_input, keeps_channels=True, needs_gradient=True, layers=(INPUT,)
    ),
}
"""The methods by name."""
