"""Relevance-CAMs for deployed vision models: explain an ONNX file with nothing but the file.

The public names load on first use, so that importing the package costs nothing and ``relcam --help`` is quick.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from relcam_onnx.errors import (
    InputError,
    LayerError,
    ModelFileError,
    OptionError,
    RelcamError,
    TargetError,
    UnsupportedModelError,
)
from relcam_onnx.extras import with_runtime

if TYPE_CHECKING:
    from relcam_onnx import rules
    from relcam_onnx.compiling.compile import compile_model
    from relcam_onnx.explainer import Explainer
    from relcam_onnx.explaining import explain
    from relcam_onnx.laws import check_op
    from relcam_onnx.listing import layer_table as layers
    from relcam_onnx.lrp.presets import Preset, preset
    from relcam_onnx.ops import op
    from relcam_onnx.results.explanation import Explanation
    from relcam_onnx.results.segment import best_threshold, segment
    from relcam_onnx.web.site import make_site

# onnxruntime's builds send what they run to Microsoft, and keep a database and an identifier in the user's cache folder
# from the moment they are imported. Nobody is asked; here nothing is sent unless somebody says so ("0").
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
__all__ = [
    "Explainer",
    "Explanation",
    "InputError",
    "LayerError",
    "ModelFileError",
    "OptionError",
    "Preset",
    "RelcamError",
    "TargetError",
    "UnsupportedModelError",
    "__version__",
    "best_threshold",
    "check_op",
    "compile_model",
    "explain",
    "expose",
    "layers",
    "make_site",
    "op",
    "preset",
    "rules",
    "segment",
]

_HOMES = {
    "Explainer": "explainer:Explainer",
    "Explanation": "results.explanation:Explanation",
    "Preset": "lrp.presets:Preset",
    "check_op": "laws:check_op",
    "compile_model": "compiling.compile:compile_model",
    "explain": "explaining:explain",
    "expose": "exposing:expose",
    "layers": "listing:layer_table",
    "make_site": "web.site:make_site",
    "op": "ops:op",
    "preset": "lrp.presets:preset",
    "rules": "rules",
    "best_threshold": "results.segment:best_threshold",
    "segment": "results.segment:segment",
}
"""Public name -> its module, and behind a colon the name that it has there."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'relcam_onnx' has no attribute {name!r}")
    home, _, attribute = _HOMES[name].partition(":")
    with with_runtime():
        module = import_module(f"relcam_onnx.{home}")
    globals()[name] = getattr(module, attribute) if attribute else module
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
