"""Explanations in other libraries' hands: xarray, and arrays by DLPack."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest
from nets import Net, picture, plain

import relcam_onnx as rc
from relcam_onnx import extras

xarray = pytest.importorskip("xarray")


@pytest.fixture(scope="module")
def explainer() -> rc.Explainer:
    return rc.Explainer(plain(), layers=("stages", "fused", "input"), preprocess="unit", labels=list("abcde"))


def test_a_dataset_has_the_maps_and_what_they_were_made_with(explainer: rc.Explainer) -> None:
    pixels = (np.random.default_rng(0).random((2, 40, 32, 3)) * 255).astype(np.uint8)
    e = rc.explain(explainer, list(pixels), [[0, 3], [1, 2]])
    found = e.to_xarray()
    assert set(found.data_vars) == set(e.maps)
    for layer, values in e.maps.items():
        np.testing.assert_array_equal(found[layer], values)
    assert found["stride4"].dims == ("picture", "target", "stride4_y", "stride4_x")
    assert found["input"].dims == ("picture", "target", "input_channel", "input_y", "input_x")
    assert found["label"].values.tolist() == [["a", "d"], ["b", "c"]]
    np.testing.assert_array_equal(found["class"], e.targets)
    np.testing.assert_array_equal(found["probability"], e.probability)
    assert found.attrs["method"] == e.settings.method
    assert found.attrs["sha256"] == e.settings.sha256
    assert found["stride4"].attrs["stride"] == 4
    assert all(isinstance(value, str | int | float) for value in found.attrs.values())


def test_coordinates_find_what_is_seen_there(explainer: rc.Explainer) -> None:
    """A picture of twice the input's size: what lies at a pixel is what `heat` shows there, at the cells' centres."""
    pixels = (np.random.default_rng(0).random((64, 64, 3)) * 255).astype(np.uint8)
    e = rc.explain(explainer, pixels, 1, preprocess={"size": (32, 32)})
    found = e.to_xarray()["stride4"][0, 0]
    rows, columns = (found[f"stride4_picture_{axis}"].values for axis in "yx")
    np.testing.assert_allclose(np.diff(rows), 8)
    seen = found.assign_coords(stride4_y=rows, stride4_x=columns).interp(
        stride4_y=np.arange(64), stride4_x=np.arange(64)
    )
    inside = ~np.isnan(seen.values)  # xarray leaves out what is beyond the outermost centres
    assert inside.mean() > 0.7
    np.testing.assert_allclose(seen.values[inside], e.heat("stride4")[inside], atol=1e-6 * np.abs(found).max().item())
    whole = explainer(picture(1, 3, 32, 32), 1).to_xarray()
    np.testing.assert_array_equal(whole["input_x"], np.arange(32))
    at = e.fields["stride4"]
    np.testing.assert_array_equal(whole["stride4_y"], np.arange(8) * at.stride[0] + at.offset[0])
    assert "stride4_picture_y" not in whole.coords


def test_a_layer_keeps_its_name_whatever_it_is() -> None:
    net = Net("N", 3, 16, 16)
    x = net("Relu", net.conv(net.x, 3, 4), name="class")
    net.head(net("Relu", net.conv(x, 4, 4), name="picture"), 4)
    with rc.Explainer(net.model("scores"), layers=["class", "picture"]) as explainer:
        e = explainer(picture(2, 3, 16, 16), 0)
    found = e.to_xarray()
    assert found["class"].dims == ("picture_", "target", "class_y", "class_x")
    np.testing.assert_array_equal(found["picture"], e.maps["picture"])
    np.testing.assert_array_equal(found["class_"], e.targets)


def test_without_xarray_it_is_said_how_to_get_it(explainer: rc.Explainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "xarray" else builtins.object())
    with pytest.raises(rc.OptionError, match=r"relcam-onnx\[xarray\]"):
        explainer(picture(1, 3, 32, 32)).to_xarray()


class Elsewhere:
    """An array that has nothing but DLPack."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.asked = array, 0

    def __dlpack__(self, **options: Any) -> Any:
        self.asked += 1
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


def test_whatever_has_dlpack_is_taken_and_not_copied(explainer: rc.Explainer) -> None:
    from relcam_onnx.runners.arrays import as_array  # noqa: PLC0415

    x = picture(1, 3, 32, 32)
    given = Elsewhere(x)
    np.testing.assert_array_equal(explainer(given, 2).maps["fused"], explainer(x, 2).maps["fused"])
    assert given.asked == 1
    assert np.shares_memory(as_array(Elsewhere(x)), x)


def test_tensors_go_in_and_come_out(explainer: rc.Explainer) -> None:
    torch = pytest.importorskip("torch")
    x = picture(1, 3, 32, 32)
    e = explainer(torch.from_numpy(x).requires_grad_(), 2)
    fused = torch.from_dlpack(e.maps["fused"])
    np.testing.assert_array_equal(fused.numpy(), explainer(x, 2).maps["fused"])
    assert fused.data_ptr() == e.maps["fused"].__array_interface__["data"][0]


def test_tensors_that_share_no_values_are_refused_in_words(explainer: rc.Explainer) -> None:
    """They were raw RuntimeError, BufferError and ValueError."""
    torch = pytest.importorskip("torch")
    zeros = torch.zeros(1, 3, 32, 32)
    for x in (zeros.bfloat16(), zeros.to_sparse(), zeros.to("meta"), [[1.0], [1.0, 2.0]]):
        with pytest.raises(rc.InputError, match=r"input 'x' cannot be read as an array .*; give a dense one"):
            explainer(x)
    with pytest.raises(rc.TargetError, match="targets cannot be read as an array"):
        explainer(zeros.numpy(), torch.zeros(1, dtype=torch.int64, device="meta"))


def test_arrays_in_another_order_of_bytes_are_taken(explainer: rc.Explainer) -> None:
    x = picture(1, 3, 32, 32)
    np.testing.assert_array_equal(explainer(x.astype(">f4"), 2).maps["fused"], explainer(x, 2).maps["fused"])
