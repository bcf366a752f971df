"""What to say when the ``export`` extra is not installed."""

from __future__ import annotations

import importlib
from types import ModuleType

from relcam_onnx.errors import OptionError


def missing(error: ImportError) -> OptionError:
    """Tell how to get what ``error`` did not find."""
    return OptionError(f'exporting needs more than is installed ({error}): pip install "relcam-onnx[export,cpu]"')


def require(name: str) -> ModuleType:
    """Import module ``name`` of the extra.

    Raises
    ------
    OptionError
        It is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise missing(error) from error
