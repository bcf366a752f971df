"""Where a model's preprocessing is written down: options, metadata, files beside the model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from relcam_onnx.errors import OptionError, nearest
from relcam_onnx.model import Scaling
from relcam_onnx.pictures import other_tools
from relcam_onnx.pictures.hugging_face import transformers
from relcam_onnx.pictures.preprocess import Preprocess

_IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

NAMED: dict[str, Preprocess] = {
    "imagenet": Preprocess(**_IMAGENET),
    "torchvision": Preprocess(resize_size=256, **_IMAGENET),
    "tensorflow": Preprocess(mean=(0.5,) * 3, std=(0.5,) * 3),
    "caffe": Preprocess(channels="BGR", scale=1.0, mean=(103.939, 116.779, 123.68)),
    "unit": Preprocess(),
    "raw": Preprocess(scale=1.0),
}
"""Preprocessing by name. "torchvision" crops a margin away, the others keep the shorter side whole;
"tensorflow" gives -1..1, "unit" 0..1, "raw" 0..255."""

Option = Preprocess | Mapping[str, Any] | str | Path


def guess_preprocess(shape: Sequence[int | None], dtype: str, scaling: Scaling | None) -> Preprocess:
    """What a model's input wants done to a picture where nothing says so: by its dtype, its graph, else ImageNet's.

    Parameters
    ----------
    shape, dtype
        The model's input, see `Preprocess.fitted`.
    scaling
        What the graph scales and shifts the picture by before its first layer, if it does.

    Warns
    -----
    UserWarning
        Unless the input takes integers: then the picture goes in whole, as it is.

    Raises
    ------
    InputError
        The input takes no pictures.
    """
    if np.issubdtype(dtype, np.integer):
        return Preprocess(size=None).fitted(shape, dtype)
    units = units_of(scaling)
    guess = NAMED[units or "imagenet"].fitted(shape, dtype)
    height, width = guess.size or shape[2:]
    seen = f"its graph takes x · {listed(scaling.scale)} + {listed(scaling.shift)} first" if scaling else ""
    if units:
        range_ = "0..255" if units == "raw" else "0..1"
        said = f"{seen}, so pixels go in as {range_} ({units}), at {height}×{width}"
    else:
        said = f"assuming {height}×{width} and ImageNet's mean and deviation" + (f", though {seen}" if seen else "")
    warnings.warn(
        f"nothing says how pictures become this model's input; {said}. Say otherwise with preprocess= (--preprocess): "
        f"{', '.join(NAMED)}, or a JSON file",
        UserWarning,
        stacklevel=2,
    )
    return guess


def units_of(scaling: Scaling | None) -> str | None:
    """What a normalisation in the graph is written for, "raw" (0..255) or "unit" (0..1); None where it may be either.

    Its mean and deviation tell, in units of the picture. Those of a learnt normalisation over inputs that have been
    normalised already lie around 0 and 1, and tell nothing.
    """
    if scaling is None or not all(scaling.scale):
        return None
    scale, shift = np.broadcast_arrays(scaling.scale, scaling.shift)
    mean, deviation = np.abs(shift / scale), np.abs(1 / scale)
    if mean.max() > 3 or deviation.max() > 3:
        return "raw"
    inside = (-shift / scale >= 0).all() and mean.max() <= 1
    return "unit" if inside and (mean.min() > 0.2 or deviation.max() < 0.2) else None


def listed(values: Sequence[float]) -> str:
    """Numbers for people: one, or one a channel."""
    each = [f"{value:.4g}" for value in values]
    return each[0] if len(each) == 1 else f"({', '.join(each)})"


def known_preprocess(
    option: Option | None, metadata: Mapping[str, str], folder: Path | None
) -> tuple[Preprocess, str] | None:
    """Find what a model's input wants done to a picture, and the words that say where; None where it is not written.

    Parameters
    ----------
    option
        The user's: a `Preprocess`, its fields, JSON text, the path of a JSON file, or a name in `NAMED`.
    metadata
        The file's ``metadata_props``.
    folder
        Where the model lies; None for a model in memory.

    Raises
    ------
    OptionError
        What is written down is malformed; the message says where.
    """
    if option is not None:
        return _from_option(option), "the option"
    if "relcam.preprocess" in metadata:
        return _checked(metadata["relcam.preprocess"], "metadata relcam.preprocess")
    if (values := other_tools.image_metadata(metadata)) is not None:
        return _checked(values, "metadata Image.*")
    if (values := other_tools.ultralytics(metadata)) is not None:
        return _checked(values, "metadata of Ultralytics")
    for name, read in (("preprocessor_config.json", transformers), ("config.json", other_tools.timm)):
        config, source = other_tools.beside(folder, name)
        if (values := read(config, source)) is not None:
            return _checked(values, source)
    return None


def _from_option(option: Option) -> Preprocess:
    if isinstance(option, Preprocess):
        return option
    if isinstance(option, Mapping):
        return Preprocess.from_dict(option)
    if not isinstance(option, str | Path):
        raise OptionError(f"preprocess must be fields, a name ({', '.join(NAMED)}) or a JSON file, not {option!r}")
    if isinstance(option, str) and option in NAMED:
        return NAMED[option]
    if isinstance(option, str) and option.lstrip().startswith("{"):
        return Preprocess.from_json(option)
    path = Path(option)
    if not path.is_file():
        raise OptionError(
            f"preprocess {str(option)!r} is neither a name ({', '.join(NAMED)}) nor a JSON file"
            f"{nearest(str(option), NAMED)}"
        )
    return _checked(other_tools.read_text(path), str(path))[0]


def _checked(values: str | Mapping[str, Any], source: str) -> tuple[Preprocess, str]:
    """Make the Preprocess; errors say where its fields stand."""
    try:
        if isinstance(values, str):
            return Preprocess.from_json(values), source
        return Preprocess.from_dict(values), source
    except OptionError as error:
        raise OptionError(f"{source}: {error}; correct it, or give preprocess=") from error
