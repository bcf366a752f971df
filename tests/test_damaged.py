"""Damaged files: some of those that `python -m benchmarks.fuzz` makes, and each kind of fault that it found."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from nets import Net, plain

import relcam_onnx as rc
from benchmarks.fuzz import outcome
from benchmarks.mutants import mutant
from relcam_onnx.errors import all_told

CHECKED = plain(size=16).SerializeToString()


def test_damaged_files_are_explained_or_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of networks that show nothing any more
        found = Counter(outcome(mutant(CHECKED, number)).partition(":")[0] for number in range(48))
    assert set(found) == {"explained", "refused"}
    assert min(found.values()) > 8  # else nothing was damaged, or nothing survived


def test_a_mutant_is_another_file_and_the_same_one_again() -> None:
    made = [mutant(CHECKED, number) for number in range(40)]
    assert made == [mutant(CHECKED, number) for number in range(40)]
    assert len(set(made)) > 30


def windowed(**attributes: Any) -> onnx.ModelProto:
    net = Net("N", 3, 16, 16)
    net("Conv", net.x, net.normal(4, 3, 3, 3), name="conv")
    net.head("conv", 4)
    model = net.model("scores")
    for name, value in attributes.items():
        model.graph.node[0].attribute.add(
            name=name, type=onnx.AttributeProto.INT if isinstance(value, int) else onnx.AttributeProto.INTS
        )
        if isinstance(value, int):
            model.graph.node[0].attribute[-1].i = value
        else:
            model.graph.node[0].attribute[-1].ints.extend(value)
    return model


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"strides": [0, 1]}, "strides [0, 1]"),
        ({"dilations": [1, -1]}, "dilations [1, -1]"),
        ({"group": 0}, "group [0]"),
        ({"strides": [1, 1], "pads": [1, 1, 1]}, "pads [1, 1, 1]"),
        ({"kernel_shape": [3, 3], "strides": [1]}, "strides [1]"),
    ],
)
def test_windows_of_nothing_are_named(attributes: dict[str, Any], said: str) -> None:
    with pytest.raises(rc.ModelFileError, match=r"Conv 'conv' has .* no window") as caught:
        rc.Explainer(windowed(**attributes))
    assert said in str(caught.value)


def test_an_empty_list_is_an_absent_one() -> None:
    with rc.Explainer(windowed(strides=[], pads=[], dilations=[]), layers="conv") as explainer:
        assert explainer.model.graph.nodes[0].attrs.keys().isdisjoint({"strides", "pads", "dilations"})


def test_an_input_without_a_type_is_named() -> None:
    model = plain(size=16)
    model.graph.input[0].type.tensor_type.elem_type = 0
    with pytest.raises(rc.ModelFileError, match="inputs 'x' have no type"):
        rc.Explainer(model)


@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyError, RecursionError])
def test_what_no_check_foresaw_is_told_with_its_cause(kind: Callable[[str], Exception]) -> None:
    said = r"preparing failed \(.*Error: .*why.*\); the file may"
    with pytest.raises(rc.UnsupportedModelError, match=said) as caught, all_told("preparing"):
        raise kind("why\nnot")
    assert isinstance(caught.value.__cause__, kind)  # type: ignore[arg-type]


def test_a_lack_of_memory_is_no_damage() -> None:
    """Asked for a thousand million masks it advised to check the file."""
    says = r"^explaining needs more memory than there is \(why\): ask for fewer samples="
    with pytest.raises(rc.UnsupportedModelError, match=says), all_told("explaining"):
        raise MemoryError("why")


@pytest.mark.parametrize("kind", [rc.TargetError, UserWarning, KeyboardInterrupt])
def test_what_is_told_already_passes(kind: type[BaseException]) -> None:
    with pytest.raises(kind, match=r"^why$"), all_told("preparing"):
        raise kind("why")


def test_constants_that_cannot_be_computed_are_tried_once() -> None:
    net = Net("N", 3, 32, 32)
    pooled = net("GlobalAveragePool", net("Relu", net.conv(net.x, 3, 8, stride=2)))
    sizes = net("Concat", net("Gather", net("Shape", net.x), np.array([0])), np.array([8]), axis=0)
    impossible = net("ReduceSum", net("Conv", net.normal(16, 8, 3, 3), net.normal(16)))
    model = net.model(net("Add", net.dense(net("Reshape", pooled, sizes), 8, 5), impossible))
    with pytest.raises(rc.RelcamError):
        rc.Explainer(model)
