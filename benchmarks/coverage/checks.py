"""What is checked of one case, from two spellings of it: PyTorch's two exporters at two opsets."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import torch
from relcam_exporters.trace import attention_in_pieces

import relcam_onnx as rc
from benchmarks.coverage.page import GRADIENT
from relcam_onnx.analysis.layers import FUSED, INPUT
from relcam_onnx.audit.completeness import account
from relcam_onnx.lrp.presets import preset
from relcam_onnx.prepare import Prepared
from relcam_onnx.runners.reading import Reading
from relcam_onnx.runners.session import SessionSettings

NEWER, OLDER = 20, 17
"""The opsets: of PyTorch's exporter by torch.export, and of the one by TorchScript."""
SEEN = 64
"""So many classes are candidates for the one that is explained beside the top one."""
PICTURES = 4
"""So many moved pictures are tried at most."""


class Found(NamedTuple):
    """What came of a case; every figure in shares of the largest value.

    Attributes
    ----------
    outputs
        The model's own outputs beside the plain model's.
    rounding
        The plain model's outputs beside PyTorch's in double precision: what float32 leaves of them.
    backends
        Eager maps beside compiled ones.
    spellings
        Maps of the other file; 0 where there is none.
    gradient
        1 - cosine of the gradient of the input with PyTorch's in double precision.
    kinks
        The same of that gradient with itself where the picture moves by 1e-6 of itself: the largest over a few such
        pictures, as many as it takes to be as large as ``gradient``.
    noise
        How far the maps move when the picture moves by 1e-6 of itself.
    account
        Of a score, preset epsilon-plus: what arrives at the input, and what biases, constants, ε and nothing take.
    finite
        Whether no map has a NaN, and none is 0 all over.
    stages
        Their names.
    free
        Whether the newer file leaves the size of the batch open.
    """

    outputs: float
    rounding: float
    backends: float
    spellings: float
    gradient: float
    kinks: float
    noise: float
    account: tuple[float, ...]
    finite: bool
    stages: tuple[str, ...]
    free: bool


def written(module: torch.nn.Module, x: torch.Tensor, *, newer: bool) -> onnx.ModelProto:
    """As one of the exporters writes a module: the newer one of free batch, where it can."""
    attrs: dict[str, Any] = {"input_names": ["x"], "output_names": ["scores"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if newer:
            attrs |= {"dynamo": True, "opset_version": NEWER, "verbose": False}
            try:
                program = torch.onnx.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},), **attrs)
            except torch.onnx.errors.OnnxExporterError:  # the module computes with the batch's size
                program = torch.onnx.export(module, (x,), **attrs)
            assert program is not None
            return program.model_proto
        buffer = io.BytesIO()
        torch.onnx.export(module, (x,), buffer, dynamo=False, opset_version=OLDER, **attrs)  # type: ignore[arg-type]
    return onnx.load_from_string(buffer.getvalue())


def first_file(module: torch.nn.Module, x: torch.Tensor, *, newer: bool) -> onnx.ModelProto:
    """The file that all is asked of."""
    if not newer:
        with attention_in_pieces(module):
            return written(module, x, newer=False)
    try:
        return written(module, x, newer=True)
    except torch.onnx.errors.OnnxExporterError:  # of some attention PyTorch makes views that it cannot have
        with attention_in_pieces(module):
            return written(module, x, newer=True)


def moves_of(array: np.ndarray) -> Iterator[np.ndarray]:
    """A few pictures that differ from one by 1e-6 of itself."""
    for seed in range(PICTURES):
        noise = np.random.default_rng(seed).standard_normal(array.shape)
        yield (array * (1 + 1e-6 * noise)).astype(np.float32)


def check(
    module: torch.nn.Module, x: torch.Tensor, told: Callable[[str], None] = lambda step: None, *, both: bool = True
) -> Found:
    """All checks of a calm module; ``told`` hears what is done.

    Without ``both`` the exporter by TorchScript has to do, which takes a tenth of the other one's time.
    """
    told("export")
    file = first_file(module, x, newer=both)
    array = x.numpy()
    told("plain")
    plain = ort.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = plain.run(["scores"], {"x": array})[0]
    label = decided(wanted)
    targets = [[-1, label]] * len(array)
    told("compiled")
    try:
        with rc.Explainer(file, ("stages", "fused", INPUT)) as explainer:
            compiled = explainer(array, targets)
    except rc.UnsupportedModelError as error:
        for line in what_is_left(file, array, str(error)):
            error.add_note(line)
        raise
    told("eager")
    moved = next(moving := moves_of(array))
    with rc.Explainer(file, ("stages", "fused", INPUT), backend="eager") as explainer:
        eager, disturbed = explainer(array, targets), explainer(moved, targets)
    told("gradient")
    with rc.Explainer(file, INPUT, preset="gradient", method="lrp") as explainer:
        gradient = explainer(array, [[label]] * len(array)).maps[INPUT][:, 0]
    exact, slope = autograd(module, array, label)
    apart_by = 1 - cosine(gradient, slope)
    kinks = 1 - cosine(autograd(module, moved, label)[1], slope)
    while apart_by > max(GRADIENT, kinks) and (other := next(moving, None)) is not None:
        kinks = max(kinks, 1 - cosine(autograd(module, other, label)[1], slope))
    told("account")
    shares = booked(file, array, label)
    maps = compiled.maps
    told("older")
    spelled = maps if not both else other_maps(module, x, targets)
    return Found(
        apart(compiled.outputs["scores"], wanted),
        apart(wanted, exact),
        furthest(eager.maps, maps),
        furthest(spelled, maps),
        apart_by,
        kinks,
        furthest(disturbed.maps, eager.maps),
        shares,
        all(np.isfinite(m).all() and m.reshape(*m.shape[:2], -1).any(axis=2).all() for m in maps.values()),
        tuple(name for name in maps if name not in (INPUT, FUSED)),
        bool(file.graph.input[0].type.tensor_type.shape.dim[0].dim_param),
    )


def other_maps(module: torch.nn.Module, x: torch.Tensor, targets: list[list[int]]) -> Mapping[str, np.ndarray]:
    """Those of the file that the other exporter writes."""
    with attention_in_pieces(module):
        try:
            older = written(module, x, newer=False)
        except Exception:  # what TorchScript cannot write is spelled by the other exporter, in pieces
            older = written(module, x, newer=True)
    with rc.Explainer(older, ("stages", "fused", INPUT)) as explainer:
        return explainer(x.numpy(), targets).maps


def what_is_left(model: onnx.ModelProto, array: np.ndarray, refusal: str) -> Iterator[str]:
    """What can be explained of a file that is refused, tried: the layer that the refusal names, and method rise."""
    named = re.search(r"down to '([^']+)'", refusal)
    tries: list[tuple[str, dict[str, Any]]] = [("method 'rise'", {"method": "rise", "samples": 8})]
    if named:
        tries.insert(0, (f"layer {named[1]!r}", {"layers": named[1]}))
    for what, options in tries:
        try:
            with rc.Explainer(model, **options) as explainer:
                maps = explainer(array).maps.values()
            fine = all(np.isfinite(m).all() and m.any() for m in maps)
        except rc.RelcamError:
            fine = False
        yield f"{what} {'is explained' if fine else 'fails'}"


def decided(scores: np.ndarray) -> int:
    """The class whose nearest rivals differ most from the next in all pictures.

    Seed ``rivals`` starts at the classes that score nearest. Of a thousand random ones the last of them and the next
    may differ by rounding, and which of the two counts is then no property of the map.
    """
    classes = scores.shape[1]
    count = (classes - 1).bit_length()
    if count + 1 >= classes:
        return 0
    gaps = []
    for label in range(min(SEEN, classes)):
        nearest = np.sort(np.abs(np.delete(scores, label, axis=1) - scores[:, [label]]), axis=1)
        gaps.append((nearest[:, count] - nearest[:, count - 1]).min())
    return int(np.argmax(gaps))


def booked(model: onnx.ModelProto, array: np.ndarray, label: int) -> tuple[float, ...]:
    """Of the class's score of the first picture: what arrives at the input, and who takes the rest."""
    prepared = Prepared(model, [INPUT], "lrp", preset("epsilon-plus"))
    reading = Reading.of(prepared.model, prepared.maps.plan, SessionSettings(), spinning=False)
    name = prepared.layers.picture.tensor.name
    _, values = reading.run({name: array})
    _, _, taken = account(prepared, values, label)
    start = sum(sum(vars(part).values()) for part in taken.values())
    return tuple(
        sum(getattr(part, key) for part in taken.values()) / start
        for key in ("arrives", "biases", "constants", "epsilon", "rest")
    )


def furthest(got: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> float:
    """The largest difference of maps.

    Of the fused map as the product of stages that it is a root of: near 0 a root makes 1e-2 of 1e-8.
    """
    stages = len(wanted) - 2
    powers = {name: stages if name == FUSED else 1 for name in wanted}
    return max(
        apart(got[name] ** power, wanted[name] ** power) if name in got else np.inf for name, power in powers.items()
    )


def apart(got: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference over the largest value; infinite where the shapes differ."""
    if got.shape != wanted.shape:
        return float(np.inf)
    return float(np.abs(got - wanted).max() / max(float(np.abs(wanted).max()), 1e-30))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of all values in a row, float64."""
    one, other = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(one @ other / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-300))


def autograd(module: torch.nn.Module, array: np.ndarray, label: int) -> tuple[np.ndarray, np.ndarray]:
    """PyTorch's scores and its gradient of one, in double precision: its own in float32 is up to 1e-3 off that."""
    leaf = torch.from_numpy(array).double().requires_grad_()
    try:
        scores = module.double()(leaf)
        scores[:, label].sum().backward()
    finally:
        module.float()
    assert leaf.grad is not None
    return scores.detach().numpy(), leaf.grad.numpy()
