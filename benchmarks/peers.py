"""Other libraries beside relcam-onnx: one picture, one target, ResNet-50 with the same weights, all in one run.

``python -m benchmarks.peers`` prints the table, ``--write`` puts it into docs/speed.md, ``--quick`` is for trying. It
needs the extras ``export`` and ``bench``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

import relcam_onnx as rc
from benchmarks.compiled import PAGE
from benchmarks.models import RESNET, SIZE, random_module
from benchmarks.page import fill, table
from benchmarks.timing import Call, compare_work, processor_time, running, session, work

THREADS = 1  # processor time is compared: libraries differ in how their threads wait
LAYERS = ("layer4", "layer3", "layer2", "layer1")
TARGET = 0
PIXELS = np.random.default_rng(0).standard_normal((1, 3, SIZE, SIZE), np.float32)

Array = NDArray[Any]


class Peer(NamedTuple):
    """One library's map.

    Attributes
    ----------
    name, layer
        What makes it, and where.
    call
        Makes it once.
    same
        The options of `Explainer` that make the same map; None where relcam-onnx has no such map.
    seconds
        The processor time of one call where it is too long to be repeated.
    """

    name: str
    layer: str
    call: Call
    same: dict[str, Any] | None = None
    seconds: float | None = None


def zennit(layer: str) -> Peer:
    """EpsilonPlus, from the scores to the layer and no further, its hooks set once."""
    module, x = random_module("resnet50"), torch.from_numpy(PIXELS).requires_grad_()
    from zennit.composites import EpsilonPlus
    from zennit.torchvision import ResNetCanonizer

    EpsilonPlus(canonizers=[ResNetCanonizer()]).register(module)
    kept: dict[str, torch.Tensor] = {}
    module.get_submodule(layer).register_forward_hook(lambda _, __, output: kept.update(output=output))

    def call() -> Array:
        scores = module(x)
        (relevance,) = torch.autograd.grad(scores[0, TARGET], kept["output"])
        return relevance.numpy()

    return Peer("zennit, EpsilonPlus", layer, call, {"preset": "epsilon-plus", "seed": "one-hot"})


def captum() -> Peer:
    """LRP, α1β0 in convolutions and ε in the dense layer, on a copy that has what it asks for.

    It takes no batch norm and no module that is called twice, so batch norms are folded and each ReLU is its own. It
    has no rule for the sum at the end of a block, which hands all relevance to both sides.
    """
    from captum.attr import LRP
    from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule
    from torch.fx.experimental.optimization import fuse

    module: Any = fuse(random_module("resnet50"))
    for node in [node for node in module.graph.nodes if node.op == "call_module"]:
        part = module.get_submodule(node.target)
        if isinstance(part, torch.nn.ReLU):
            module.add_submodule(node.name, torch.nn.ReLU())
            node.target = node.name
        elif isinstance(part, torch.nn.Conv2d):
            part.rule = Alpha1_Beta0_Rule()
    module.recompile()
    return Peer("captum, LRP", "input", partial(LRP(module).attribute, torch.from_numpy(PIXELS), target=TARGET))


def grad_cam(kind: str, layer: str) -> Peer:
    """One of grad-cam's methods, the map resized to the picture as it does."""
    module, x = random_module("resnet50"), torch.from_numpy(PIXELS)
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    cam = getattr(pytorch_grad_cam, kind)(model=module, target_layers=[module.get_submodule(layer)])
    call = partial(cam, input_tensor=x, targets=[ClassifierOutputTarget(TARGET)])
    if kind == "ScoreCAM":
        return Peer(f"grad-cam, {kind}", layer, call, None, processor_time(call))
    return Peer(f"grad-cam, {kind}", layer, call, {"method": "grad-cam"})


def dianna(masks: int) -> Peer:
    """RISE on the same ONNX file, the share of kept pixels given (found by itself, it takes 900 masks more)."""
    from dianna import explain_image

    options = {"n_masks": masks, "p_keep": 0.5, "axis_labels": {0: "channels"}}
    model = session(RESNET.file(), THREADS)  # of its own it would open one on every core

    def scores(pictures: Array) -> Array:
        return np.asarray(model.run(None, {model.get_inputs()[0].name: np.asarray(pictures, np.float32)})[0])

    call = partial(explain_image, scores, PIXELS[0], "RISE", labels=[TARGET], **options)
    return Peer(f"dianna, RISE, {masks} masks", "input", call, None, processor_time(call))


def peers(*, quick: bool) -> Iterator[Peer]:
    """All that are measured."""
    layers = LAYERS[2:3] if quick else LAYERS
    yield from map(zennit, layers)
    yield captum()
    yield from (grad_cam("GradCAM", layer) for layer in layers)
    yield grad_cam("ScoreCAM", "layer1")
    yield dianna(100 if quick else 1000)


def likeness(peer: Peer) -> str:
    """The cosine between the library's map and the same map of relcam-onnx."""
    if peer.same is None:
        return "no"
    theirs = np.asarray(peer.call(), np.float64).ravel()
    with rc.Explainer(RESNET.file(), peer.layer, threads=THREADS, **peer.same) as explainer:
        ours = explainer(PIXELS, TARGET).maps[peer.layer][:, 0]
    if ours.size != theirs.size:
        from pytorch_grad_cam.utils.image import scale_cam_image

        ours = scale_cam_image(ours, (SIZE, SIZE))
    if not ours.any() and not theirs.any():
        return "yes, both zero"
    return f"yes, cosine {ours.ravel() @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs):.4f}"


def measured(peer: Peer, rounds: int) -> list[str]:
    """One row: its time, in forward passes, and over the times of relcam-onnx's default map and of the same map."""
    seconds, passes = against(peer, running(session(RESNET.file(), THREADS)), rounds)
    row = [peer.name, peer.layer, f"{1e3 * seconds:,.0f} ms", f"{passes:,.1f}"]
    asked: tuple[dict[str, Any] | None, ...] = ({}, peer.same)
    for options in asked:
        if options is None:
            row.append("")
            continue
        with rc.Explainer(RESNET.file(), peer.layer, threads=THREADS, **options) as explainer:
            row.append(f"{against(peer, partial(explainer, PIXELS, TARGET), rounds)[1]:,.1f}")
    return [*row, likeness(peer)]


def against(peer: Peer, base: Call, rounds: int) -> tuple[float, float]:
    """A library's processor time in seconds, and over another call's."""
    if peer.seconds is None:
        return work(peer.call), compare_work(peer.call, base, rounds)
    return peer.seconds, peer.seconds / work(base)


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the table of docs/speed.md")
    parser.add_argument("--quick", action="store_true", help="few rounds, one layer, few masks: to try it")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    rows = []
    for peer in peers(quick=options.quick):
        rows.append(measured(peer, 3 if options.quick else 5))
        print(*rows[-1], sep=" | ", flush=True)
    head = ["", "to", "time", "forward passes", "over our default", "over our same map", "same map"]
    found = {"peers": table(head, rows)}
    print(f"\n{found['peers']}")
    if options.write:
        fill(PAGE, found)


if __name__ == "__main__":
    main()
