"""PyTorch's side: its two exporters, and what its modules compute, to compare with."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import onnx
import onnx_ir as ir
import onnxruntime as ort
import torch

from relcam_exporters._quiet import quiet
from relcam_exporters.graph import SCOPES
from relcam_onnx.errors import UnsupportedModelError
from relcam_onnx.onnx_file.module_paths import read_scopes
from relcam_onnx.runners.session import RunError, run_session

Exporter = Literal["dynamo", "torchscript"]

AXES = {"batch": 0, "height": 2, "width": 3}
"""The axes of the input that can be left open."""
INPUT, OUTPUT = "input", "logits"


def trace(
    module: torch.nn.Module, example: torch.Tensor, dynamic: Sequence[str], opset: int, exporter: Exporter
) -> ir.Model:
    """Run one of PyTorch's exporters without its optimiser, which would fold batch norms unasked.

    Where it cannot write attention that PyTorch fuses (as timm's modules do), it is asked again for its pieces.

    Raises
    ------
    UnsupportedModelError
        It cannot export the module; the message has its reason.
    """
    write = by_dynamo if exporter == "dynamo" else by_torchscript
    try:
        with quiet():
            try:
                return write(module, example, dynamic, opset)
            except Exception:  # each exporter, and what it traces, raises in its own way
                if not any(getattr(part, "fused_attn", False) for part in module.modules()):
                    raise
                with attention_in_pieces(module):
                    return write(module, example, dynamic, opset)
    except Exception as error:  # whatever it was, it is PyTorch's reason, which is passed on
        lines = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        raise UnsupportedModelError(
            f"PyTorch cannot export {type(module).__name__} for pictures of shape {tuple(example.shape)} "
            f"with {' and '.join(dynamic) or 'nothing'} left open: {lines[0]}"
        ) from error


def by_dynamo(module: torch.nn.Module, example: torch.Tensor, dynamic: Sequence[str], opset: int) -> ir.Model:
    """The exporter over `torch.export`, which records the modules of each node."""
    program = torch.onnx.export(
        module,
        (example,),
        input_names=[INPUT],
        output_names=[OUTPUT],
        opset_version=opset,
        dynamic_shapes=({AXES[axis]: torch.export.Dim(axis) for axis in dynamic},),
        dynamo=True,
        optimize=False,
        verbose=False,
    )
    assert program is not None
    return program.model


def by_torchscript(module: torch.nn.Module, example: torch.Tensor, dynamic: Sequence[str], opset: int) -> ir.Model:
    """The older exporter, whose names tell modules; its nodes get the record that the newer one writes."""
    buffer = io.BytesIO()
    torch.onnx.export(
        module,
        (example,),
        buffer,  # type: ignore[arg-type]  # it takes one
        input_names=[INPUT],
        output_names=[OUTPUT],
        opset_version=opset,
        dynamic_axes={
            INPUT: {AXES[axis]: axis for axis in dynamic},
            **({OUTPUT: {0: "batch"}} if "batch" in dynamic else {}),
        },
        training=torch.onnx.TrainingMode.PRESERVE,  # which folds no batch norm
        do_constant_folding=False,
        dynamo=False,
    )
    proto = onnx.load_from_string(buffer.getvalue())
    scopes = read_scopes(proto.graph, {})
    model = ir.from_proto(proto)
    for node in model.graph:
        if path := scopes.get(node.outputs[0].name or ""):
            node.metadata_props[SCOPES] = repr(["", path, node.op_type])
    return model


@contextmanager
def attention_in_pieces(module: torch.nn.Module) -> Iterator[None]:
    """Let timm's modules spell attention out."""
    fused = [part for part in module.modules() if getattr(part, "fused_attn", False)]
    for part in fused:
        part.fused_attn = False  # type: ignore[assignment]  # a flag, no module
    try:
        yield
    finally:
        for part in fused:
            part.fused_attn = True  # type: ignore[assignment]


def pictures(example: torch.Tensor, dynamic: Sequence[str]) -> list[torch.Tensor]:
    """Random batches like an example, of another size wherever a size is open: of noise, and of one colour each."""
    shape = list(example.shape)
    for axis in dynamic:
        shape[AXES[axis]] += 1 if axis == "batch" else 32
    draw = torch.Generator().manual_seed(0)
    noise = [torch.randn(shape, generator=draw) for _ in range(2)]
    plain = torch.randn([*shape[:2], *[1] * (len(shape) - 2)], generator=draw).expand(shape).contiguous()
    return [picture.to(example.dtype) for picture in (*noise, plain)]


def compare(content: bytes, module: torch.nn.Module, x: torch.Tensor) -> tuple[float, float]:
    """Hold a file's scores against PyTorch's.

    Returns
    -------
    tuple
        The largest absolute difference, and the largest absolute score.

    Raises
    ------
    UnsupportedModelError
        The module returns anything but one tensor, or the file takes no pictures of this size.
    """
    with torch.inference_mode():
        expected = module(x)
    if not isinstance(expected, torch.Tensor):
        raise UnsupportedModelError(
            f"{type(module).__name__} returns a {type(expected).__name__}, no tensor of scores: "
            "wrap it in a module that returns them"
        )
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    try:
        (found,) = run_session(session, [OUTPUT], {INPUT: x.numpy()})
    except RunError as error:
        raise UnsupportedModelError(
            f"the exported file does not run on pictures of shape {tuple(x.shape)}. Where {type(module).__name__} "
            "reads a size as a number, as len(x) does, PyTorch writes the example's into the file: read x.shape "
            f"instead, or leave that axis out of dynamic. {error}"
        ) from error
    scores = torch.from_numpy(found)
    return (scores - expected).abs().max().item(), expected.abs().max().item()


def first_to_depart(
    content: bytes, outputs: Mapping[str, str], module: torch.nn.Module, x: torch.Tensor, tolerance: float
) -> str | None:
    """Of modules, in the order of the file, the first whose output differs from PyTorch's.

    Parameters
    ----------
    content
        The file.
    outputs
        Module path -> the tensor of the file that is its output.
    module, x
        What PyTorch computes, and of what.
    tolerance
        A share of the largest value.
    """
    seen: dict[str, torch.Tensor] = {}

    def keep(path: str) -> torch.utils.hooks.RemovableHandle:
        def hook(_module: torch.nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, torch.Tensor):
                seen[path] = output.clone()  # what follows may work in place

        return module.get_submodule(path).register_forward_hook(hook)

    known = {name for name, _ in module.named_modules()}
    hooks = [keep(path) for path in outputs if path in known]
    with torch.inference_mode():
        module(x)
    for handle in hooks:
        handle.remove()
    model = onnx.load_from_string(content)
    names = [tensor for path, tensor in outputs.items() if path in seen]
    given = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names) if name not in given)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for path, tensor in outputs.items():
        if path in seen:
            (found,) = session.run([tensor], {INPUT: x.numpy()})
            if found.shape != tuple(seen[path].shape):
                continue  # folded into what follows
            if not abs(found - seen[path].numpy()).max() <= tolerance * max(float(seen[path].abs().max()), 1e-6):
                return path
    return None
