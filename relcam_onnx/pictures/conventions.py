"""Where a model's preprocessing is written down: options, metadata, files beside the model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from relcam_onnx.errors import OptionError, nearest
from relcam_onnx.pictures import other_tools
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


def find_preprocess(
    option: Option | None,
    metadata: Mapping[str, str],
    folder: Path | None,
    shape: Sequence[int | None],
    *,
    dtype: str = "float32",
    channels_last: bool | None = None,
) -> tuple[Preprocess, str, bool]:
    """Find what a model's input wants done to a picture; failing that, ImageNet's constants and a warning.

    Parameters
    ----------
    option
        The user's: a `Preprocess`, its fields, JSON text, the path of a JSON file, or a name in `NAMED`.
    metadata
        The file's ``metadata_props``.
    folder
        Where the model lies; None for a model in memory.
    shape, dtype, channels_last
        The model's input, see `Preprocess.fitted`.

    Returns
    -------
    tuple
        The preprocessing fitted to the input, the words that say where it was found, and whether it was.

    Raises
    ------
    OptionError
        What is written down is malformed; the message says where.
    InputError
        The input takes no pictures.
    """
    found = known_preprocess(option, metadata, folder)
    if found is not None:
        preprocess, source = found
        return preprocess.fitted(shape, dtype, channels_last), source, True
    guess = NAMED["imagenet"].fitted(shape, dtype, channels_last)
    if dtype == "uint8":
        return guess, "the input's dtype uint8", True
    height, width = guess.size or shape[2:]
    warnings.warn(
        f"nothing says how pictures become this model's input; assuming {height}×{width} and ImageNet's mean "
        f"and deviation. Say otherwise with preprocess= (--preprocess): {', '.join(NAMED)}, or a JSON file",
        UserWarning,
        stacklevel=2,
    )
    return guess, "ImageNet's mean and deviation (a guess)", False


def known_preprocess(
    option: Option | None, metadata: Mapping[str, str], folder: Path | None
) -> tuple[Preprocess, str] | None:
    """Do as `find_preprocess`, but fit nothing and guess nothing: None where nothing is written down."""
    if option is not None:
        return _from_option(option), "the option"
    if "relcam.preprocess" in metadata:
        return _checked(metadata["relcam.preprocess"], "metadata relcam.preprocess")
    if (values := other_tools.image_metadata(metadata)) is not None:
        return _checked(values, "metadata Image.*")
    if (values := other_tools.ultralytics(metadata)) is not None:
        return _checked(values, "metadata of Ultralytics")
    for name, read in (("preprocessor_config.json", other_tools.transformers), ("config.json", other_tools.timm)):
        config, source = other_tools.beside(folder, name)
        if (values := read(config, source)) is not None:
            return _checked(values, source)
    return None


def _from_option(option: Option) -> Preprocess:
    if isinstance(option, Preprocess):
        return option
    if isinstance(option, Mapping):
        return Preprocess.from_dict(option)
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
