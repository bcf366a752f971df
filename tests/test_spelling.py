"""One function, one map: files that compute the same are explained the same, however they are spelled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from nets import picture, run
from spelling import BLOCKS, HEADS, NEED_SIZES, SIZE, Plan, drawn, plain, write

import relcam_onnx as rc
from relcam_onnx.canon.folding import fold_affine

PRESETS = ("default", "paper", "epsilon-plus")
TOLERANCE = 1e-3
"""Of the maximum, as the contract has it."""
CALM = 1e-4
"""A file whose own maps move by more than this when its weights move by 1e-6 says nothing about spellings."""


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """A small network: two blocks behind the stem."""
    free = draw(st.booleans())
    kinds = st.sampled_from([kind for kind in BLOCKS if not free or kind not in NEED_SIZES])
    blocks = tuple(draw(st.lists(kinds, min_size=1, max_size=2)))
    heads = st.sampled_from([head for head in HEADS if not free or head not in NEED_SIZES])
    return Plan(blocks, draw(heads), draw(st.integers(0, 999)), free)


def maps(model: onnx.ModelProto, x: np.ndarray, preset: str, backend: str) -> Mapping[str, np.ndarray]:
    """The maps of one file, of the top two classes."""
    layers = ["stages", "fused", "input"]
    with rc.Explainer(model, layers, preset=preset, backend=backend) as explainer:
        return dict(explainer(x, [[-1, -2]]).maps)


def nudged(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with every weight moved by a millionth of itself."""
    copy, rng = onnx.ModelProto(), np.random.default_rng(0)
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            value = onnx.numpy_helper.to_array(tensor)
            moved = (value * (1 + 1e-6 * rng.choice([-1, 1], value.shape))).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(moved, tensor.name))
    return copy


def distance(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> float:
    """The largest difference between two files' maps, of the maximum; infinite where their names or shapes differ."""
    if a.keys() != b.keys() or any(a[name].shape != b[name].shape for name in a):
        return np.inf
    return max(float(np.abs(a[name] - b[name]).max() / (np.abs(a[name]).max() + 1e-30)) for name in a)


def disagreement(plan: Plan, spelled: onnx.ModelProto, preset: str, backend: str) -> float | None:
    """How far a spelling's maps are from the plain file's; None where the plain file's own maps are not calm."""
    x = picture(1, 3, SIZE, SIZE, seed=plan.seed)
    first = plain(plan)
    (a,), (b,) = run(first, x=x), run(spelled, x=x)
    np.testing.assert_allclose(a, b, atol=1e-4 * max(1.0, float(np.abs(a).max())), err_msg="not one function")
    ours = maps(first, x, preset, backend)
    if distance(ours, maps(nudged(first), x, preset, backend)) > CALM:
        return None
    return distance(ours, maps(spelled, x, preset, backend))


@pytest.mark.parametrize("preset", PRESETS)
@given(plan=plans(), data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_spelling_of_a_function_has_its_maps(preset: str, plan: Plan, data: st.DataObject) -> None:
    spelled = write(plan, lambda n: data.draw(st.integers(0, n - 1)))
    backend = "compiled" if plan.seed % 4 == 0 else "eager"
    apart = disagreement(plan, spelled, preset, backend)
    assume(apart is not None)
    assert apart is not None
    assert apart < TOLERANCE


def returning(model: onnx.ModelProto, data: st.DataObject) -> onnx.ModelProto:
    """The same file, which returns what some of its layers read or make too."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    last = max(place for place, node in enumerate(model.graph.node) if node.op_type in ("Conv", "Gemm", "MatMul"))
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    shapes = {value.name: value.type.tensor_type.shape.dim[1:] for value in inferred}
    known = {name for name, sizes in shapes.items() if sum(size.dim_value != 1 for size in sizes) > 1}  # no table
    inside = [node.output[0] for node in model.graph.node[:last] if node.output[0] in known]
    assume(inside)
    for name in data.draw(st.lists(st.sampled_from(inside), unique=True, min_size=1)):
        copy.graph.output.append(onnx.ValueInfoProto(name=name))
    return onnx.shape_inference.infer_shapes(copy)


@given(plan=plans(), data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_else_a_file_returns_changes_nothing(plan: Plan, data: st.DataObject) -> None:
    spelled, x = write(plan, lambda n: data.draw(st.integers(0, n - 1))), picture(1, 3, SIZE, SIZE, seed=plan.seed)
    ours, theirs = (maps(model, x, "default", "eager") for model in (spelled, returning(spelled, data)))
    assert distance(ours, theirs) < 1e-5


FAULTS: dict[str, tuple[str, Callable[..., Any] | frozenset[str]]] = {
    "biases and batch norms stay where they stand": ("canon.fold_affine", lambda model, into_layers: None),
    "shifts fold into a layer that they stand behind directly, and nowhere else": (
        "canon.fold_affine", lambda model, into_layers: fold_affine(model, into_layers=False),
    ),
    "what changes nothing is a node": ("canon.drop_identities", lambda model: None),
    "padding is a node": ("canon.absorb_padding", lambda model: None),
    "sums are nested": ("canon.flatten_sums", lambda model: None),
    "branches stay apart": ("canon.merge_parallel", lambda model: False),
    "pools of blocks stay in pieces": ("canon.name_blocks", lambda model: None),
    "means of means and maxima of maxima stay apart": ("canon.join_reductions", lambda model: None),
    "pools of pools stay apart": ("canon.join_pools", lambda model: None),
    "ReLUs stay behind maxima": ("canon.bend_first", lambda model: None),
    "pools hand nothing on": ("canon.affine.pooled", lambda node: None),
    "scales stay layers": ("canon.name_scales", lambda model: None),
    "activations stay in pieces": ("canon.name_activations", lambda model: None),
    "exponential units stay in pieces": ("canon.name_elus", lambda model: None),
    "weighted sums stay in pieces": ("canon.name_weighted_sums", lambda model: None),
    "prototypes stay apart from layers": ("canon.name_prototypes", lambda model: None),
    "norms stay in pieces": ("canon.name_norms", lambda model: None),
    "moves are known by their nodes": ("canon.name_rearranged", lambda model: None),
    "blocks of positions are known by their nodes": ("canon.rearranged.is_shuffle", lambda *_: False),
    "patches are known by their nodes": ("canon.name_patches", lambda model: None),
    "layers that learned nothing are layers": ("canon.name_fixed", lambda model: None),
    "dilation in the batch stays there": ("canon.name_dilated", lambda model: None),
    "layers make positions that nothing reads": ("canon.stride_instead", lambda model: None),
    "channels that become blocks are stages": ("analysis.stages.Stages.spread", frozenset()),
    "padding by hand stays in pieces": ("canon.name_padding", lambda model: None),
    "constants stay behind the moves": ("canon.lift_constants", lambda model: None),
    "an image without a batch stays so": ("canon.batch_first", lambda model: None),
    "heads are axes of a weight": ("canon.name_contractions", lambda model: None),
    "two gates are none": ("ops.arithmetic.JOINING", frozenset()),
    "what is dense hangs on the op": ("lrp.plan.Sites._several", lambda sites, node: node.op not in ("Gemm", "MatMul")),
}  # fmt: skip
"""What the law found once: where it stands in the package, and what is put there instead."""
TRIES = 300


@pytest.mark.parametrize("fault", FAULTS)
def test_the_law_finds_each_fault_that_is_put_back(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, instead = FAULTS[fault]
    monkeypatch.setattr(f"relcam_onnx.{place}", instead)
    for number in range(TRIES):
        plan, spelled = drawn(number, free=False)
        try:
            apart = disagreement(plan, spelled, "default", "eager")
        except rc.RelcamError:
            return
        if apart is not None and apart > TOLERANCE:
            return
    pytest.fail(f"{TRIES} random spellings agree although {fault}")
