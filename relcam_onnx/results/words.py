"""What is said of an explanation: its targets, its layers, and all of it in a few lines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from relcam_onnx.lrp.maps import MapSource

if TYPE_CHECKING:
    from relcam_onnx.results.explanation import Explanation

MOST = 10
"""So many pictures are listed one by one."""
NOTHING = "nothing detected"


def percent(probability: float) -> str:
    """A probability for people: ``37 %``, ``2.3 %``, ``< 0.1 %``."""
    share = 100 * float(probability)
    if 0 < share < 0.1:
        return "< 0.1 %"
    return f"{share:.1f} %" if 0 < share < 9.95 else f"{share:z.0f} %"


def target(explanation: Explanation, index: int, place: int) -> str:
    """One target of one image: ``282 tiger cat 37 %``, or ``class 282 37 %`` where classes have no names."""
    number = int(explanation.classes[index, place])
    label = explanation.label(number)
    name = f"class {number}" if label is None else f"{number} {label}"
    return f"{name} {percent(explanation.probability[index, place])}"


def logits(margin: float) -> str:
    """A margin to a tenth, zero without a sign."""
    return f"{round(float(margin), 1) + 0.0:.1f}"


def caption(explanation: Explanation, index: int, place: int) -> str:
    """A target with its margin, and what is doubtful: ``282 tiger cat 37 %, margin 4.7``."""
    if place >= explanation.count(index):
        best = None if explanation.detected is None else explanation.detected.best[index]
        return NOTHING if best is None else f"{NOTHING}: the best score is {percent(best)}"
    said = f"{target(explanation, index, place)}, margin {logits(explanation.margin[index, place])}"
    doubtful = explanation.doubt(index, place)
    return f"{said}: {doubtful}" if doubtful else said


def targets(explanation: Explanation, index: int) -> str:
    """All targets of one image."""
    return ", ".join(target(explanation, index, place) for place in range(explanation.count(index))) or NOTHING


def title(source: MapSource) -> str:
    """What a map is called where there is room for words: ``stride 8``, ``layer4, stride 32``, ``fused``."""
    name = source.name.removesuffix(f"/{source.picture}")
    if step := re.fullmatch(r"(stride|depth)([\d.]+)", name):
        return " ".join(step.groups())
    return f"{name}, stride {source.stride:g}" if source.stride and source.stride != 1 else name


def picture(explanation: Explanation, index: int, name: str | None = None) -> str:
    """What an image is called: its file, else its place; with ``name``, the picture of that input."""
    pictures = explanation.beside.get(name or "", explanation.pictures)
    file = pictures[index].file if pictures else None
    return file or f"image {index}"


def described(explanation: Explanation) -> str:
    """The model, the images with their targets, and the layers, in a few lines."""
    settings, count = explanation.settings, len(explanation.targets)
    lines = [
        f"Explanation of {settings.model or 'a model without a file'}: {settings.method}, preset {settings.preset}, "
        f"seed {settings.seed}"
    ]
    for index in range(min(count, MOST)):
        size = f", {_times(explanation.pictures[index].size[::-1])}" if explanation.pictures else ""
        lines.append(f"  {picture(explanation, index)}{size}: {targets(explanation, index)}")
    if count > MOST:
        lines.append(f"  and {count - MOST} more images")
    maps = (f"{title(source)} ({_times(explanation.maps[source.name].shape[2:])})" for source in settings.layers)
    return "\n".join([*lines, f"  maps: {'; '.join(maps)}"])


def _times(sizes: tuple[int, ...]) -> str:
    return "×".join(map(str, sizes))
