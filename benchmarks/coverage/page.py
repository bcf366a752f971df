"""docs/coverage.md, made of the records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.page import table

PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"
OUTPUTS, GRADIENT, AGREE = 1e-5, 1e-4, 1e-3
"""What is asked for: outputs, 1 - cosine of gradients, maps of two backends and of two spellings."""
TEXT = """# Which networks are explained

Written by `make coverage`: {cases} networks of {families} families; {explained} are explained, and {passed} hold all
that is checked. Each is built by torchvision or timm, given seeded, *calm* weights (below), and exported twice:
by PyTorch's exporter over `torch.export` at opset {newer}, and over TorchScript at opset {older} and of fixed batch,
with timm's attention fused in the first and in pieces in the second. *Batch* says whether the first leaves it open.
Figures are shares of the largest value.

- *outputs*: the explained file's own scores beside those of the plain file; 1e-5 at most, or the double of *rounding*:
  how far the plain file's are from PyTorch's in double precision. Two runs in float32 may be that far from each other.
- *gradient*: 1 − cosine of preset `gradient` at the input and PyTorch's autograd in double precision; 1e-4 at most (all
  adjoints are right), or *kinks*: the same of that gradient and of itself where the picture moves by 1e-6 of itself,
  the largest of four such where one does not reach the former. A ReLU or max pool whose input is nearer to its kink
  than float32 tells takes one side in one run, another in the next.
- *backends*, *spellings*: the maps of all stages, fused, and the input's relevance, compiled beside NumPy, and those
  of the other file; 1e-3 at most, or ten times *noise*: how far they move when the picture moves by 1e-6 of itself.
  Of the fused map the product of stages is compared that it is a root of, since a root magnifies rounding near 0.
  Explained are the top class, and the one of 64 whose nearest rivals are clearest: the default seed starts at the
  nearest, and which is the tenth of a thousand random ones may hang on the last digit.
- *account*: of a score under preset `epsilon-plus`, what arrives at the input, and what biases, constants (class
  tokens, position tables), ε and nothing take on the way; they add up to 1.
- No map has a NaN, and none is zero all over.

**Calm weights.** {calm}

{table}

{notes}{failures}"""
NOTES = {
    "dpn48b": "two spellings differ at one entry, which an unfolded batch norm reads as -1e-6 in one and as +6e-7 in "
    "the other, of 3: z⁺ hands on there to what pushes up, which is rounding alone. The moved picture did not meet it.",
}
"""Why a network misses what is asked for, where that was looked into."""


FIGURES = ("outputs", "rounding", "gradient", "kinks", "backends", "spellings", "noise")
HEAD = ("family", "network", "pixels", "batch", "stages", *FIGURES)


def page(lines: Sequence[dict[str, Any]]) -> str:
    """The whole page."""
    from benchmarks.coverage import checks, weights  # noqa: PLC0415 - they import PyTorch

    lines = sorted(lines, key=lambda line: (line["family"], line["name"]))
    good = [line for line in lines if "found" in line]
    head = [*HEAD, "account", ""]
    bad = [line for line in lines if "found" not in line]
    failures = "\n".join(map(failure, bad))
    notes = "".join(f"`{line['name']}`: {NOTES[line['name']]}\n\n" for line in good if missed(line))
    calm = " ".join((weights.__doc__ or "").split("\n\n", 1)[1].split())
    return TEXT.format(
        cases=len(lines), families=len({line["family"] for line in lines}), explained=len(good),
        passed=sum(holds(line["found"]) for line in good), newer=checks.NEWER, older=checks.OLDER, calm=calm,
        table=table(head, [row(line) for line in good]), notes=notes,
        failures=f"**Not explained**, with the step that failed, and what was explained instead:\n\n{failures}\n"
        if bad else "",
    )  # fmt: skip


def failure(line: dict[str, Any]) -> str:
    """A network that is not explained, and what is left to who has it."""
    left = "".join(f"; {what}" for what in line.get("left", ()))
    return f"- `{line['name']}`, {line['failed']}: {line['error']}{left}"


def missed(line: dict[str, Any]) -> bool:
    """Whether a network misses something, and why is known."""
    return line["name"] in NOTES and not holds(line["found"])


def holds(found: dict[str, Any]) -> bool:
    """Whether everything that is asked for holds; maps as near as they are to themselves under noise, times ten."""
    near = max(AGREE, 10 * found["noise"])
    return bool(
        found["outputs"] <= max(OUTPUTS, 2 * found["rounding"])
        and found["gradient"] <= max(GRADIENT, found["kinks"]) and found["finite"]
        and found["backends"] <= near and found["spellings"] <= near
    )  # fmt: skip


def row(line: dict[str, Any]) -> list[str]:
    """One network's row."""
    found = line["found"]
    figures = [f"{found[key]:.0e}" for key in FIGURES]
    account = " ".join(f"{value:.2g}" if math.isfinite(value) else "–" for value in found["account"])
    name = line["name"].removeprefix("tv:")
    batch = "free" if found["free"] else "fixed"
    said = [line["family"], name, str(line["size"]), batch, " ".join(found["stages"])]
    return [*said, *figures, account, "" if holds(found) else "×"]
