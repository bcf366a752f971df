"""What an audit found, in words: what failed, and what asks for a second look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from relcam_onnx.analysis.layers import FUSED
from relcam_onnx.audit.clusters import RAISED, of_place
from relcam_onnx.audit.drift import OUTPUTS
from relcam_onnx.audit.figures import Figure
from relcam_onnx.audit.matching import Unmatched
from relcam_onnx.audit.measures import MEASURES
from relcam_onnx.audit.rows import AUDITED, BASELINES
from relcam_onnx.audit.run import Audit
from relcam_onnx.audit.words import words_of

DEPARTS = 0.01
"""Relative difference of activations from which two files are said to depart at a layer."""
ALIKE = 0.8
"""IoU, or cosine, of two maps under which they do not show the same."""
HELD = 0.5
"""Magnitude of a correlation over which a map hangs on something that it should not hang on, or under which it does not
hold what it should."""
SAME = 0.99
"""The share of pixels with the same class under which two segmenters depart."""
FAR = 0.05
"""How far cosines may be apart before two embeddings depart."""
NAMED = 5
"""Classes of lost detections that are named."""
ENOUGH = 5
"""Pictures, for an interval to say something."""
SIDES = {"higher": 1, "lower": -1}


class Finding(NamedTuple):
    """One sentence: ``failed`` (a threshold, or pictures that could not be used), or ``look``; and its part."""

    level: str
    part: str
    said: str


def findings(audit: Audit) -> list[Finding]:
    """All of them, the gravest first."""
    found = [*of_thresholds(audit), *of_pictures(audit), *of_drift(audit), *of_maps(audit), *of_clusters(audit)]
    return sorted(found, key=lambda finding: finding.level != "failed")


def of_thresholds(audit: Audit) -> Iterator[Finding]:
    """Every threshold that does not pass."""
    for outcome in audit.outcomes:
        if outcome.passed:
            continue
        where = ", ".join(f"{f.estimate.mean:.3g} at {f.layer}" for f in outcome.failed)
        yield Finding("failed", "thresholds", f"{outcome.threshold.said}: {where or 'nothing was measured for it'}")


def of_pictures(audit: Audit) -> Iterator[Finding]:
    """Pictures that could not be read, wrong answers, and none at all."""
    if audit.failed:
        yield Finding("failed", "pictures", f"{len(audit.failed)} pictures could not be used; they are named below")
    if not audit.subjects:
        yield Finding("look", "pictures", f"the model finds nothing in {len(audit.pictures)} pictures: no map was made")
    told = [s for s in audit.subjects if s.told]
    wrong = [s for s in told if not s.right]
    if wrong:
        wrongly = words_of(audit.model).another
        yield Finding("look", "pictures", f"the model {wrongly} {len(wrong)} of {len(told)} pictures")


def of_drift(audit: Audit) -> Iterator[Finding]:
    """Where the model has departed from its reference."""
    agreed = mean(audit, "drift.top1", OUTPUTS)
    if agreed is not None and agreed < 1:
        yield Finding("look", "drift", f"the two files {words_of(audit.model).other} {1 - agreed:.1%} of the pictures")
    alike = mean(audit, "drift.iou", FUSED)
    if alike is not None and alike < ALIKE:
        yield Finding("look", "drift", f"the regions that the two files' maps mark overlap by {alike:.2f} only (IoU)")
    lost = [u for u in audit.unmatched if u.only == "reference"]
    if audit.unmatched:
        new = len(audit.unmatched) - len(lost)
        said = f"the model lacks {len(lost)} of the reference's detections, the reference {new} of the model's"
        yield Finding("look", "drift", f"{said}; {often(lost)}" if lost else said)
    pixels = mean(audit, "drift.pixels", OUTPUTS)
    if pixels is not None and pixels < SAME:
        yield Finding("look", "drift", f"the two files see another class in {1 - pixels:.1%} of the pixels")
    cosines = mean(audit, "drift.likeness", OUTPUTS)
    if cosines is not None and cosines > FAR:
        yield Finding("look", "drift", f"the two files' cosines of a picture are apart by {cosines:.2f}")
    if departed := departure(audit):
        apart = f"{departed.estimate.mean:.1%} apart at layer {departed.layer}"
        said = f"activations are {apart}, the first where it is more than {DEPARTS:.0%}"
        yield Finding("look", "drift", said)


def often(lost: Sequence[Unmatched]) -> str:
    """Which classes were lost, the most often lost first."""
    counted = Counter(u.detection.label or str(u.detection.index) for u in lost)
    return "lost: " + ", ".join(f"{label} {count}" for label, count in counted.most_common(NAMED))


def departure(audit: Audit) -> Figure | None:
    """The first layer at which activations are further apart than rounding takes them."""
    return next((f for f in audit.figures if f.name == "drift.activations" and f.estimate.mean >= DEPARTS), None)


def of_maps(audit: Audit) -> Iterator[Finding]:
    """Baselines that beat the audited method, and what maps should not hang on."""
    words = words_of(audit.model)
    for figure in audit.figures:
        side = SIDES.get(MEASURES[figure.name].better)
        if figure.row not in BASELINES or figure.layer != FUSED or figure.less is None or side is None:
            continue
        if max(side * figure.less.low, side * figure.less.high) < 0 and figure.less.size >= ENOUGH:
            said = f"{words.says(MEASURES[figure.name].said)}: the baseline '{figure.row}' does better than the maps"
            yield Finding("look", figure.name.partition(".")[0], said)
    for figure in audit.figures:
        if figure.row != AUDITED or figure.layer.partition(",")[0] != FUSED:
            continue
        value, said = figure.estimate.mean, ""
        if figure.name == "places.energy" and figure.chance is not None and figure.estimate.high < figure.chance:
            where = f"{value:.2f} of them, and {figure.chance:.2f} by chance"
            yield Finding("look", "places", f"the maps lie in the model's own regions less than chance has it: {where}")
        held = figure.estimate.low > HELD and figure.estimate.size >= ENOUGH
        if figure.name == "sanity.weights" and held and may_hold(audit, figure.layer):
            said = f"the maps hardly change where weights are drawn anew ({figure.layer}): r = {value:.2f}"
        elif figure.name == "sanity.random-class" and value > ALIKE:
            said = f"maps of {words.unrelated} look alike: r = {value:.2f}"
        elif figure.name in ("sanity.noise", "sanity.moved") and value < HELD:
            said = f"{words.says(MEASURES[figure.name].said)}: {value:.2f}"
        if said:
            yield Finding("look", "sanity", said)


def may_hold(audit: Audit, layer: str) -> bool:
    """Whether weights drawn anew are those that a map hangs on: a detector's last ones may be of other levels."""
    drawn, _, every = layer.rpartition(", ")[2].partition(" of ")
    return audit.model.kind != "detector" or drawn == every


def of_clusters(audit: Audit) -> Iterator[Finding]:
    """Clusters that may be shortcuts; what all of a group have at the edge is said once."""
    edges: set[str] = set()
    for cluster in audit.clusters:
        alone = of_place(cluster.reasons) >= RAISED
        if not cluster.raised or (not alone and cluster.group in edges):
            continue
        if not alone:
            edges.add(cluster.group)
        count, where = ("count", "lie in one place") if alone else ("rim", "lie at the edge")
        said = f"maps of {round(cluster.reasons[count])} of {round(cluster.reasons['of'])} pictures of"
        asked = "more than chance has it: a watermark, a border, a background?"
        yield Finding("look", "clusters", f"{said} '{cluster.group}' {where}, {asked}")


def mean(audit: Audit, name: str, layer: str) -> float | None:
    """The audited method's mean; None where nothing was measured."""
    own = (f for f in audit.figures if (f.name, f.row, f.layer) == (name, AUDITED, layer) and f.estimate.size)
    return next((figure.estimate.mean for figure in own), None)


def heading(found: list[Finding]) -> str:
    """The verdict in a line."""
    looks = sum(finding.level == "look" for finding in found)
    failed = [finding for finding in found if finding.level == "failed"]
    limits = sum(finding.part == "thresholds" for finding in failed)
    if failed:
        unused = limits < len(failed)
        what = [f"{limits} of the thresholds"] * bool(limits) + ["pictures that could not be used"] * unused
        return f"Failed: {' and '.join(what)}{f', and {looks} more to look at' if looks else ''}"
    return f"Passed, with {looks} to look at" if looks else "Passed: nothing found that asks for a second look"
