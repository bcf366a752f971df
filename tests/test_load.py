"""Loading: what comes in, what comes out, and every way in which a file can be bad."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from relcam_onnx.errors import ModelFileError
from relcam_onnx.onnx_file.load import load


def network(opset: int = 18) -> onnx.ModelProto:
    """Return a convolution, a ReLU and a global average over two named weights."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((8, 3, 3, 3)), "b": rng.standard_normal(8)}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv"),
            helper.make_node("Relu", ["c"], ["r"], "relu"),
            helper.make_node("GlobalAveragePool", ["r"], ["y"], "pool"),
        ],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def run(proto: onnx.ModelProto) -> NDArray[np.float32]:
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)
    [y] = session.run(None, {"x": x})
    return np.asarray(y)


def refusal(source: Any) -> str:
    """Return the one line that refuses a source."""
    with pytest.raises(ModelFileError) as caught:
        load(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- what comes out ------------------------------------------------------------------------------------


def test_file_bytes_and_proto_load_alike(tmp_path: Path) -> None:
    proto = network()
    proto.metadata_props.add(key="relcam.labels", value="[]")
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString(deterministic=True))
    before = proto.SerializeToString(deterministic=True)
    for source in (path, str(path), path.read_bytes(), proto):
        model = load(source)
        assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert model.path == (path if source in (path, str(path)) else None)
        assert model.metadata == {"relcam.labels": "[]"}
        assert model.opset == 18
        assert [node.op for node in model.graph.nodes] == ["Conv", "Relu", "GlobalAveragePool"]
        assert model.graph.tensors()["r"].shape == ["n", 8, 6, 6]
        np.testing.assert_array_equal(run(model.proto), run(proto))
    assert proto.SerializeToString(deterministic=True) == before


def test_old_files_list_weights_as_inputs() -> None:
    proto = network(9)
    proto.ir_version = 3
    for tensor in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    model = load(proto)
    assert [value.name for value in model.graph.inputs] == ["x"]
    np.testing.assert_allclose(run(model.proto), run(network()), atol=1e-6)


def test_nodes_out_of_order_are_sorted() -> None:
    proto = network()
    nodes = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    model = load(proto)
    assert [node.name for node in model.graph.nodes] == ["conv", "relu", "pool"]
    np.testing.assert_array_equal(run(model.proto), run(network()))


def test_functions_become_nodes() -> None:
    proto = network()
    body = [helper.make_node("Neg", ["a"], ["t"]), helper.make_node("Relu", ["t"], ["z"])]
    proto.functions.append(helper.make_function("own", "NegRelu", ["a"], ["z"], body, [helper.make_opsetid("", 18)]))
    proto.opset_import.append(helper.make_opsetid("own", 1))
    proto.graph.node[1].CopyFrom(helper.make_node("NegRelu", ["c"], ["r"], domain="own"))
    model = load(proto)
    assert [node.op for node in model.graph.nodes] == ["Conv", "Neg", "Relu", "GlobalAveragePool"]
    np.testing.assert_array_equal(run(model.proto), run(proto))


def test_loop_stays_a_node_and_reads_from_outside() -> None:
    body = helper.make_graph(
        [helper.make_node("Add", ["s", "c"], ["t"]), helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []),
         helper.make_tensor_value_info("go", TensorProto.BOOL, []),
         helper.make_tensor_value_info("s", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []),
         helper.make_tensor_value_info("t", TensorProto.FLOAT, None)],
    )  # fmt: skip
    proto = network()
    proto.graph.initializer.append(numpy_helper.from_array(np.array(3), "trips"))
    proto.graph.node[1].CopyFrom(helper.make_node("Loop", ["trips", "", "c"], ["r"], "loop", body=body))
    model = load(proto)
    assert [node.op for node in model.graph.nodes] == ["Conv", "Loop", "GlobalAveragePool"]
    np.testing.assert_allclose(run(model.proto), run(proto), atol=1e-6)


def test_importing_stays_cheap() -> None:
    heavy = "{'torch', 'matplotlib', 'typer'} & set(sys.modules)"
    code = f"import sys, relcam_onnx.onnx_file.load; sys.exit(bool({heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- files that are no models --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "is empty"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"PK\x03\x04archive/data.pkl", "PyTorch checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html>", "failed download"),
        (b"\x1c\x00\x00\x00TFL3\x14\x00", "TensorFlow Lite"),
        (b"plain words", "no ONNX at all"),
        (network().SerializeToString()[:-40], "truncated|no complete"),
        (network().SerializeToString()[:600], "truncated"),
    ],
)
def test_what_is_no_onnx_is_named(data: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "thing.onnx"
    path.write_bytes(data)
    for source, origin in ((path, str(path)), (data, f"{len(data)} bytes")):
        message = refusal(source)
        assert origin in message
        assert any(part in message for part in expected.split("|"))


def test_missing_file_names_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "resnet50.onnx").write_bytes(b"")
    message = refusal(tmp_path / "resnet5.onnx")
    assert "there is no such file (did you mean 'resnet50.onnx'?" in message


def test_folder_is_answered_with_a_file_in_it(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"")
    assert "is a folder; give a file in it, such as 'net.onnx'" in refusal(tmp_path)


def test_other_types_and_impossible_paths_are_refused() -> None:
    assert refusal(3).startswith("a int is no model")
    assert "cannot be read" in refusal("a\0b")


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1500), st.binary(min_size=1, max_size=8))
def test_damaged_bytes_load_or_are_refused_and_never_crash(position: int, noise: bytes) -> None:
    data = bytearray(network(9).SerializeToString())
    data[position % len(data) : position % len(data) + len(noise)] = noise
    with contextlib.suppress(ModelFileError):
        load(bytes(data))


# --- models that do not hang together ------------------------------------------------------------------


def edited(edit: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    proto = network()
    edit(proto)
    return proto


def set_weight(value: float, name: str = "w") -> Callable[[onnx.ModelProto], None]:
    def edit(proto: onnx.ModelProto) -> None:
        tensor = next(tensor for tensor in proto.graph.initializer if tensor.name == name)
        values = numpy_helper.to_array(tensor).copy()
        values.flat[1] = value
        tensor.CopyFrom(numpy_helper.from_array(values, name))

    return edit


def add_constant(**attributes: Any) -> Callable[[onnx.ModelProto], None]:
    return lambda proto: proto.graph.node.insert(0, helper.make_node("Constant", [], ["k"], **attributes))


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda p: p.ClearField("ir_version"), "no IR version"),
        (lambda p: p.ClearField("opset_import"), "no standard opset"),
        (lambda p: p.graph.ClearField("node"), "no nodes"),
        (lambda p: p.graph.ClearField("output"), "no outputs"),
        (lambda p: p.Clear(), "no IR version and no nodes and no outputs"),
        (lambda p: setattr(p.opset_import[0], "version", 999), "not 999; upgrade onnx"),
        (lambda p: p.graph.ClearField("initializer"), "nothing makes 'w' of Conv 'conv', 'b' of Conv 'conv'"),
        (lambda p: setattr(p.graph.output[0], "name", "q"), "nothing makes output 'q'"),
        (lambda p: p.graph.node[1].output.__setitem__(0, "c"), "'c' is made twice, by Relu 'relu' too"),
        (lambda p: p.graph.node[0].input.__setitem__(0, "r"), "cycle through"),
        (lambda p: setattr(p.graph.node[1], "op_type", "Blurb"), "Blurb 'relu' is no valid node"),
        (lambda p: p.graph.node[1].input.append("x"), "Relu 'relu' is no valid node"),
        (lambda p: setattr(p.graph.node[1], "domain", "my"), "Relu 'relu' is no valid node"),
        (lambda p: p.graph.initializer[0].dims.append(2), "the data of tensor 'w' does not fit"),
        (lambda p: p.graph.initializer[0].dims.__setitem__(0, -8), "the data of tensor 'w' does not fit"),
        (lambda p: setattr(p.graph.initializer[0], "data_type", 99), "the data of tensor 'w' does not fit"),
        (lambda p: p.graph.sparse_initializer.add(), "sparse"),
        (lambda p: setattr(p.graph.input[0].type.tensor_type, "elem_type", 99), "unknown type 99"),
        (set_weight(float("nan")), "NaN or infinity stands in the weights 'w'"),
        (set_weight(float("inf"), "b"), "NaN or infinity stands in the weights 'b'"),
        (add_constant(value_float=float("nan")), "NaN or infinity stands in the weights 'k'"),
        (add_constant(value_floats=[1.0, float("-inf")]), "NaN or infinity stands in the weights 'k'"),
        (
            add_constant(value=numpy_helper.from_array(np.full((1, 1), np.inf, np.float16))),
            "NaN or infinity stands in the weights 'k'",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(edit: Callable[[onnx.ModelProto], object], expected: str) -> None:
    message = refusal(edited(edit))
    assert message.startswith("the given ModelProto: ")
    assert expected in message


def test_a_single_infinity_is_a_limit_and_no_weight() -> None:
    load(edited(add_constant(value_float=float("inf"))))
    load(edited(add_constant(value=numpy_helper.from_array(np.array(-np.inf, np.float32)))))


def test_many_bad_weights_are_counted() -> None:
    def edit(proto: onnx.ModelProto) -> None:
        bad = np.full(2, np.nan, np.float32)
        proto.graph.initializer.extend(numpy_helper.from_array(bad, f"bad{index}") for index in range(9))

    assert "'bad0', 'bad1', 'bad2', 'bad3', 'bad4' and 4 more" in refusal(edited(edit))


# --- external data -------------------------------------------------------------------------------------


@pytest.fixture
def external(tmp_path: Path) -> Path:
    """Save the network with its weights in ``data/weights.bin`` and return its path."""
    path = tmp_path / "model" / "net.onnx"
    (path.parent / "data").mkdir(parents=True)
    onnx.save(network(), path, save_as_external_data=True, location="data/weights.bin", size_threshold=0)
    return path


def relocate(path: Path, **entries: str) -> None:
    """Rewrite where the first weight of a saved model says that its data lies."""
    proto = onnx.load(path, load_external_data=False)
    tensor = proto.graph.initializer[0]
    kept = {entry.key: entry.value for entry in tensor.external_data}
    del tensor.external_data[:]
    for key, value in (kept | entries).items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(proto.SerializeToString())


def test_external_data_is_read_into_memory(external: Path) -> None:
    model = load(external)
    assert not any(map(external_data_helper.uses_external_data, model.proto.graph.initializer))
    np.testing.assert_array_equal(run(model.proto), run(network()))


def test_what_lies_beside_a_file_is_part_of_its_digest(external: Path) -> None:
    """Else kept files and interrupted runs would be those of older weights."""
    before, file = load(external).sha256, external.parent / "data" / "weights.bin"
    data = file.read_bytes()
    assert before == hashlib.sha256(external.read_bytes() + hashlib.sha256(data).digest()).hexdigest()
    file.write_bytes(data[:-4] + b"\0\0\0\0")
    assert load(external).sha256 != before
    alone = load(network().SerializeToString())
    assert alone.sha256 == hashlib.sha256(network().SerializeToString()).hexdigest()


@pytest.mark.parametrize("location", ["../secret.bin", "data/../../secret.bin", "/etc/passwd", "C:\\w.bin", "..\\w"])
def test_external_data_outside_the_folder_is_refused(external: Path, location: str) -> None:
    (external.parent.parent / "secret.bin").write_bytes(bytes(10_000))
    relocate(external, location=location)
    message = refusal(external)
    assert "tensor 'w'" in message
    assert repr(location) in message
    assert "outside the model's folder" in message


def test_link_that_leaves_the_folder_is_refused_and_one_inside_is_followed(external: Path) -> None:
    secret = external.parent.parent / "secret.bin"
    secret.write_bytes((external.parent / "data/weights.bin").read_bytes())
    (external.parent / "inside.bin").symlink_to(external.parent / "data/weights.bin")
    (external.parent / "outside.bin").symlink_to(secret)
    relocate(external, location="inside.bin")
    np.testing.assert_array_equal(run(load(external).proto), run(network()))
    relocate(external, location="outside.bin")
    assert "outside the model's folder" in refusal(external)


def test_missing_external_file_is_named(external: Path) -> None:
    (external.parent / "data/weights.bin").unlink()
    message = refusal(external)
    assert "tensor 'w'" in message
    assert "'data/weights.bin', which is missing" in message


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"offset": "4096"}, "but the file has"),
        ({"length": "99999999"}, "but the file has"),
        ({"offset": "-4"}, "but the file has"),
        ({"length": "many"}, "no number"),
        ({"length": "4"}, "does not fit"),
    ],
)
def test_external_range_must_fit(external: Path, entries: dict[str, str], expected: str) -> None:
    relocate(external, **entries)
    message = refusal(external)
    assert "tensor 'w'" in message
    assert expected in message


def test_bytes_and_protos_have_no_folder(external: Path) -> None:
    for source in (external.read_bytes(), onnx.load(external, load_external_data=False)):
        assert "have no folder to find it in; give the model's path" in refusal(source)
