"""Models as PyTorch's two exporters write them."""

from __future__ import annotations

import io
import warnings
from typing import Any

import onnx
import torch


def exported(module: torch.nn.Module, x: torch.Tensor, *, dynamo: bool) -> onnx.ModelProto:
    """As one of PyTorch's exporters writes a module; what they warn of is PyTorch's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _exported(module, x, dynamo=dynamo)


def _exported(module: torch.nn.Module, x: torch.Tensor, *, dynamo: bool) -> onnx.ModelProto:
    attrs: dict[str, Any] = {"opset_version": 18, "input_names": ["x"], "dynamo": dynamo}
    if dynamo:
        program = torch.onnx.export(module, (x,), verbose=False, **attrs)
        assert program is not None
        return program.model_proto
    buffer = io.BytesIO()
    torch.onnx.export(module, (x,), buffer, **attrs)  # type: ignore[arg-type]
    return onnx.load_from_string(buffer.getvalue())
