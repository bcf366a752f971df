"""The errors that users see. Each says what was given, what is possible and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RelcamError(ValueError):
    """The base of every error that relcam-onnx raises on purpose."""


class ModelFileError(RelcamError):
    """The model cannot be read: missing, truncated, no ONNX, or its external data is out of reach."""


class UnsupportedModelError(RelcamError):
    """The model holds nodes that relevance cannot pass; the message lists every one of them."""


class LayerError(RelcamError):
    """A layer was named that the model does not have, or that has no map under this method."""


class TargetError(RelcamError):
    """A target is no class of the model, or the targets do not fit the batch."""


class InputError(RelcamError):
    """An input has the wrong name, dtype, shape or values, or a picture cannot be read."""


class OptionError(RelcamError):
    """An option (preset, method, seed, provider, ...) has a value that does not exist or does not fit."""


def nearest(name: str, known: Iterable[str], most: int = 3) -> str:
    """``"; did you mean 'a' or 'b'?"`` for the names closest to ``name``, or an empty string."""
    close = difflib.get_close_matches(name, list(dict.fromkeys(known)), n=most, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
