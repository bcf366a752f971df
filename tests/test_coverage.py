"""A varied two dozen of the networks of docs/coverage.md, checked as there: adjoints, exporters, backends."""

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

TRIED = """
convnextv2_atto deit_tiny_distilled_patch16_224 edgenext_xx_small efficientnet_b0 fasternet_t0 fastvit_t8 ghostnet_100
hgnetv2_b0 inception_next_atto lcnet_035 levit_128s mambaout_femto mobilenetv3_small_050 mobilenetv4_conv_small
hardcorenas_a poolformer_s12 regnety_002 selecsls42b resnet18 resnest14d rexnet_100 starnet_s1 tv:mnasnet0_5
tv:shufflenet_v2_x0_5 vit_tiny_patch16_224
"""
CASES = {case.name: case for case in cases()}


@pytest.mark.parametrize("name", TRIED.split())
@pytest.mark.filterwarnings("ignore")
def test_a_network_holds_all_that_is_checked(name: str) -> None:
    case = CASES[name]
    x = case.pictures()
    found = check(calm(case.build(), x, 0), x)
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
        check(calm(build(), x, 0), x)
    layer, method = raised.value.__notes__
    assert layer.startswith("layer ")
    assert layer.endswith(" is explained")
    assert method == "method 'rise' is explained"
