"""Whole networks against the numbers of other libraries; ``golden/README.md`` says what each file holds.

Tolerance, per array and image: cosine ≥ 0.9999 and no value off by more than 1e-3 of the largest; totals to 1e-4.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
import torch
from golden.calm import calm
from golden.seeded_weights import seeded_input, seeded_state_dict
from relcam_exporters import export
from relcam_exporters._torchvision import torchvision

from relcam_onnx.explainer import Explainer
from relcam_onnx.lrp.presets import Preset, preset

GOLDEN = Path(__file__).parent / "golden"
LABELS = ("argmax", "3-777")
Arrays: TypeAlias = Mapping[str, np.ndarray]
Networks: TypeAlias = Callable[..., tuple[Path, np.ndarray]]


def read(name: str) -> Arrays:
    with np.load(GOLDEN / f"{name}.npz") as stored:
        return dict(stored)


def stored_input(seed: int, size: int) -> torch.Tensor:
    """The input that the stored figures were computed with.

    PyTorch's interpolation rounds otherwise in one thread than in several, and a bit of it turns a near tie in a pool.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        return seeded_input(seed, 2, size)
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    """Name, seed and size of a seeded network -> its ONNX file, batch norm kept, and its input; exported once."""
    folder = tmp_path_factory.mktemp("networks")

    def build(name: str, seed: int, size: int, calmed: bool = False) -> tuple[Path, np.ndarray]:
        path, x = folder / f"{name}-{seed}-{size}.onnx", stored_input(seed, size)
        if not path.exists():
            with torch.device("meta"):  # no values are drawn that others replace
                module = getattr(torchvision().models, name)(weights=None).to_empty(device="cpu")
            state = seeded_state_dict(module, seed)
            module.load_state_dict(calm(state) if calmed else state)
            # An export runs whole batches to be checked, of three here; a VGG's is dear, so it takes one picture.
            example, axes = (x[:1], ()) if name.startswith("vgg") else (x, ("batch",))
            export(module, example, path, batch_norm="unfused", dynamic=axes)
        return path, x.numpy()

    return build


def agree(got: np.ndarray, wanted: np.ndarray) -> None:
    for one, other in zip(got.reshape(wanted.shape), wanted.astype(np.float64), strict=True):
        cosine = (one * other).sum() / (np.linalg.norm(one) * np.linalg.norm(other))
        assert cosine >= 0.9999
        assert np.abs(one - other).max() <= 1e-3 * np.abs(other).max()


def backend_for(name: str) -> str:
    """Eager for the VGGs, whose half a gigabyte of weights would be written into a file once more."""
    return "eager" if name.startswith("vgg") else "compiled"


TARGETS = np.array([[-1, 3], [-1, 777]])
"""Both target choices at once: each image's top class beside 3 for the first and 777 for the second."""


@pytest.mark.parametrize("name", ["resnet50", "vgg16_bn"])
def test_official_is_the_published_code(name: str, networks: Networks) -> None:
    stored = read(f"{name}-seed0")
    path, x = networks(name, 0, 224)
    depths = {key.split("/")[1] for key in stored if key.startswith("cam/")}
    layers = {d: f"features.{d}" if d.isdigit() else d for d in depths}
    with Explainer(path, list(layers.values()), preset="official", backend=backend_for(name)) as explainer:
        result = explainer(x, TARGETS)
    agree(result.outputs["logits"], stored["logits"])
    for depth, layer in layers.items():
        for k, label in enumerate(LABELS):
            agree(result.maps[layer][:, k], stored[f"cam/{depth}/{label}"])


def bins(relevance: np.ndarray) -> np.ndarray:
    """Sums over 8×8 pixels."""
    n, c, h, w = relevance.shape
    summed: np.ndarray = relevance.reshape(n, c, h // 8, 8, w // 8, 8).sum(axis=(3, 5))
    return summed


VIEWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relevance": lambda r: r,
    "relevance-bins8": bins,
    "relevance-crop": lambda r: r[..., 96:128, 96:128],
    "relevance-corner": lambda r: r[..., :16, :16],
    "relevance-sum": lambda r: r.sum(axis=1),
}
"""What a zennit file keeps of the relevance (N, C, h, w) of a layer."""

COMPOSITES = sorted(path.stem for path in GOLDEN.glob("zennit-*.npz"))


@pytest.mark.parametrize("name", COMPOSITES)
def test_composites_are_zennits(name: str, networks: Networks) -> None:
    stored = read(name)
    _, model, _, composite = name.split("-", 3)
    path, x = networks(model, 0, json.loads(str(stored["about"]))["input_size"])
    layers = sorted({key.split("/")[1] for key in stored if key.startswith("relevance")})
    chosen = composite_of(composite)
    with Explainer(path, layers, "lrp", chosen, "one-hot", backend=backend_for(model)) as explainer:
        result = explainer(x, TARGETS)
    views = [key for key in stored if key.partition("/")[0] in VIEWS]
    assert {key.split("/")[1] for key in views} == set(layers)
    for key in views:
        kind, layer, label = key.split("/")
        agree(VIEWS[kind](result.maps[layer][:, LABELS.index(label)]), stored[key])
    for layer in layers:
        for k, label in enumerate(LABELS):
            total = result.maps[layer][:, k].sum(axis=(1, 2, 3))
            np.testing.assert_allclose(total, stored[f"total/{layer}/{label}"], atol=1e-4)


def composite_of(name: str) -> Preset:
    return preset(name, **({"low": -3.0, "high": 3.0} if name.endswith("box") else {}))


@pytest.mark.parametrize("name", [name for name in COMPOSITES if "resnet18" in name])
def test_relevance_cams_of_composites(name: str, networks: Networks) -> None:
    stored = read(name)
    path, x = networks("resnet18", 0, 64)
    cams = [key.split("/") for key in stored if key.startswith("cam/")]
    chosen = composite_of(name.split("-", 3)[3])
    with Explainer(path, sorted({layer for _, layer, _ in cams}), "relevance-cam", chosen, "one-hot") as explainer:
        result = explainer(x, TARGETS)
    for _, layer, label in cams:
        agree(result.maps[layer][:, LABELS.index(label)], stored[f"cam/{layer}/{label}"])


CAMS = {
    "HiResCAM": "hires-cam",
    "LayerCAM": "layer-cam",
    "XGradCAM": "xgrad-cam",
    "GradCAMPlusPlus": "grad-cam++",
}
"""What pytorch-grad-cam calls a method -> what it is called here."""

CAM_LAYERS = ("layer4", "layer2")


@pytest.fixture(scope="module")
def resnet18(networks: Networks) -> tuple[Path, np.ndarray]:
    return networks("resnet18", 31, 224, calmed=True)


def test_grad_cam_is_pytorch_grad_cams(resnet18: tuple[Path, np.ndarray]) -> None:
    stored, (path, x) = read("cam-resnet18-seed31"), resnet18
    raw = Explainer(path, CAM_LAYERS, preset="gradient", method="relevance-cam")(x, TARGETS)
    shown = Explainer(path, CAM_LAYERS, method="grad-cam")(x, TARGETS)
    for layer in CAM_LAYERS:
        np.testing.assert_array_equal(shown.maps[layer], np.maximum(raw.maps[layer], 0))
        for k, label in enumerate(LABELS):
            agree(raw.maps[layer][:, k], stored[f"raw/GradCAM/{layer}/{label}"])
            agree(raw.weights[layer][:, k], stored[f"weights/GradCAM/{layer}/{label}"])


@pytest.mark.parametrize("peer", CAMS)
def test_the_cam_family_is_pytorch_grad_cams(peer: str, resnet18: tuple[Path, np.ndarray]) -> None:
    """Maps before any ReLU, and the weights of channels where a method has such."""
    stored, (path, x) = read("cam-resnet18-seed31"), resnet18
    found = Explainer(path, CAM_LAYERS, method=CAMS[peer])(x, TARGETS)
    for layer in CAM_LAYERS:
        for k, label in enumerate(LABELS):
            agree(found.maps[layer][:, k], stored[f"raw/{peer}/{layer}/{label}"])
            if f"weights/{peer}/{layer}/{label}" in stored:
                agree(found.weights[layer][:, k], stored[f"weights/{peer}/{layer}/{label}"])


def test_score_cam_is_pytorch_grad_cams(resnet18: tuple[Path, np.ndarray]) -> None:
    """At 128 channels: layer4's 512, also stored, are a run of the model each and nothing else."""
    stored, (path, x) = read("cam-resnet18-seed31"), resnet18
    found = Explainer(path, "layer2", method="score-cam")(x, TARGETS)
    for k, label in enumerate(LABELS):
        agree(found.maps["layer2"][:, k], stored[f"raw/ScoreCAM/layer2/{label}"])


@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_eigen_cam_is_pytorch_grad_cams_up_to_its_sign(backend: str, resnet18: tuple[Path, np.ndarray]) -> None:
    stored, (path, x) = read("cam-resnet18-seed31"), resnet18
    found = Explainer(path, CAM_LAYERS, method="eigen-cam", backend=backend)(x, TARGETS)
    for layer in CAM_LAYERS:
        wanted = stored[f"raw/EigenCAM/{layer}"]
        for k in range(len(LABELS)):
            got = found.maps[layer][:, k]
            signs = np.sign((got * wanted.reshape(got.shape)).sum(axis=(1, 2), keepdims=True))
            agree(got * signs, wanted)
