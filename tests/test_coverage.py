"""A varied two dozen of the networks of docs/coverage.md, checked as there: adjoints, exporters, backends."""

from __future__ import annotations

import pytest
from relcam_exporters._torchvision import torchvision

torchvision()
timm = pytest.importorskip("timm", reason="timm comes with make test, without its dependencies")

from benchmarks.coverage.cases import cases  # noqa: E402 - behind the skip
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
