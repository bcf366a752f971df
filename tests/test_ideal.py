"""The count of multiply-adds that the speed benchmark sets beside its times."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.ideal import ideal, multiply_adds
from benchmarks.models import LITE0, prepared
from relcam_onnx.onnx_file.load import load
from relcam_onnx.prepare import Prepared


def test_lite0_costs_what_was_counted_by_hand_before() -> None:
    """The figures of the issue that set the targets, which come from another program."""
    counted = [ideal(prepared(LITE0.file(), stage)) for stage in LITE0.stages]
    assert counted == pytest.approx([1.00, 1.82, 2.71, 2.92], abs=0.005)


def small_net() -> onnx.ModelProto:
    """Conv 3→4 by 3×3 of 8×8 pixels, Relu, Conv 4→6 by 1×1 with stride 2, Relu, mean, Gemm 6→5."""
    rng = np.random.default_rng(0)
    weights = {"w1": (4, 3, 3, 3), "w2": (6, 4, 1, 1), "w3": (6, 5)}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "w3"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), name) for name, s in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_every_output_takes_one_for_each_weight_of_its_filter() -> None:
    counted = {node.op: 0 for node in load(small_net()).graph.nodes}
    for node in load(small_net()).graph.nodes:
        counted[node.op] += multiply_adds(node)
    convolutions = 8 * 8 * 4 * (3 * 9) + 4 * 4 * 6 * 4
    assert counted == {"Conv": convolutions, "Relu": 0, "GlobalAveragePool": 0, "Flatten": 0, "Gemm": 6 * 5}


@pytest.mark.parametrize(
    ("layer", "back"),
    [("d", 30), ("b", 30 + 2 * 384), ("input", 30 + 2 * 384 + 3 * 6912)],
    ids=["dense by ε", "z⁺ on what is ≥ 0", "zᴮ at the image"],
)
def test_the_way_back_by_hand(layer: str, back: int) -> None:
    forward = 6912 + 384 + 30
    assert ideal(Prepared(small_net(), layer)) == pytest.approx((forward + back) / forward, rel=1e-12)
