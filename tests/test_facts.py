"""Preprocessing and labels are read once, and what is broken stands in the way of those alone who need it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from nets import Net, picture, plain
from PIL import Image

import relcam_onnx as rc
from relcam_onnx.explaining import PictureExplainer
from relcam_onnx.pictures import conventions, facts, labels
from relcam_onnx.pictures.facts import Facts

BROKEN = {"relcam.labels": "{", "names": "["}
NAMES = ["a", "b", "c", "d", "e"]
PIXELS = np.zeros((32, 32, 3), np.uint8)


def with_metadata(**metadata: str) -> onnx.ModelProto:
    proto = plain()
    onnx.helper.set_model_props(proto, metadata)
    return proto


def test_arrays_need_no_labels() -> None:
    with warnings.catch_warnings(), rc.Explainer(with_metadata(**BROKEN), layers="last") as explainer:
        warnings.simplefilter("error")
        assert explainer(picture(1, 3, 32, 32)).targets.shape == (1, 1)
        with pytest.raises(rc.OptionError, match=r"relcam\.labels"):
            rc.explain(explainer, PIXELS, preprocess="unit")


def test_labels_of_ones_own_come_first() -> None:
    e = rc.explain(with_metadata(**BROKEN), PIXELS, "c", preprocess="unit", labels=NAMES, layers="last")
    assert (e.targets.tolist(), e.label(2)) == ([[2]], "c")


def test_broken_preprocessing_leaves_arrays_alone_but_is_told() -> None:
    proto = with_metadata(**{"relcam.preprocess": '{"men": 0}'})
    with pytest.warns(UserWarning, match=r"left aside: metadata relcam\.preprocess.*'men'"):
        explainer = rc.Explainer(proto, layers="last")
    explainer(picture(1, 3, 32, 32))
    with pytest.raises(rc.OptionError, match="'men'"):
        rc.explain(explainer, PIXELS)
    rc.explain(explainer, PIXELS, preprocess="unit")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rc.Explainer(proto, layers="last", preprocess="unit").close()
    with pytest.raises(rc.OptionError, match="'imagnet'"):
        rc.Explainer(plain(), preprocess="imagnet")


def test_broken_labels_are_left_out_of_a_compiled_file() -> None:
    with pytest.warns(UserWarning, match=r"left aside: metadata relcam\.labels"):
        rc.compile_model(with_metadata(**BROKEN), layers="last")


def test_each_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(plain(), tmp_path / "model.onnx")
    (tmp_path / "config.json").write_text(json.dumps({"id2label": dict(enumerate(NAMES))}))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 32, "do_normalize": False}))
    calls: list[str] = []

    def counted(module: Any, name: str) -> None:
        function = getattr(module, name)

        def call(*arguments: Any) -> Any:
            calls.append(name)
            return function(*arguments)

        monkeypatch.setattr(facts, name, call)

    counted(conventions, "known_preprocess")
    counted(labels, "find_labels")
    with rc.Explainer(tmp_path / "model.onnx", layers="last") as explainer:
        for _ in range(2):
            rc.explain(explainer, Image.fromarray(PIXELS), "e")
    assert sorted(calls) == ["find_labels", "known_preprocess"]


def test_other_options_make_other_facts() -> None:
    told = Facts({"relcam.labels": '["x", "y"]'}, None, "unit")
    assert told.given(None, None) is told
    assert told.given("unit", None) is told
    named = told.given(None, ["z"])
    assert (named.labels, named.preprocess) == (["z"], told.preprocess)
    assert told.given("raw", None).labels == ["x", "y"]


def test_an_explainer_and_its_pictures_agree_on_labels() -> None:
    with rc.Explainer(plain(), layers="last", labels=NAMES) as explainer:
        assert PictureExplainer(explainer, "unit").labels == NAMES
    net = Net("N", 3, 8, 8)
    proto = net.model(net.head(net("Relu", net.conv(net.x, 3, 4)), 4, 1))
    with pytest.raises(rc.OptionError, match="no file"):
        rc.Explainer(proto, labels="none.txt")
