"""Transformers: the stored figures of an independent program, PyTorch's modules under its own autograd, all spellings.

The tolerance of the stored figures is that of ``golden/README.md``: cosine ≥ 0.9999, 99 % of the entries within 5e-3 of
the largest, all within 2e-2: they were stabilised where the engine hands a product on undivided.
"""

from __future__ import annotations

import io
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from golden.seeded_transformer import seeded_transformer_state, transformer_input
from gradient_twin import relevance
from relcam_exporters import to_onnx
from relcam_exporters._torchvision import torchvision
from relcam_exporters.trace import attention_in_pieces
from torch_exports import exported

import relcam_onnx as rc
from relcam_onnx.audit.completeness import account
from relcam_onnx.lrp.presets import preset
from relcam_onnx.prepare import Prepared
from relcam_onnx.runners.reading import Reading
from relcam_onnx.runners.session import SessionSettings

torchvision()
timm = pytest.importorskip("timm", reason="timm comes with make test, without its dependencies")

LABELS = ("argmax", "3-777")
PLACES = {"patch_embed": 0, "blocks.0": 1, "blocks.5": 1, "blocks.10": 1}
"""Module -> how many tokens stand before its positions."""
GRID = (4, 6)
Stored = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def stored() -> Stored:
    with np.load(Path(__file__).parent / "golden" / "attention-vit_tiny-seed41.npz") as held:
        return dict(held)


@pytest.fixture(scope="module")
def picture(stored: Stored) -> torch.Tensor:
    about = json.loads(str(stored["about"]))
    return transformer_input(about["input_seed"], about["height"], about["width"])


@pytest.fixture(scope="module", params=["dynamo", "torchscript", "dynamo, free batch", "torchscript, free batch"])
def vit(request: pytest.FixtureRequest, stored: Stored, picture: torch.Tensor) -> onnx.ModelProto:
    about = json.loads(str(stored["about"]))
    module = timm.create_model(about["model"], img_size=(about["height"], about["width"])).eval()
    module.load_state_dict(seeded_transformer_state(module, about["seed"]))
    exporter, free, _ = request.param.partition(", ")
    if free:
        return to_onnx(module, picture, exporter=exporter)
    return exported(module, picture, dynamo=exporter == "dynamo")


@pytest.fixture
def backend(vit: onnx.ModelProto) -> str:
    """Each exporter's file is explained by both: eager where its batch is fixed, compiled where it is free."""
    return "compiled" if vit.graph.input[0].type.tensor_type.shape.dim[0].dim_param else "eager"


def near(got: np.ndarray, wanted: np.ndarray, most: float = 2e-2) -> None:
    for one, other in zip(got.astype(np.float64), wanted.astype(np.float64), strict=True):
        off = np.abs(one - other) / np.abs(other).max()
        assert (one * other).sum() >= 0.9999 * np.linalg.norm(one) * np.linalg.norm(other)
        assert off.max() <= most
        assert np.quantile(off, 0.99) <= most / 4


@pytest.mark.parametrize("rules", ["epsilon-plus", "attn-lrp", "gradient"])
def test_a_transformer_is_the_stored_one(
    rules: str, backend: str, vit: onnx.ModelProto, stored: Stored, picture: torch.Tensor
) -> None:
    targets = np.stack([stored[f"targets/{label}"] for label in LABELS], axis=1)
    with rc.Explainer(vit, [*PLACES, "input"], "lrp", rules, backend=backend) as explainer:
        found = explainer(picture.numpy(), targets)
    most = 1e-3 if rules == "gradient" else 2e-2
    np.testing.assert_allclose(found.scores, stored["logits"], atol=1e-4 * np.abs(stored["logits"]).max())
    for k, label in enumerate(LABELS):
        near(found.maps["input"][:, k], stored[f"{rules}/input/{label}"], most)
        for place, extra in PLACES.items():
            wanted = stored[f"{rules}/{place}/{label}"][:, extra:].transpose(0, 2, 1)
            got = found.maps[place][:, k]
            got = got[:, :: got.shape[1] // wanted.shape[1]] if place not in ("blocks.5",) else got
            near(got.reshape(wanted.shape), wanted, most)


@pytest.mark.parametrize("rules", ["epsilon-plus", "attn-lrp"])
def test_what_the_class_token_holds_is_told_beside_the_map(
    rules: str, backend: str, vit: onnx.ModelProto, stored: Stored, picture: torch.Tensor
) -> None:
    """The stored sums of each token, the class token first; to 1e-3 of all that they hold."""
    targets = np.stack([stored[f"targets/{label}"] for label in LABELS], axis=1)
    with rc.Explainer(vit, list(PLACES), "lrp", rules, backend=backend) as explainer:
        found = explainer(picture.numpy(), targets)
    assert list(found.tokens) == [place for place, extra in PLACES.items() if extra]
    for k, label in enumerate(LABELS):
        start = found.scores[np.arange(len(targets)), targets[:, k]]
        for place, held in found.tokens.items():
            row = stored[f"{rules}-tokens/{place}/{label}"]
            most = 1e-3 * np.abs(row).sum()
            np.testing.assert_allclose(held[:, k], row[:, :1], rtol=0, atol=most)
            kept = found.relevance_kept[place][:, k] + found.tokens_kept[place][:, k].sum(axis=1)
            np.testing.assert_allclose(kept * start, stored[f"{rules}-total/{place}/{label}"], rtol=0, atol=most)


def test_layers_say_how_many_tokens_stand_beside_positions(vit: onnx.ModelProto) -> None:
    notes = {layer.name: layer.note for layer in rc.layers(vit)}
    assert notes["blocks.5"] == "1 token beside the positions"
    assert not notes["patch_embed"]


def test_stages_are_the_blocks_whose_positions_reach_the_scores(vit: onnx.ModelProto) -> None:
    """The head reads the class token: at the twelfth block's output only that counts."""
    stages = [layer for layer in rc.layers(vit) if layer.stage]
    assert [layer.stage for layer in stages] == ["depth3", "depth6", "depth9", "depth11"]
    assert [layer.name for layer in stages] == ["blocks.2", "blocks.5", "blocks.8", "blocks.10"]


def test_so_are_those_of_a_network_that_ends_in_its_class_token(vit: onnx.ModelProto, picture: torch.Tensor) -> None:
    """Without a head the token is what is explained, and at the last block no position reaches it either."""
    headless = onnx.ModelProto()
    headless.CopyFrom(vit)
    makers = {name: node for node in headless.graph.node for name in node.output}
    token = headless.graph.output[0].name
    while makers[token].op_type not in ("Gather", "Slice"):
        token = makers[token].input[0]
    del headless.graph.output[:]
    headless.graph.output.append(onnx.helper.make_tensor_value_info(token, onnx.TensorProto.FLOAT, [None, 192]))
    with rc.Explainer(headless, "stages") as explainer:
        maps = explainer(picture.numpy()).maps
    assert list(maps) == ["depth3", "depth6", "depth9", "depth11"]
    assert all(value.any() for value in maps.values())


TAKERS = {
    "biases": ("dense bias", "layer norm", "patch bias"),
    "constants": ("position table", "constant tokens"),
    "epsilon": ("stabiliser",),
}
"""What an account calls who takes relevance -> what the stored figures call it."""


@pytest.mark.parametrize("label", LABELS)
def test_an_account_tells_what_biases_and_tokens_take(
    label: str, vit: onnx.ModelProto, stored: Stored, picture: torch.Tensor
) -> None:
    """To 1e-2 of all that anybody takes: the stored figures are stabilised throughout."""
    prepared = Prepared(vit, ["input"], "lrp", preset("epsilon-plus"))
    reading = Reading.of(prepared.model, prepared.maps.plan, SessionSettings(), spinning=False)
    _, values = reading.run({prepared.layers.picture.tensor.name: picture.numpy()})
    _, _, taken = account(prepared, values, int(stored[f"targets/{label}"][0]))
    whole = {key: sum(getattr(part, key) for part in taken.values()) for key in TAKERS}
    held = {name: float(stored[f"taken/epsilon-plus/{name}/{label}"][0]) for names in TAKERS.values() for name in names}
    wanted = {key: sum(held[name] for name in names) for key, names in TAKERS.items()}
    most = sum(abs(value) for value in wanted.values())
    for key, value in wanted.items():
        assert abs(whole[key] - value) <= 1e-2 * most, (key, whole, wanted)


def small(name: str) -> torch.nn.Module:
    """A transformer of a few blocks, its norms, biases and tables drawn so that every part of a rule shows."""
    torch.manual_seed(0)
    built = {
        "ViT of torchvision": lambda: torchvision().models.VisionTransformer(32, 8, 3, 2, 32, 64, num_classes=7),
        "DeiT, distilled": lambda: timm.create_model(
            "deit_tiny_distilled_patch16_224", img_size=64, embed_dim=48, depth=3, num_heads=3, num_classes=7
        ),
        "Swin": lambda: timm.models.swin_transformer.SwinTransformer(
            32, 2, 3, 7, embed_dim=16, depths=(2, 2), num_heads=(2, 4), window_size=4
        ),
        "Swin, padded windows": lambda: timm.models.swin_transformer.SwinTransformer(
            40, 2, 3, 7, embed_dim=16, depths=(2, 2), num_heads=(2, 4), window_size=6
        ),
        "CaiT": lambda: timm.models.cait.Cait(32, 8, 3, 7, embed_dim=32, depth=2, num_heads=4, depth_token_only=1),
    }
    module: torch.nn.Module = built[name]().eval()
    with torch.no_grad():
        for key, value in module.named_parameters():
            if key.endswith("bias") or "pos_embed" in key or "token" in key or "bias_table" in key:
                value.normal_(0, 0.2)
            elif value.dim() == 1:
                value.uniform_(0.5, 1.5)
            elif not value.any():
                value.normal_(0, 0.3)
    return module


@pytest.mark.filterwarnings("ignore")
def test_a_size_that_is_open_in_name_only() -> None:
    """timm's ViT takes pictures of one size, whatever the file says, as users export it: the same maps."""
    build = timm.models.vision_transformer.VisionTransformer
    module = build(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=4, num_classes=7).eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = []
    for axes in ({0: "n"}, {0: "n", 2: "h", 3: "w"}):
        file = io.BytesIO()
        torch.onnx.export(module, (x,), file, dynamo=False, input_names=["x"], dynamic_axes={"x": axes})
        found.append(rc.Explainer(file.getvalue(), ("stages", "fused", "input"))(x.numpy(), [[0, 1]] * 2))
    fixed, free = found
    assert list(fixed.maps) == list(free.maps)
    for key, value in fixed.maps.items():
        np.testing.assert_allclose(free.maps[key], value, rtol=0, atol=1e-4 * np.abs(value).max(), err_msg=key)


SMALL = ("ViT of torchvision", "DeiT, distilled", "Swin", "Swin, padded windows", "CaiT")


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.filterwarnings("ignore")
def test_others_of_the_kind_are_the_gradients_twin(name: str) -> None:
    """By one exporter of free, by the other of fixed batch: one function, one map, and the gradient PyTorch's."""
    module = small(name)
    side = {"DeiT, distilled": 64, "Swin, padded windows": 40}.get(name, 32)
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    wanted = None
    if name != "ViT of torchvision":  # whose attention PyTorch keeps to itself
        with attention_in_pieces(module):
            wanted = relevance(module, x, 3).numpy()
    leaf = x.clone().requires_grad_()
    module(leaf)[:, 3].sum().backward()
    assert leaf.grad is not None
    first: dict[str, np.ndarray] = {}
    # Which of the exporters leaves the batch free changes from network to network.
    for exporter, free in (("dynamo", odd := SMALL.index(name) % 2 == 1), ("torchscript", not odd)):
        model = to_onnx(module, x, exporter=exporter, dynamic=("batch",) if free else ())
        with rc.Explainer(model, "input", preset="attn-lrp") as explainer:
            found = explainer(x.numpy(), [[3]] * 2).maps["input"][:, 0]
        if wanted is not None:
            near(found, wanted)
        with rc.Explainer(model, "input", "lrp", "gradient") as explainer:
            near(explainer(x.numpy(), [[3]] * 2).maps["input"][:, 0], leaf.grad.numpy(), 1e-3)
        with rc.Explainer(model, ("stages", "fused", "input")) as explainer:
            maps = dict(explainer(x.numpy(), [[-1, 3]] * 2).maps)
        first = first or maps
        assert list(maps) == list(first)
        for key, value in first.items():
            np.testing.assert_allclose(maps[key], value, rtol=0, atol=1e-3 * np.abs(value).max(), err_msg=key)


class SequenceFirst(torch.nn.Module):
    """Attention over (T, N, C) amid (N, T, C), as RT-DETR's encoder has it; positions are in its queries alone."""

    def __init__(self, *, inside: bool) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.inside = inside
        self.patches, self.norm, self.head = (
            torch.nn.Conv2d(3, 32, 8, 8),
            torch.nn.LayerNorm(32),
            torch.nn.Linear(32, 5),
        )
        self.attention = torch.nn.MultiheadAttention(32, 4, batch_first=False)
        self.positions = torch.nn.Parameter(torch.randn(1, 64, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).permute(0, 2, 1)
        query, rows = (tokens + self.positions).transpose(0, 1), tokens.transpose(0, 1)
        mixed = self.attention(query, query, rows)[0]
        if self.inside:
            return self.head(self.norm(rows + mixed).transpose(0, 1).mean(1))  # type: ignore[no-any-return]
        return self.head(self.norm(tokens + mixed.transpose(0, 1)).mean(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_one_image_between_sequences_is_a_batch_of_one(inside: bool) -> None:
    module = SequenceFirst(inside=inside).eval()
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    found = []
    for axes in (None, {"x": {0: "N"}}):
        file, example = BytesIO(), torch.cat([x, x]) if axes else x  # nobody's tools between: they move the moves
        torch.onnx.export(
            module, (example,), file, input_names=["x"], dynamic_axes=axes, opset_version=18, dynamo=False
        )
        with rc.Explainer(file.getvalue()) as explainer:
            found.append(dict(explainer(x.numpy(), [[-1, 3]]).maps))
    fixed, free = found
    assert list(fixed) == list(free)
    for key, value in free.items():
        np.testing.assert_allclose(fixed[key], value, rtol=0, atol=1e-4 * np.abs(value).max(), err_msg=key)
