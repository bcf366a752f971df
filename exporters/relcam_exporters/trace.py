"""PyTorch's side: its exporter, and its scores to compare with."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
import onnxruntime as ort
import torch

from relcam_exporters._quiet import quiet
from relcam_onnx.errors import UnsupportedModelError

AXES = {"batch": 0, "height": 2, "width": 3}
"""The axes of the input that can be left open."""


def trace(module: torch.nn.Module, example: torch.Tensor, dynamic: Sequence[str], opset: int) -> ir.Model:
    """Run PyTorch's exporter without its optimiser, which would fold batch norms unasked.

    Raises
    ------
    UnsupportedModelError
        It cannot export the module; the message has its reason.
    """
    shape = {AXES[axis]: torch.export.Dim(axis) for axis in dynamic}
    try:
        with quiet():
            program = torch.onnx.export(
                module,
                (example,),
                input_names=["input"],
                output_names=["logits"],
                opset_version=opset,
                dynamic_shapes=(shape,),
                dynamo=True,
                optimize=False,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise UnsupportedModelError(
            f"PyTorch cannot export {type(module).__name__} for pictures of shape {tuple(example.shape)} "
            f"with {' and '.join(dynamic) or 'nothing'} left open: {reason}"
        ) from error
    assert program is not None
    return program.model


def compare(
    content: bytes, module: torch.nn.Module, example: torch.Tensor, dynamic: Sequence[str]
) -> tuple[float, float]:
    """Hold a file's scores against PyTorch's on a random batch, of another size wherever a size is open.

    Returns
    -------
    tuple
        The largest absolute difference, and the largest absolute score.

    Raises
    ------
    UnsupportedModelError
        The module returns anything but one tensor.
    """
    shape = list(example.shape)
    for axis in dynamic:
        shape[AXES[axis]] += 1 if axis == "batch" else 32
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(example.dtype)
    with torch.inference_mode():
        expected = module(x)
    if not isinstance(expected, torch.Tensor):
        raise UnsupportedModelError(
            f"{type(module).__name__} returns a {type(expected).__name__}, no tensor of scores: "
            "wrap it in a module that returns them"
        )
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    scores = torch.from_numpy(session.run(["logits"], {"input": x.numpy()})[0])
    return (scores - expected).abs().max().item(), expected.abs().max().item()
