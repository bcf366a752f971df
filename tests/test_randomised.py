"""Which weights are drawn anew, however a file holds them, and as what."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from audits import folder, saved, seeing
from nets import Net, plain
from onnx import helper, numpy_helper
from test_audit_cli import figure, relcam, report
from test_audit_measures import subjects_of
from test_qoperators import FORMS, quantised, residual

import relcam_onnx as rc
from relcam_onnx.audit import metrics
from relcam_onnx.audit.model import Audited
from relcam_onnx.audit.run import Request, audit
from relcam_onnx.audit.sanity import by_weights
from relcam_onnx.audit.weights import Weights, weights_of
from relcam_onnx.model import Model
from relcam_onnx.onnx_file.load import load
from relcam_onnx.onnx_file.protos import stored
from relcam_onnx.onnx_file.weights import whole
from relcam_onnx.prepare import Prepared


def as_constants(model: onnx.ModelProto, *kinds: str) -> onnx.ModelProto:
    """Every weight of several axes as a node that holds it, behind nodes of these kinds."""
    graph = model.graph
    weights = [tensor for tensor in graph.initializer if len(tensor.dims) > 1]
    front = []
    for tensor in weights:
        value, name = numpy_helper.to_array(tensor), f"{tensor.name} held"
        if "Transpose" in kinds:
            value = value.T
        names = [name, *(f"{tensor.name} {kind}" for kind in kinds[:-1]), tensor.name]
        front.append(helper.make_node("Constant", [], names[:1] if kinds else [tensor.name],
                                      value=numpy_helper.from_array(np.ascontiguousarray(value), "w")))  # fmt: skip
        front += [
            helper.make_node(kind, [names[k]], [names[k + 1]], **({"to": 1} if kind == "Cast" else {}))
            for k, kind in enumerate(kinds)
        ]
        graph.initializer.remove(tensor)
    nodes = [*front, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model


@pytest.mark.parametrize("kinds", [(), ("Identity",), ("Transpose",), ("Cast", "Identity")], ids=str)
def test_weights_behind_nodes_are_found(kinds: tuple[str, ...]) -> None:
    model = as_constants(seeing(), *kinds)
    weights = Weights(load(model))
    assert len(weights) == len(weights.found) == 3
    outputs = [run(each) for each in (model, weights.randomised(1), weights.randomised(3))]
    np.testing.assert_allclose(outputs[0], run(seeing()), rtol=1e-5)
    assert len({output.tobytes() for output in outputs}) == 3


def run(model: onnx.ModelProto | Model, side: int = 32) -> Any:
    return run_all(model, side)[0]


def run_all(model: onnx.ModelProto | Model, side: int) -> Any:
    if isinstance(model, Model):
        model = whole(model.proto, model.weights)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = np.random.default_rng(0).standard_normal((1, 3, side, side), np.float32)
    return session.run(None, {session.get_inputs()[0].name: x})


@pytest.mark.parametrize("form", FORMS)
def test_quantised_weights_are_drawn_in_their_own_numbers(form: str) -> None:
    """All of them, in whatever form; scales and zero points stay."""
    model = quantised(residual(), **FORMS[form])
    weights = weights_of(Prepared(model))
    names = [weight.name for weight in weights.found]
    assert len(names) == len(weights) == len(Weights(load(residual())))
    anew = weights.randomised(len(names))
    before, after = (stored(whole(each.proto, each.weights).graph) for each in (weights.model, anew))
    for name, tensor in before.items():
        assert after[name].data_type == tensor.data_type
        assert (after[name] == tensor) == (name not in names)
    integers = [name for name in names if before[name].data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)]
    assert integers
    for name in integers:
        old, new = (numpy_helper.to_array(each[name]).astype(float) for each in (before, after))
        assert new.std() == pytest.approx(old.std(), rel=0.3)
    assert not np.array_equal(run(model, 16), run(anew, 16))


@pytest.mark.parametrize("form", FORMS)
def test_with_nothing_drawn_a_model_is_explained_as_it_was(form: str) -> None:
    """What was read of a file once is the same when it is read again."""
    explainer = rc.Explainer(quantised(residual(), **FORMS[form]))
    nothing = weights_of(explainer.prepared).randomised(0)
    again = rc.Explainer(whole(nothing.proto, nothing.weights))
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16), np.float32)
    own, other = explainer(x, [[0, 1]]).maps, again(x, [[0, 1]]).maps
    assert own.keys() == other.keys()
    for layer in own:
        np.testing.assert_array_equal(own[layer], other[layer])


@pytest.mark.parametrize("scale", [3e-4, 1, 300])
def test_half_precision_keeps_its_deviation(scale: float) -> None:
    """In half precision the squares of small weights are 0, and those of large ones infinite."""
    value = np.random.default_rng(0).normal(0, scale, (64, 64, 3, 3)).astype(np.float16)
    found = metrics.sensitivity.drawn(value, np.random.default_rng(1))
    assert found.dtype == np.float16
    assert np.isfinite(found).all()
    assert found.astype(float).std() == pytest.approx(scale, rel=0.02)


def test_what_a_type_does_not_hold_is_its_end() -> None:
    value = np.array([[-128, 127] * 50], np.int8)
    found = metrics.sensitivity.drawn(value, np.random.default_rng(0))
    assert (found.min(), found.max()) == (-128, 127)
    packed = numpy_helper.to_array(helper.make_tensor("w", onnx.TensorProto.INT4, [2, 8], [*range(-8, 8)]))
    tensor = numpy_helper.from_array(metrics.sensitivity.drawn(packed, np.random.default_rng(0)), "w")
    assert tensor.data_type == onnx.TensorProto.INT4


Held = tuple[list[onnx.NodeProto], list[onnx.TensorProto]]


def made(kind: str, name: str, value: np.ndarray) -> Held:
    """Nodes that make a weight of constants, and those."""

    def hold(value: Any, what: str) -> onnx.TensorProto:
        return numpy_helper.from_array(np.ascontiguousarray(value), f"{name} {what}")

    flat, sizes = hold(value.reshape(-1), "flat"), hold(np.array(value.shape), "sizes")
    half = len(value) // 2
    reshape = helper.make_node("Reshape", [flat.name, sizes.name], [name])
    forms: dict[str, Callable[[], Held]] = {
        "flat": lambda: ([reshape], [flat, sizes]),
        "numbers": lambda: (
            [helper.make_node("Constant", [], [flat.name], value_floats=value.reshape(-1).tolist()), reshape],
            [sizes],
        ),
        "product": lambda: (
            [helper.make_node("Mul", [f"{name} a", f"{name} b"], [name])],
            [hold(2 * value, "a"), hold(np.float32(0.5), "b")],
        ),
        "sum": lambda: (
            [helper.make_node("Add", [f"{name} a", f"{name} b"], [name])],
            [hold(0.25 * value, "a"), hold(0.75 * value, "b")],
        ),
        "joined": lambda: (
            [helper.make_node("Concat", [f"{name} a", f"{name} b"], [name], axis=0)],
            [hold(value[:half], "a"), hold(value[half:], "b")],
        ),
        "cut": lambda: (
            [helper.make_node("Slice", [f"{name} a", f"{name} b", f"{name} c"], [name])],
            [hold(np.concatenate([value, value + 9]), "a"), hold([0], "b"), hold([len(value)], "c")],
        ),
    }
    return forms[kind]()


KINDS = ("flat", "numbers", "product", "sum", "joined", "cut")


def spelled(model: onnx.ModelProto, kind: str, which: slice = slice(None)) -> onnx.ModelProto:
    """The same model, whose weights of several axes are made of constants."""
    graph = model.graph
    for tensor in [tensor for tensor in graph.initializer if len(tensor.dims) > 1][which]:
        nodes, held = made(kind, tensor.name, numpy_helper.to_array(tensor))
        graph.initializer.remove(tensor)
        graph.initializer.extend(held)
        for node in reversed(nodes):
            graph.node.insert(0, node)
    onnx.checker.check_model(model)
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", [slice(None), slice(1), slice(1, None)], ids=["all", "first", "others"])
def test_weights_that_are_made_of_constants_are_drawn_as_if_they_stood_there(kind: str, which: slice) -> None:
    """Those of a part of the layers were all that was counted: all of them were said to be drawn."""
    usual, model = Weights(load(seeing())), Weights(load(spelled(seeing(), kind, which)))
    np.testing.assert_allclose(run(model.model), run(seeing()), rtol=1e-5, atol=1e-6)
    assert len(model) == len(model.found) == 3
    for count in (1, 2, 3):
        np.testing.assert_allclose(run(model.randomised(count)), run(usual.randomised(count)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_large_weights_that_are_made_of_constants_are_drawn(kind: str) -> None:
    """Such lie apart from the model's message."""

    def wide() -> onnx.ModelProto:
        net = Net("N", 3, 16, 16)
        return net.model(net.head(net("Relu", net.conv(net("Relu", net.conv(net.x, 3, 64)), 64, 64)), 64))

    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16), np.float32)
    maps = []
    for model in (wide(), spelled(wide(), kind)):
        weights = weights_of(Prepared(model))
        assert weights.model.weights or kind == "numbers"
        anew = weights.randomised(3)
        assert {*anew.weights} <= {tensor.name for tensor in anew.proto.graph.initializer}
        given: Any = anew
        maps.append(rc.Explainer(given)(x, [[0, 1]]).maps["fused"])
    np.testing.assert_allclose(*maps, rtol=1e-3, atol=1e-4)


def classifying(op: str, *, first: bool = False) -> onnx.ModelProto:
    """The classifier as another product."""
    model = seeing()
    graph = model.graph
    gemm = next(node for node in graph.node if node.op_type == "Gemm")
    held = next(tensor for tensor in graph.initializer if tensor.name == gemm.input[1])
    value, (x, w) = numpy_helper.to_array(held), gemm.input[:2]
    given = {"equation": "ij,jk->ik"} if op == "Einsum" else {}
    if first:
        given = {"equation": "kj,ij->ik"}
    else:
        held.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value.T), w))
    node = helper.make_node(op, [w, x] if first else [x, w], gemm.output, **given)
    graph.node.remove(gemm)
    graph.node.append(node)
    onnx.checker.check_model(model)
    return model


@pytest.mark.parametrize(("op", "first"), [("MatMul", False), ("Gemm", False), ("Einsum", False), ("Einsum", True)])
def test_a_dense_layer_is_drawn_alike_however_it_is_spelled(op: str, first: bool) -> None:
    """Behind an Einsum it was not found at all, and turned it had other numbers."""
    usual, model = Weights(load(seeing())), Weights(load(classifying(op, first=first)))
    assert len(model.found) == 3
    np.testing.assert_allclose(run(model.model), run(seeing()), rtol=1e-5, atol=1e-6)
    for count in (1, 3):
        np.testing.assert_allclose(run(model.randomised(count)), run(usual.randomised(count)), rtol=1e-4, atol=1e-5)


def two_headed() -> onnx.ModelProto:
    """Beside the scores another head, of two layers that come last in the file."""
    net = Net("N", 3, 16, 16)
    x = net("Relu", net.conv(net.x, 3, 8))
    y = net.head(net("Relu", net.conv(x, 8, 8)), 8)
    beside = net("GlobalAveragePool", net.conv(net("Relu", net.conv(x, 8, 8)), 8, 2))
    return net.model(y, net("Flatten", beside))


def test_what_does_not_lead_to_the_explained_scores_is_no_top_weight() -> None:
    model = two_headed()
    own, all_ = weights_of(Prepared(model, output=model.graph.output[0].name)), Weights(load(model))
    assert (len(own), len(all_)) == (3, 5)
    layers = [node.input[1] for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert [weight.name for weight in own.found] == [layers[2], layers[1], layers[0]]
    outputs = own.randomised(3), own.randomised(1)
    before = run_all(model, 16)
    for anew, changed in zip(outputs, (True, False), strict=True):
        after = run_all(anew, 16)
        assert not np.allclose(before[0], after[0])
        assert np.allclose(before[1], after[1]) != changed


def test_the_nearest_come_first_in_whatever_order_the_nodes_are() -> None:
    """A shortcut's convolution may stand anywhere before the sum."""
    net = Net("N", 3, 16, 16)
    x = net("Relu", net.conv(net.x, 3, 8))
    short = net.conv(x, 8, 8, kernel=1)
    deep = net.conv(net("Relu", net.conv(x, 8, 8)), 8, 8)
    model = net.model(net.head(net("Relu", net("Add", deep, short)), 8))
    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    names = [weight.name for weight in Weights(load(model)).found]
    assert {*names[1:3]} == {convs[1].input[1], convs[3].input[1]}
    assert names[3:] == [convs[2].input[1], convs[0].input[1]]


def test_what_cannot_be_drawn_counts_as_not_drawn_and_is_named(tmp_path: Path) -> None:
    """Numbers that are all the same stay so."""
    model = seeing()
    first = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [5, 5, 3, 3])
    first.CopyFrom(numpy_helper.from_array(np.full((5, 5, 3, 3), 0.02, np.float32), first.name))
    folder(tmp_path / "in", 1)
    assert relcam("audit", saved(model, tmp_path / "m.onnx"), tmp_path / "in", "-o", tmp_path / "out").exit_code == 0
    told = report(tmp_path / "out")
    said = (
        f"sanity.weights: 1 of 3 weights are never drawn anew, such as {first.name!r}: all of its numbers are the same"
    )
    assert said in told["notes"]
    assert figure(told, "sanity.weights", "fused, 2 of 3")["size"] > 0


def test_layers_in_branches_count_as_not_drawn() -> None:
    model = seeing()
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    branches = {}
    for name in ("then_branch", "else_branch"):
        inner = helper.make_node("Gemm", gemm.input, [name], transB=1)
        branches[name] = helper.make_graph([inner], name, [], [onnx.ValueInfoProto(name=name)])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("If", ["yes"], gemm.output, **branches))
    model.graph.node.remove(gemm)
    weights = Weights(load(model))
    assert (len(weights.found), len(weights)) == (2, 4)
    assert all("branch" in why for why in weights.left)


def test_a_file_without_weights_to_draw_says_so(tmp_path: Path) -> None:
    model = seeing()
    for tensor in [tensor for tensor in model.graph.initializer if len(tensor.dims) > 1]:
        held = np.full(numpy_helper.to_array(tensor).shape, 0.02, np.float32)
        tensor.CopyFrom(numpy_helper.from_array(held, tensor.name))
    folder(tmp_path / "in", 1)
    assert relcam("audit", saved(model, tmp_path / "m.onnx"), tmp_path / "in", "-o", tmp_path / "out").exit_code == 0
    said = "not measured: sanity.weights: no convolution and no dense layer has a weight that could be drawn anew"
    assert any(note.startswith(said) for note in report(tmp_path / "out")["notes"])


def test_an_interval_holds_what_draws_differ_in(tmp_path: Path) -> None:
    """One picture under several names: with one draw for all of them the interval was a point."""
    source = next(iter(sorted(folder(tmp_path / "one", 1).rglob("*.png"))))
    (tmp_path / "in").mkdir()
    for k in range(6):
        shutil.copy(source, tmp_path / "in" / f"{k}.png")
    model = saved(plain(), tmp_path / "m.onnx")
    found = audit(Request(model, [str(tmp_path / "in")], tmp_path / "out", preprocess="unit"))
    (drawn,) = (f for f in found.figures if (f.name, f.layer) == ("sanity.weights", "fused, 4 of 4"))
    assert drawn.estimate.size == 5
    assert drawn.estimate.high - drawn.estimate.low > 0.05


@pytest.mark.parametrize(("count", "draws"), [(1, 5), (2, 3), (5, 1), (7, 1)])
def test_few_pictures_have_several_draws_each_and_the_cost_says_so(count: int, draws: int, tmp_path: Path) -> None:
    model = Audited(saved(seeing(), tmp_path / "m.onnx"))
    made, sources = Counter[str](), []

    def source(row: str, **options: Any) -> Any:
        sources.append(options["model"].sha256)
        return own

    own = model.source("audited")
    model.source = source  # type: ignore[method-assign]

    def counting(x: Any, targets: Any) -> Any:
        made["own"] += 1
        return own(x, targets)

    (subject,) = subjects_of(model, tmp_path / "in", 1)
    subjects = [replace(subject, name=str(k)) for k in range(count)]
    items = list(by_weights(subjects, count, model, (0.0, 1.0)))
    assert [item.explained for item in items] == [1 + 2 * draws] * count
    for item in items:
        item.measure(counting)
    assert made["own"] + len(sources) == sum(item.explained for item in items)
    assert len({*sources}) == 2 * draws * count


def test_weights_in_functions_are_drawn(tmp_path: Path) -> None:
    model = seeing()
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    body = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    imports = [helper.make_opsetid("", model.opset_import[0].version)]
    model.functions.append(helper.make_function("own", "Dense", ["x", "w"], ["y"], [body], imports))
    model.opset_import.append(helper.make_opsetid("own", 1))
    gemm.op_type, gemm.domain = "Dense", "own"
    del gemm.attribute[:]
    folder(tmp_path / "in", 1)
    assert relcam("audit", saved(model, tmp_path / "m.onnx"), tmp_path / "in", "-o", tmp_path / "out").exit_code == 0
    assert figure(report(tmp_path / "out"), "sanity.weights", "fused, 3 of 3")["size"] > 0


def test_what_lies_beside_a_file_holds_for_it_with_other_weights(tmp_path: Path) -> None:
    """Two labels make one score two classes: the model whose weights were drawn anew had one, which ended the audit."""
    net = Net("N", 3, 32, 32)
    x = net("Relu", net.conv(net.x, 3, 8))
    model = saved(net.model(net("Sigmoid", net.head(x, 8, 1))), tmp_path / "m.onnx")
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "no", "1": "yes"}}))
    pictures = [str(file) for file in folder(tmp_path / "in", 1).rglob("*.png")]
    found = audit(Request(model, pictures, tmp_path / "out", preprocess="unit"))
    assert found.model.prepared.choices.paired
    assert [f for f in found.figures if (f.name, f.layer) == ("sanity.weights", "fused, 2 of 2")]
