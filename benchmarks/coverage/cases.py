"""The cases: networks by family, small ones at small sizes where a family has them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from relcam_exporters._torchvision import torchvision

BATCH = 2


class Case(NamedTuple):
    """One network.

    Attributes
    ----------
    name
        As its library calls it; ``tv:`` before torchvision's.
    size
        Of its pictures.
    family
        What its table calls the family.
    options
        Of ``timm.create_model``.
    """

    name: str
    size: int
    family: str
    options: dict[str, Any]

    def build(self) -> torch.nn.Module:
        """The network, freshly initialised."""
        torch.manual_seed(0)
        library = torchvision()
        if self.name.startswith("tv:"):
            made: torch.nn.Module = library.models.get_model(self.name[3:], weights=None, **self.options)
            return made
        import timm  # noqa: PLC0415 - it imports torchvision, which is made importable first

        network: torch.nn.Module = timm.create_model(self.name, pretrained=False, **self.options)
        return network

    def pictures(self) -> torch.Tensor:
        """A batch that it takes."""
        return torch.randn(BATCH, 3, self.size, self.size, generator=torch.Generator().manual_seed(1))


def cases() -> list[Case]:
    """All of them."""
    return [*(timm_case(line) for line in TIMM.strip().splitlines()), *vision()]


def vision() -> list[Case]:
    """torchvision's classification networks, each one's smallest picture that its strides leave positions of."""
    models = torchvision().models
    found = []
    for name in models.list_models(module=models):
        if name in TOO_LARGE:
            continue
        fixed = name.startswith(("vit", "maxvit", "vgg", "alexnet"))
        size = 224 if fixed else 128 if name in ("inception_v3", "googlenet") else 64
        options = {"init_weights": False} if name in ("inception_v3", "googlenet") else {}
        found.append(Case(f"tv:{name}", size, "torchvision", options))
    return found


TOO_LARGE = {"vit_h_14", "vit_l_16", "vit_l_32", "regnet_y_128gf"}
"""More than 1.2 GB of weights: their smaller siblings are the same graphs, but for numbers."""


def timm_case(line: str) -> Case:
    """A line of the list: family, name, size, and whether the network is built for that size."""
    family, name, size, *built = line.split()
    return Case(name, int(size), family, {"img_size": int(size)} if built else {})


# The family (timm's module), a network, its size in pixels.
TIMM = """
beit beit_base_patch16_224 64 built
byoanet botnet26t_256 256
byoanet eca_botnext26ts_256 256
byoanet halonet26t 256
byoanet lambda_resnet26t 128
byoanet lamhalobotnet50ts_256 256
byobnet gernet_s 64
byobnet mobileone_s0 64
byobnet repvgg_a0 64
byobnet seresnet33ts 64
cait cait_xxs24_224 64 built
coat coat_tiny 64 built
convit convit_tiny 64 built
convmixer convmixer_768_32 64
convnext convnext_atto 64
convnext convnextv2_atto 64
cpubone cpubone_b0_bfrobust 64
crossvit crossvit_tiny_240 240
csatv2 csatv2 512
cspnet cspdarknet53 64
cspnet cspresnet50 64
cspnext cspnext_tiny 64
davit davit_tiny 64
deit deit_tiny_distilled_patch16_224 64 built
densenet densenet121 64
dla dla34 64
dpn dpn48b 64
edgenext edgenext_xx_small 64
efficientformer efficientformer_l1 224
efficientformer_v2 efficientformerv2_s0 224
efficientnet efficientnet_b0 64
efficientnet mixnet_s 64
efficientnet mnasnet_small 64
efficientnet tf_efficientnet_b0 64
efficientvim efficientvim_m1 224
efficientvit_mit efficientvit_b0 64
efficientvit_msra efficientvit_m0 224
eva eva02_tiny_patch14_224 56 built
eva vit_pe_core_tiny_patch16_384 64 built
fasternet fasternet_t0 64
fastvit fastvit_t8 64
focalnet focalnet_tiny_srf 64
gcvit gcvit_xxtiny 224
ghostnet ghostnet_100 64
ghostnet ghostnetv2_100 64
ghostnet ghostnetv3_050 64
hardcorenas hardcorenas_a 64
hgnet hgnetv2_b0 64
hiera hiera_tiny_224 224
hieradet_sam2 hieradet_small 256
hrnet hrnet_w18_small 64
iformer iformer_t 64
inception_next inception_next_atto 64
inception_resnet_v2 inception_resnet_v2 128
inception_v3 inception_v3 128
inception_v4 inception_v4 128
lcnetv2 lcnetv2_small 64
levit levit_128s 224
lowformer lowformer_b0 64
mambaout mambaout_femto 64
maxxvit coatnet_nano_rw_224 64 built
maxxvit maxvit_rmlp_pico_rw_256 64 built
metaformer caformer_s18 64
metaformer convformer_s18 64
metaformer poolformer_s12 64
mlp_mixer gmlp_s16_224 64 built
mlp_mixer mixer_s32_224 64 built
mlp_mixer resmlp_12_224 64 built
mobilenetv3 lcnet_035 64
mobilenetv3 mobilenetv3_small_050 64
mobilenetv3 mobilenetv4_conv_small 64
mobilenetv3 mobilenetv4_hybrid_medium 64
mobilevit mobilevit_xxs 128
mobilevit mobilevitv2_050 128
mvitv2 mvitv2_tiny 224
naflexvit naflexvit_base_patch16_gap 384
nasnet nasnetalarge 96
nest nest_tiny 64 built
nextvit nextvit_small 64
nfnet dm_nfnet_f0 64
nfnet eca_nfnet_l0 64
nfnet nfnet_f0 64
pit pit_ti_224 112 built
pnasnet pnasnet5large 96
pvt_v2 pvt_v2_b0 64
qwen3_vit qwen3_vit_88m 64
rdnet rdnet_tiny 64
regnet regnetx_002 64
regnet regnety_002 64
repghost repghostnet_050 64
repvit repvit_m0_9 64
res2net res2net50_14w_8s 64
resnest resnest14d 64
resnet resnet18 64
resnetv2 resnetv2_50 64
resnetv2 resnetv2_50x1_bit 64
rexnet rexnet_100 64
selecsls selecsls42b 64
senet legacy_seresnet18 64
sequencer sequencer2d_s 224
shvit shvit_s1 128
sknet skresnet18 64
starnet starnet_s1 64
swiftformer swiftformer_xs 64
swin_transformer swin_tiny_patch4_window7_224 112 built
swin_transformer_v2 swinv2_tiny_window8_256 128 built
swin_transformer_v2_cr swinv2_cr_tiny_224 224
tiny_vit tiny_vit_5m_224 224
tnt tnt_s_legacy_patch16_224 64 built
tresnet tresnet_m 64
twins twins_pcpvt_small 64
vgg vgg11 224
visformer visformer_tiny 64 built
vision_transformer vit_small_patch14_reg4_dinov2 56 built
vision_transformer vit_tiny_patch16_224 64 built
vision_transformer_hybrid vit_tiny_r_s16_p8_224 64 built
vision_transformer_relpos vit_relpos_small_patch16_224 64 built
vision_transformer_sam samvit_base_patch16_224 64 built
vitamin vitamin_small_224 64 built
volo volo_d1_224 64 built
vovnet ese_vovnet19b_slim 64
xception legacy_xception 128
xception_aligned xception41 64
xcit xcit_nano_12_p16_224 64 built
"""
