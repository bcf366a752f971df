"""Files of one function in other dress, as an audit sees them: what is hidden, what is disturbed, where they depart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from audits import PREPROCESS, SIDE, folder, saved, seeing
from onnx import helper, numpy_helper

from relcam_onnx.audit import provenance
from relcam_onnx.audit.departing import apart, by_activations, common_layers
from relcam_onnx.audit.drift import OtherFile
from relcam_onnx.audit.laying import as_taken, nothing
from relcam_onnx.audit.model import Audited
from relcam_onnx.audit.rows import AUDITED
from relcam_onnx.audit.run import Request, audit
from relcam_onnx.errors import OptionError
from relcam_onnx.model import Scaling
from relcam_onnx.pictures.finding import Found
from relcam_onnx.pictures.preprocess import Preprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def in_front(model: onnx.ModelProto, *nodes: onnx.NodeProto, shape: list[int | str], kind: int = 1) -> onnx.ModelProto:
    """The model behind nodes that make "inner" of "x"."""
    for node in model.graph.node:
        node.input[:] = ["inner" if name == "x" else name for name in node.input]
    rest = list(model.graph.node)
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend([*nodes, *rest])
    model.graph.input.append(helper.make_tensor_value_info("x", kind, shape))
    return model


def twin(form: str) -> onnx.ModelProto:
    model = seeing()
    sizes: list[int | str] = ["N", 3, SIDE, SIDE]
    if form == "channels last":
        turned = helper.make_node("Transpose", ["x"], ["inner"], perm=[0, 3, 1, 2])
        return in_front(model, turned, shape=["N", SIDE, SIDE, 3])
    if form == "of four":
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 4
    if form == "centred inside":
        for name, number in (("middle", 127.5), ("spread", 63.75)):
            model.graph.initializer.append(numpy_helper.from_array(np.array(number, np.float32), name))
        steps = (
            helper.make_node("Sub", ["x", "middle"], ["less"]),
            helper.make_node("Div", ["less", "spread"], ["inner"]),
        )
        bare = {"size": [SIDE, SIDE], "resize": "squash", "scale": 1.0}
        model = in_front(model, *steps, shape=sizes)
        helper.set_model_props(model, {"relcam.preprocess": json.dumps(bare)})
    return model


def numbered(model: onnx.ModelProto, first: int) -> onnx.ModelProto:
    """Tensors and nodes called by numbers, as PyTorch's older exporter has it."""
    names = {name: str(first + i) for i, name in enumerate(n.output[0] for n in model.graph.node[:-1])}
    for node in model.graph.node:
        node.name = ""
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    del model.graph.value_info[:]
    return model


def departures(tmp_path: Path, one: onnx.ModelProto, other: onnx.ModelProto) -> dict[str, float]:
    pictures = [Found(path, path.stem) for path in sorted(folder(tmp_path / "in", 1).rglob("*.png"))]
    mine, theirs = (Audited(saved(model, tmp_path / f"{k}.onnx")) for k, model in enumerate((one, other)))
    OtherFile(mine, theirs)
    (item, *_) = by_activations(pictures[:1], mine, theirs)
    found = item.measure(lambda x, targets: {})[AUDITED]
    return {name: told["difference"] for name, told in found.items()}


@pytest.mark.parametrize("form", ["channels last", "of four", "centred inside"])
def test_one_function_departs_nowhere(form: str, tmp_path: Path) -> None:
    for name, pair in {"one": (seeing(), twin(form)), "other": (twin(form), seeing())}.items():
        found = departures(tmp_path / name, *pair)
        assert {"stride2", "scores"} <= found.keys()
        assert max(found.values()) < 1e-5


def test_a_layer_that_differs_is_found_whatever_the_batch(tmp_path: Path) -> None:
    changed = twin("of four")
    (weight,) = (t for t in changed.graph.initializer if list(t.dims) == [5, 5, 3, 3])
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.5), weight.name))
    found = departures(tmp_path, changed, seeing())
    assert found["stride1"] < 1e-5
    assert found["stride2"] > 0.1


def test_numbers_are_no_names_where_they_count_otherwise(tmp_path: Path) -> None:
    found = [
        common_layers(*(Audited(saved(numbered(seeing(), first), tmp_path / f"{first}.onnx")) for first in firsts))
        for firsts in ((10, 10), (10, 12))
    ]
    assert [any(name.isdigit() for name in names) for names in found] == [True, False]


def test_files_that_read_pictures_in_other_sizes_say_so(tmp_path: Path) -> None:
    free = seeing()
    for axis, name in ((2, "H"), (3, "W")):
        free.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    helper.set_model_props(free, {"relcam.preprocess": json.dumps({**PREPROCESS, "size": [48, 48]})})
    one, other = (Audited(saved(model, tmp_path / f"{k}.onnx")) for k, model in enumerate((seeing(), free)))
    (note,) = OtherFile(one, other).notes([])
    assert "squash to (48, 48)" in note
    assert OtherFile(one, one).notes([]) == []


def test_what_is_hidden_is_the_mean_colour_wherever_colours_are_centred() -> None:
    outside = Preprocess(mean=MEAN, std=STD)
    np.testing.assert_array_equal(nothing(outside, None), np.zeros((3, 1, 1)))
    scale = tuple(1 / (255 * s) for s in STD)
    inside = Scaling(scale, tuple(-m / s for m, s in zip(MEAN, STD, strict=True)))
    wanted = 255 * np.array(MEAN, np.float32)[:, None, None]
    np.testing.assert_allclose(nothing(Preprocess(scale=1.0), inside), wanted, rtol=1e-6)
    np.testing.assert_allclose(nothing(Preprocess(scale=1.0), None), wanted, rtol=1e-6)
    np.testing.assert_allclose(nothing(Preprocess(scale=1.0, channels="BGR"), None), wanted[::-1], rtol=1e-6)
    np.testing.assert_allclose(nothing(Preprocess(), None), wanted / 255, rtol=1e-6)


def test_pictures_of_whole_numbers_stay_in_their_bounds() -> None:
    how = Preprocess(scale=1.0, dtype="uint8", layout="NHWC")
    x = np.array([-3.4, 0.6, 254.7, 261.0], np.float32).reshape(1, 1, 2, 2).repeat(3, axis=1)
    taken = as_taken(x, how)
    assert (taken.dtype, taken.shape) == (np.dtype("uint8"), (1, 2, 2, 3))
    assert taken[0, :, :, 0].ravel().tolist() == [0, 1, 255, 255]


@pytest.mark.parametrize("told", ["", "yesterday", "1" * 30])
def test_a_time_that_is_none_is_said(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", told)
    with pytest.raises(OptionError, match="seconds since 1970"):
        provenance.told_time()


def test_of_nothing_no_distance_is_told() -> None:
    assert np.isnan(apart(np.zeros(3), np.zeros(3)))


def test_what_an_audit_costs_is_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran, original = [], ort.InferenceSession.run

    def run(session: ort.InferenceSession, outputs: Any, feeds: dict[str, np.ndarray], *rest: Any) -> Any:
        ran.append(sum(len(value) for value in feeds.values() if value.ndim == 4))
        return original(session, outputs, feeds, *rest)

    monkeypatch.setattr(ort.InferenceSession, "run", run)
    said: list[int] = []
    request = Request(saved(seeing(), tmp_path / "model.onnx"), [str(folder(tmp_path / "in", 2))], tmp_path / "out")
    audit(request, told=lambda plan: said.append(plan.passes))
    assert said == [sum(ran)]
