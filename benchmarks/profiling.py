"""Where an explanation's time goes: onnxruntime's own profile, summed by op.

``python -m benchmarks.profiling`` prints the table, ``--write`` also puts it into docs/speed.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

import onnx
import onnxruntime

from benchmarks.compiled import ALL, PAGE, depth
from benchmarks.models import LITE0, RESNET, compiled
from benchmarks.page import fill, table
from benchmarks.timing import THREADS, running
from relcam_onnx.runners.session import SessionSettings, open_session

RUNS = 10
LEAST = 0.03
"""Ops that nowhere take this share of a forward pass stand in the last row."""


def by_op(model: onnx.ModelProto) -> dict[str, float]:
    """Milliseconds of one run on one picture, by op, each node by its median; those that onnxruntime adds included."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "profile")
        options.intra_op_num_threads, options.log_severity_level = THREADS, 3
        session = open_session(model, SessionSettings(providers="cpu", options=options))
        run = running(session)
        for _ in range(RUNS):
            run()
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            nodes[event["args"]["op_name"], event["name"]].append(event["dur"] / 1e3)
    found: dict[str, float] = defaultdict(float)
    for (op, _), times in nodes.items():
        found[op] += median(times)
    return found


def where() -> str:
    """The table: one column for each explanation, in forward passes of its network."""
    columns: dict[str, dict[str, float]] = {}
    for net, depths in ((RESNET, ("layer2", "layer1", ALL, "input")), (LITE0, ("_blocks.5._swish#1", ALL, "input"))):
        file = net.file()
        plain = by_op(onnx.load(file))
        forward = sum(plain.values())
        for name, times in (("forward", plain), *((depth(layers), by_op(compiled(file, layers))) for layers in depths)):
            columns[f"{net.name}, {name}"] = {op: time / forward for op, time in times.items()}
    most = {op: max(column.get(op, 0.0) for column in columns.values()) for column in columns.values() for op in column}
    shown = sorted((op for op in most if most[op] >= LEAST), key=lambda op: -most[op])
    rows = [[f"`{op}`", *(f"{column.get(op, 0.0):.2f}" for column in columns.values())] for op in shown]
    rest = [sum(time for op, time in column.items() if op not in shown) for column in columns.values()]
    whole = [sum(column.values()) for column in columns.values()]
    rows += [["the rest", *(f"{value:.2f}" for value in rest)], ["sum", *(f"{value:.2f}" for value in whole)]]
    return table(["", *columns], rows)


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the table of docs/speed.md")
    options = parser.parse_args()
    found = {"where the time goes": where()}
    print(found["where the time goes"])
    if options.write:
        fill(PAGE, found)


if __name__ == "__main__":
    main()
