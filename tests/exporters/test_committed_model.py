"""The committed EfficientNet-Lite0: it is the network, and it and the photographs are what is said."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from relcam_exporters.zoo import LITE, architecture

from relcam_onnx.listing import layer_table
from relcam_onnx.pictures.preprocess import Preprocess

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "efficientnet-lite0.onnx"

TOP = {  # the class, or the nearest where ImageNet has none
    "cat": {"tabby", "tiger cat", "Egyptian cat"},
    "coffee": {"espresso"},
    "flower": {"daisy"},
    "palace": {"palace"},
    "rocket": {"missile", "space shuttle"},
}


@pytest.fixture(scope="module")
def session():
    return ort.InferenceSession(MODEL, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def metadata():
    return {entry.key: entry.value for entry in onnx.load(MODEL).metadata_props}


def ranked(session, metadata, name):
    """The labels of an example photograph, the likeliest first."""
    array, _ = Preprocess.from_json(metadata["relcam.preprocess"]).apply(Image.open(ROOT / "examples" / f"{name}.jpg"))
    (scores,) = session.run(["logits"], {"input": array[None]})
    labels = json.loads(metadata["relcam.labels"])
    return [labels[index] for index in np.argsort(-scores[0])]


def test_the_card_is_of_this_file():
    card = (ROOT / "models" / "README.md").read_text()
    content = MODEL.read_bytes()
    assert hashlib.sha256(content).hexdigest() in card
    assert f"{len(content):,} bytes" in card


@pytest.mark.parametrize("name", TOP)
def test_top_class(session, metadata, name):
    assert ranked(session, metadata, name)[0] in TOP[name]


@pytest.mark.parametrize(("first", "second"), [("coffee", "cat"), ("coffee", "rocket")])
def test_the_two_classes_of_a_mosaic_are_among_the_first_three(session, metadata, first, second):
    found = set(ranked(session, metadata, f"mosaic-{first}-{second}")[:3])
    assert found & TOP[first]
    assert found & TOP[second]


@pytest.mark.parametrize("size", [(224, 224), (256, 320), (64, 96)])
def test_scores_are_those_of_padding_computed_at_run_time(session, size):
    """The package has the network with padding of any size too: nothing of the exporter's is in it."""
    network = EfficientNet.from_name(LITE, image_size=None)
    network.load_state_dict(architecture(LITE).published())
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = network.eval()(x).numpy()
    (scores,) = session.run(["logits"], {"input": x.numpy()})
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_every_convolution_and_batch_norm_is_named(metadata):
    network = architecture(LITE).build()
    kinds = (torch.nn.Conv2d, torch.nn.BatchNorm2d)
    named = {name for name, part in network.named_modules() if isinstance(part, kinds)}
    assert named <= set(json.loads(metadata["relcam.scopes"]).values())


def test_every_size_is_open(session):
    assert session.get_inputs()[0].shape == ["batch", 3, "height", "width"]


def test_tensors_are_named_by_their_modules(metadata):
    """The activation of each block serves twice; the strided block's first call is the stage at stride 4."""
    scopes = json.loads(metadata["relcam.scopes"])
    assert scopes["_blocks.3._swish#1"] == scopes["_blocks.3._swish#2"] == "_blocks.3._swish"
    assert all(tensor in (path, "logits") or tensor.startswith(f"{path}#") for tensor, path in scopes.items())
    assert [layer.name for layer in layer_table(MODEL) if layer.stage] == [
        "_blocks.3._swish#1",
        "_blocks.5._swish#1",
        "_blocks.11._swish#1",
        "_swish",
    ]
