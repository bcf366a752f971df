"""What all stages and their fusion cost in networks of several kinds: ``python -m benchmarks.architectures [--write]``.

Networks have random weights and are exported once, which needs PyTorch; ``--write`` puts the table into docs/speed.md.
"""

from __future__ import annotations

import argparse
import gc
from functools import partial
from pathlib import Path

from benchmarks.carried import YOLO
from benchmarks.compiled import ALL, BATCHES, PAGE, explained, report, worked
from benchmarks.cost import ROOT
from benchmarks.ideal import ideal
from benchmarks.models import SIZE, Net, compiled, exported, prepared
from benchmarks.page import fill, table
from benchmarks.timing import compare, running, session

MOST = 1.5
"""Of its ideal, at the largest batch: what a network's cost should not exceed."""


def of_timm(name: str) -> Path:
    """A network of timm's with random weights, kept in build/."""
    file = ROOT / "build" / f"{name}-random.onnx"
    if not file.exists():
        import relcam_exporters

        file.parent.mkdir(exist_ok=True)
        relcam_exporters.export_named(f"timm:{name}", file, weights=None)
    return file


NETS = (
    Net("MobileNetV3-Large", partial(exported, "mobilenet_v3_large")),
    Net("EfficientNet-B0", partial(exported, "efficientnet_b0")),
    Net("ConvNeXt-Tiny", partial(exported, "convnext_tiny")),
    Net("RegNetY-8GF", partial(exported, "regnet_y_8gf")),
    Net("ViT-S/16", partial(of_timm, "vit_small_patch16_224")),
    Net("Swin-T", partial(exported, "swin_t")),
    Net("YOLOv8n, one detection", YOLO.file),
)
SIZES = {"YOLOv8n, one detection": 640}
"""Pixels a side, where they are not those of classifiers."""
TOGETHER = 10
"""Detections of one picture that are explained at once."""


def measured(net: Net, rounds: int) -> list[str]:
    """One network's row."""
    file, size = net.file(), SIZES.get(net.name, SIZE)
    model, least = compiled(file, ALL, size), ideal(prepared(file, ALL, size))
    ratios = [explained(file, model, rounds, batch, size).ratio for batch in BATCHES]
    over = ratios[-1] / least
    row = [net.name, f"{least:.2f}", *(f"{ratio:.2f}" for ratio in ratios), f"{over:.2f}"]
    row += ["" if over <= MOST else "×", f"{worked(file, model, rounds, size):.2f}"]
    report("architecture", row)
    gc.collect()  # as in `benchmarks.compiled.depths`
    return row


def together(rounds: int) -> list[str]:
    """Several detections in one pass, against as many single ones."""
    file, size = YOLO.file(), SIZES["YOLOv8n, one detection"]
    one = running(session(compiled(file, ALL, size)), 1, size)
    many = running(session(compiled(file, ALL, size, several=True)), 1, size, targets=TOGETHER)
    ratio = compare(many, one, rounds).ratio / TOGETHER
    row = [f"YOLOv8n, {TOGETHER} detections at once", f"{ratio:.2f} of {TOGETHER} single ones"]
    report("architecture", row)
    return row


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the table of docs/speed.md")
    parser.add_argument("--quick", action="store_true", help="few rounds: to try it")
    options = parser.parse_args()
    rows = [measured(net, 2 if options.quick else 5) for net in NETS]
    batches = [f"batch {batch}" for batch in BATCHES]
    head = ["", "ideal", *batches, f"over its ideal, batch {BATCHES[-1]}", f"> {MOST:g}", "one thread"]
    found = table(head, [*rows, [*together(2 if options.quick else 5), *[""] * (len(head) - 2)]])
    print(f"\n{found}")
    if options.write:
        fill(PAGE, {"architectures": found})


if __name__ == "__main__":
    main()
