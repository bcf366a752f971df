"""How long it takes until a model can be explained: ``python -m benchmarks.starting [--write]``.

The time until a first map is there, less that of a second one, over the same of the plain onnxruntime session. Networks
have random weights and are exported once, which needs PyTorch; ``--write`` puts the tables into docs/speed.md.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

import relcam_onnx as rc
from benchmarks.architectures import of_timm
from benchmarks.compiled import ALL, PAGE, report
from benchmarks.models import LITE0, RESNET, SIZE, Net, compiled, exported
from benchmarks.page import fill, table
from benchmarks.timing import THREADS
from relcam_onnx.runners.options import own_options

NETS = (
    Net("ViT-S/16", partial(of_timm, "vit_small_patch16_224")),
    Net("Swin-T", partial(exported, "swin_t")),
    RESNET,
    LITE0,
)
CHAINS = (1_000, 4_000, 10_000)
"""Nodes."""

PICTURE = np.random.default_rng(0).standard_normal((1, 3, SIZE, SIZE), np.float32)
Made = Callable[[], Callable[[], object]]


def ready(make: Made) -> float:
    """Processor time in seconds until something can run: made and run, less a later run.

    It hardly depends on what else the machine does; making a session takes one thread, and so does preparing.
    """
    gc.collect()
    start = time.process_time()
    call = make()
    call()
    first = time.process_time() - start
    start = time.process_time()
    call()
    return first - (time.process_time() - start)


def plain(file: Path) -> Callable[[], object]:
    """A session of a file."""
    session = onnxruntime.InferenceSession(file, own_options(THREADS, spinning=False))
    feeds: dict[str, Any] = {value.name: PICTURE for value in session.get_inputs()[:1]}
    feeds |= {value.name: np.zeros((1, 1), np.int64) for value in session.get_inputs()[1:]}
    return lambda: session.run(None, feeds)


def explained(file: Path, cache: Path | None = None) -> Callable[[], object]:
    """An `Explainer`."""
    explainer = rc.Explainer(file, ALL, providers="cpu", threads=THREADS, cache=cache)
    return lambda: explainer(PICTURE, 0)


def measured(net: Net, rounds: int) -> list[str]:
    """One network's row."""
    file = net.file()
    with tempfile.TemporaryDirectory() as folder:
        whole, cache = Path(folder) / "compiled.onnx", Path(folder) / "cache"
        onnx.save(compiled(file, ALL), whole)
        cases: list[Made] = [partial(plain, file), partial(explained, file), partial(explained, file, cache)]
        cases.append(partial(plain, whole))
        for case in cases:
            ready(case)
        turns = [[ready(case) for case in cases] for _ in range(rounds)]
    base = statistics.median(turn[0] for turn in turns)
    ratios = [statistics.median(turn[i] / turn[0] for turn in turns) for i in range(1, len(cases))]
    row = [net.name, f"{1e3 * base:.0f} ms", *(f"{ratio:.1f}" for ratio in ratios)]
    report("starting", row)
    return row


def chain(nodes: int) -> onnx.ModelProto:
    """A network of so many nodes in a row: convolutions and ReLUs."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3, 3, 1, 1], np.eye(3, dtype=np.float32).reshape(-1))
    made, last = [], "x"
    for i in range(nodes // 2):
        made += [helper.make_node("Conv", [last, "w"], [f"c{i}"]), helper.make_node("Relu", [f"c{i}"], [f"r{i}"])]
        last = f"r{i}"
    made += [helper.make_node("GlobalAveragePool", [last], ["p"]), helper.make_node("Flatten", ["p"], ["y"])]
    picture = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    scores = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])
    return helper.make_model(
        helper.make_graph(made, "chain", [picture], [scores], [weight]), opset_imports=[helper.make_opsetid("", 18)]
    )


def deep(nodes: int) -> list[str]:
    """How long a chain takes to compile."""
    model = chain(nodes)
    start = time.process_time()
    rc.compile_model(model, "input")
    row = [f"{nodes:,}", f"{time.process_time() - start:.1f} s"]
    report("chain", row)
    return row


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the tables of docs/speed.md")
    parser.add_argument("--quick", action="store_true", help="few rounds: to try it")
    options = parser.parse_args()
    rows = [measured(net, 3 if options.quick else 9) for net in NETS]
    head = ["", "plain session", "`Explainer`", "with a filled `cache`", "plain session of the compiled file"]
    found = {"start-up": table(head, rows), "chains": table(["nodes", "compiling"], [deep(n) for n in CHAINS])}
    print("\n\n".join(found.values()))
    if options.write:
        fill(PAGE, found)


if __name__ == "__main__":
    main()
