"""The methods: how a map is made of relevance, of the gradient, or of many runs. Formulas: docs/methods.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from relcam_onnx.analysis.layers import FUSED, INPUT
from relcam_onnx.lrp import gradient_cams as gradients
from relcam_onnx.lrp.fusing import geometric_mean, product_of_all
from relcam_onnx.lrp.relevance_cams import channel_weights, local_relevance_cam, lrp, relevance_cam
from relcam_onnx.ops import Backend, Value
from relcam_onnx.probing import activations, pictures
from relcam_onnx.probing import gradients as averages
from relcam_onnx.probing.subject import Floats, Subject


@dataclass(frozen=True, kw_only=True)
class Method:
    """What all methods have.

    Attributes
    ----------
    keeps_channels
        Whether a map is (K·N, C, h, w), not (K·N, h, w).
    needs_gradient
        Whether it is made of the gradient, or of scores alone: preset ``gradient`` goes with it.
    fuse
        (f, maps, sizes) -> one map of all stages.
    seed
        What relevance starts as unless another is named; None: the preset's.
    layers
        Where maps are made unless somewhere else is named.
    """

    keeps_channels: bool = False
    needs_gradient: bool = False
    fuse: Callable[[Backend, Sequence[Value], Sequence[Sequence[Any]]], Value] = geometric_mean
    seed: str | None = None
    layers: tuple[str, ...] = ("stages", FUSED)

    @property
    def explains_input_alone(self) -> bool:
        """Whether it makes maps of nothing but the input."""
        return self.layers == (INPUT,)


@dataclass(frozen=True)
class Walked(Method):
    """A method whose maps are made of what one reverse walk brings to a layer.

    Attributes
    ----------
    make
        (f, A, R, window) -> the map.
    weights
        (f, A, R) -> what ``weights`` holds of each channel, (K·N, C, 1, ...).
    """

    make: Callable[[Backend, Value, Value, int], Value]
    weights: Callable[[Backend, Value, Value], Value] = channel_weights


@dataclass(frozen=True, kw_only=True)
class Probe(Method):
    """A method that runs the model again and again; one of three kinds.

    Attributes
    ----------
    passes
        (samples, picture's shape, layer's shape) -> how many runs for each picture, whatever the number of targets.
    picture
        The map of a picture, (K, C, H, W), by what is hidden in it.
    gradient
        The same, by gradients at other places.
    layer
        The map of a layer, (K, h, w), and the channels' weights, (K, C), where it has them.
    changes_layer
        Whether it puts something in the place of the layer's activation.
    of_probability
        Whether its value is the target's probability, not what the seed weighs of the scores.
    needs_baselines
        Whether it starts from pictures that stand for the usual.
    samples
        How many masks, copies or steps where nobody says; 0 where there is nothing to choose.
    """

    passes: Callable[[int, tuple[int, ...], tuple[int, ...]], int]
    picture: Callable[[Subject], Floats] | None = None
    gradient: Callable[[Subject], Floats] | None = None
    layer: Callable[[Subject], tuple[Floats, Floats | None]] | None = None
    changes_layer: bool = False
    of_probability: bool = False
    needs_baselines: bool = False
    samples: int = 0
    needs_gradient: bool = True


def as_samples(samples: int, picture: tuple[int, ...], layer: tuple[int, ...]) -> int:
    """As many runs as samples."""
    return samples


AT_INPUT: dict[str, Any] = {"keeps_channels": True, "needs_gradient": True, "layers": (INPUT,)}

METHODS: dict[str, Walked | Probe] = {
    "local-relevance-cam": Walked(local_relevance_cam),
    "relevance-cam": Walked(relevance_cam),
    "lrp": Walked(lrp, keeps_channels=True),
    "grad-cam": Walked(gradients.grad_cam, needs_gradient=True),
    "grad-cam++": Walked(gradients.grad_cam_plus_plus, gradients.plus_plus_weights, needs_gradient=True),
    "xgrad-cam": Walked(gradients.xgrad_cam, gradients.xgrad_weights, needs_gradient=True),
    "layer-cam": Walked(gradients.layer_cam, needs_gradient=True),
    "hires-cam": Walked(gradients.hires_cam, needs_gradient=True),
    "refine-cam": Walked(gradients.hires_cam, fuse=product_of_all, needs_gradient=True),
    "finer-cam": Walked(gradients.grad_cam, seed="finer", needs_gradient=True),
    "eigen-cam": Walked(gradients.eigen_cam, needs_gradient=True),
    "eigen-grad-cam": Walked(gradients.eigen_grad_cam, needs_gradient=True),
    "saliency": Walked(gradients.saliency, **AT_INPUT),
    "gradient-x-input": Walked(gradients.gradient_times_input, **AT_INPUT),
    "score-cam": Probe(layer=activations.score_cam, passes=activations.channels),
    "ablation-cam": Probe(layer=activations.ablation_cam, passes=activations.channels, changes_layer=True),
    "recipro-cam": Probe(
        layer=activations.recipro_cam, passes=activations.places, changes_layer=True, of_probability=True
    ),
    "occlusion": Probe(picture=pictures.occlusion, passes=pictures.occlusion_passes, **AT_INPUT),
    "rise": Probe(picture=pictures.rise, passes=as_samples, of_probability=True, samples=2000, **AT_INPUT),
    "smoothgrad": Probe(gradient=averages.smoothgrad, passes=as_samples, samples=50, **AT_INPUT),
    "integrated-gradients": Probe(gradient=averages.integrated_gradients, passes=as_samples, samples=50, **AT_INPUT),
    "expected-gradients": Probe(
        gradient=averages.expected_gradients, passes=as_samples, samples=100, needs_baselines=True, **AT_INPUT
    ),
}
"""The methods by name."""
