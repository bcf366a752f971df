"""Large weights are kept apart from the message that names them, and nothing of the model is lost by that."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from nets import residual
from onnx import TensorProto, numpy_helper

from relcam_onnx.errors import ModelFileError
from relcam_onnx.onnx_file import splitting, weights
from relcam_onnx.onnx_file.load import load
from relcam_onnx.onnx_file.weights import whole


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Weights of tiny networks count as large."""
    for module in (weights, splitting):
        monkeypatch.setattr(module, "LARGE", 64)
    return


def values(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def test_the_message_is_put_together_again() -> None:
    model = residual()
    loaded = load(model.SerializeToString())
    assert len(loaded.weights) > 3
    for tensor in loaded.proto.graph.initializer:
        assert (tensor.name in loaded.weights) == (tensor.data_location == TensorProto.EXTERNAL)
        assert not (tensor.name in loaded.weights and tensor.raw_data)
    again = values(whole(loaded.proto, loaded.weights))
    for name, value in values(model).items():
        np.testing.assert_array_equal(again[name], value, strict=True)


@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "int8", "int64", "bool", "bfloat16", "as floats"])
def test_every_type_is_read_as_onnx_reads_it(kind: str) -> None:
    model = residual()
    drawn = np.random.default_rng(0).integers(0, 2, (7, 40))
    if kind == "bfloat16":
        stored = onnx.helper.make_tensor("more", TensorProto.BFLOAT16, drawn.shape, drawn.reshape(-1).astype(float))
    elif kind == "as floats":
        stored = onnx.helper.make_tensor("more", TensorProto.FLOAT, drawn.shape, drawn.reshape(-1).astype(float))
        assert not stored.raw_data
    else:
        stored = numpy_helper.from_array(drawn.astype(kind), "more")
    model.graph.initializer.append(stored)
    model.graph.output.append(onnx.helper.make_tensor_value_info("more", stored.data_type, drawn.shape))
    loaded = load(model)
    assert ("more" in loaded.weights) == (kind not in ("bool", "bfloat16"))
    got = values(whole(loaded.proto, loaded.weights))["more"]
    np.testing.assert_array_equal(got.astype(np.int64), drawn)
    if "more" in loaded.weights:
        assert got.dtype == numpy_helper.to_array(stored).dtype
        with pytest.raises(ValueError, match="read-only"):
            loaded.weights["more"][...] = 0


def test_cut_and_altered_bytes_are_refused_or_read_and_never_crash() -> None:
    data = residual().SerializeToString()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        altered = bytearray(data[: rng.integers(1, len(data))] if rng.random() < 0.5 else data)
        altered[rng.integers(len(altered))] = rng.integers(256)
        try:
            load(bytes(altered))
        except ModelFileError:
            refused += 1
    assert refused > 50


def test_a_weight_that_is_too_short_is_named() -> None:
    model = residual()
    tensor = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    tensor.raw_data = tensor.raw_data[:-4]
    with pytest.raises(ModelFileError, match=f"tensor '{tensor.name}' does not fit its type and shape"):
        load(model)
    tensor.raw_data = b"\xff" * (len(tensor.raw_data) + 4)
    with pytest.raises(ModelFileError, match=f"NaN or infinity stands in the weights '{tensor.name}'"):
        load(model)
