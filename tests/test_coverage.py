"""A varied two dozen of the networks of docs/coverage.md, checked as there: adjoints, backends, exporters.

Most are written by one exporter here.

Whole networks are in ``make coverage``; vit_tiny, the 25th once, is test_attention.py's.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from relcam_exporters._torchvision import torchvision

torchvision()
timm = pytest.importorskip("timm", reason="timm comes with make test, without its dependencies")

import relcam_onnx as rc  # noqa: E402 - behind the skip
from benchmarks.coverage.cases import cases  # noqa: E402
from benchmarks.coverage.checks import check  # noqa: E402
from benchmarks.coverage.page import holds  # noqa: E402
from benchmarks.coverage.weights import calm  # noqa: E402

ONE = (1, 1, 1, 1)
"""One block a stage, where a network has a setting for it: the others are the same graph again."""
SHALLOW: dict[str, dict[str, Any]] = {
    "convnextv2_atto": {"depths": ONE},
    "deit_tiny_distilled_patch16_224": {"depth": 4},
    "edgenext_xx_small": {"depths": ONE},
    "fasternet_t0": {"depths": ONE},
    "fastvit_t8": {"layers": ONE},
    "inception_next_atto": {"depths": ONE},
    "levit_128s": {"depth": (1, 1, 1), "img_size": 64},
    "mambaout_femto": {"depths": ONE},
    "resnet18": {"layers": ONE},
    "rexnet_100": {"depth_mult": 0.34},
    "starnet_s1": {"depths": ONE},
}
TRIED = """
efficientnet_b0 ghostnet_100 hgnetv2_b0 lcnet_035 mobilenetv3_small_050 mobilenetv4_conv_small hardcorenas_a regnety_002
poolformer_s12 selecsls42b resnest14d tv:mnasnet0_5 tv:shufflenet_v2_x0_5
"""
ONCE = {"edgenext_xx_small", "fastvit_t8", "levit_128s", "rexnet_100", *TRIED.split()}
"""Those that PyTorch's newer exporter takes long for."""
CASES = {case.name: case for case in cases()}


@pytest.mark.parametrize("name", [*SHALLOW, *TRIED.split()])
@pytest.mark.filterwarnings("ignore")
def test_a_network_holds_all_that_is_checked(name: str) -> None:
    case = CASES[name]
    options = case.options | SHALLOW.get(name, {})
    case = case._replace(options=options, size=options.get("img_size", case.size))
    x = case.pictures()
    found = check(calm(case.build(), x, 0), x, both=name not in ONCE)
    assert holds(found._asdict()), found


class AcrossPictures(torch.nn.Module):
    """Its positions attend to those of the other pictures of the batch, as csatv2's do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Conv2d(3, 1, 4, 4), torch.nn.Conv2d(1, 4, 3, padding=1)
        self.head = torch.nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        flat = x.flatten(1)
        x = x + ((flat @ flat.T).softmax(dim=-1) @ flat).reshape(x.shape)
        return self.head(self.last(x).mean((2, 3)))


def of_lstms() -> torch.nn.Module:
    """A small Sequencer."""
    sizes = {"layers": (1, 1, 1, 1), "embed_dims": (8, 8, 8, 8), "hidden_sizes": (4, 4, 4, 4)}
    return timm.models.sequencer.Sequencer2d(num_classes=5, img_size=56, **sizes)


@pytest.mark.parametrize("build", [AcrossPictures, of_lstms])
@pytest.mark.filterwarnings("ignore")
def test_a_network_that_is_refused_leaves_a_layer_and_a_method(build: Any) -> None:
    x = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    with pytest.raises(rc.UnsupportedModelError, match="relevance cannot pass") as raised:
        check(calm(build(), x, 0), x, both=False)
    layer, method = raised.value.__notes__
    assert layer.startswith("layer ")
    assert layer.endswith(" is explained")
    assert method == "method 'rise' is explained"
