"""The networks that the benchmarks of the compiled backend run, as files and as they are explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from benchmarks.cost import LITE, ROOT, resnet
from relcam_onnx.compiling.compile import compile_prepared
from relcam_onnx.onnx_file.load import load, with_sizes
from relcam_onnx.prepare import Prepared

if TYPE_CHECKING:
    import torch

SIZE = 224


@dataclass(frozen=True)
class Net:
    """One network: what tables call it, and what gives its file."""

    name: str
    file: Callable[[], Path]

    @property
    def stages(self) -> list[str]:
        """Its stages by name, from the scores down."""
        return [layer.name for layer in reversed(Prepared(self.file(), "stages").layers.stages)]


def prepared(file: Path, layers: str | Sequence[str], size: int = SIZE) -> Prepared:
    """An explanation by the default preset and method, the picture's size fixed as `Explainer` fixes it."""
    model = load(file)
    return Prepared(with_sizes(model, {model.graph.inputs[0].name: (3, size, size)}), layers)


def compiled(file: Path, layers: str | Sequence[str], size: int = SIZE, *, several: bool = False) -> onnx.ModelProto:
    """The model that `Explainer` runs for pictures of this size, for one target or for several."""
    return compile_prepared(prepared(file, layers, size), weights=True, scores=True, single=not several)


def exported(name: str) -> Path:
    """A network of torchvision's with random weights, kept in build/; what they are does not matter to the time."""
    file = ROOT / "build" / f"{name}-random.onnx"
    if not file.exists():
        import relcam_exporters
        import torch

        file.parent.mkdir(exist_ok=True)
        example = torch.zeros(2, 3, SIZE, SIZE)
        relcam_exporters.export(random_module(name), example, file)
    return file


def random_module(name: str) -> torch.nn.Module:
    """A network of torchvision's, weights of seed 0."""
    import torch
    from relcam_exporters._torchvision import torchvision

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module: torch.nn.Module = torchvision().models.get_model(name, weights=None).eval()
    return module


RESNET = Net("ResNet-50", resnet)
LITE0 = Net("EfficientNet-Lite0", lambda: LITE)
OTHERS = tuple(
    Net(title, partial(exported, name))
    for title, name in (("VGG-16", "vgg16"), ("MobileNetV2", "mobilenet_v2"), ("DenseNet-121", "densenet121"))
)
