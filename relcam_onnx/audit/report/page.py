"""``report.html``: one file that loads nothing, reads without JavaScript, and escapes whatever comes from outside."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Any

from relcam_onnx.analysis.layers import FUSED
from relcam_onnx.audit.report.images import heatmap, shown
from relcam_onnx.audit.report.plots import along, intervals, scattered
from relcam_onnx.audit.report.verdict import DEPARTS
from relcam_onnx.audit.rows import AUDITED
from relcam_onnx.audit.run import Audit
from relcam_onnx.audit.words import words_of

PARTS = {
    "drift": "Does the deployed model still look where the original looked?",
    "faithfulness": "Is the explanation faithful to this model?",
    "places": "Does the map lie where the class is?",
    "sanity": "Does the map hang on the model, and hold still where nothing changes?",
    "gradients": "Would gradients have done as well?",
    "looking": "Where does the model look?",
}
"""The parts of measures, and the question that each answers."""
PICTURES = 24
"""So many stand in the page; all are in ``report.json``."""
UNMATCHED = 40
"""Detections of one file alone that stand in it."""
CLUSTERS = 8
"""The most suspicious ones that stand in it."""


def page(audit: Audit, report: Mapping[str, Any]) -> str:
    """The page of what ``report.json`` holds, with pictures and plots."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - of an extra

    environment = Environment(
        loader=PackageLoader("relcam_onnx.audit.report", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    words = words_of(audit.model)
    environment.filters |= {"number": number, "share": words.written, "box": box}
    environment.globals["words"] = words  # macros see these alone
    style, script = (files(__package__).joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    subjects = {subject.name: subject for subject in audit.subjects}
    first = [entry["name"] for entry in report["pictures"][:PICTURES]]
    wanted = {*first, *(name for cluster in report["clusters"][:CLUSTERS] for name in cluster["pictures"][:4])}
    return environment.get_template("page.html.j2").render(
        report=report, style=style, script=script, policy=policy(style, script), parts=PARTS, audited=AUDITED,
        fused=FUSED, measured=measured(report), departing=departing(report), first=first, clusters=CLUSTERS,
        unmatched=UNMATCHED,
        confidence=confidence(audit),
        shown={name: shown(audit, subjects[name]) for name in sorted(wanted)}, heatmap=heatmap,
    )  # fmt: skip


def policy(style: str, script: str) -> str:
    """What a browser may do with the page: show what is in it."""
    hashes = [base64.b64encode(sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def measured(report: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Part -> its measures, each with its figures by row and layer, and a plot where rows meet at the fused map."""
    found: dict[str, list[dict[str, Any]]] = {part: [] for part in PARTS}
    for name, of in report["measures"].items():
        figures = [f for f in report["figures"] if f["name"] == name and f["size"]]
        if not figures or name == "drift.activations":
            continue
        layers = list(dict.fromkeys(f["layer"] for f in figures))
        rows = list(dict.fromkeys(f["row"] for f in figures))
        at = {(f["row"], f["layer"]): f for f in figures}
        several = len([f for f in figures if f["layer"] == FUSED]) > 1
        found[name.partition(".")[0]].append({
            "name": name, **of, "layers": layers, "rows": rows, "at": at,
            "chance": figures[0]["chance"], "plot": intervals(figures, figures[0]["chance"]) if several else None,
        })  # fmt: skip
    return {part: measures for part, measures in found.items() if measures}


def departing(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """How activations depart, layer by layer."""
    figures = [f for f in report["figures"] if f["name"] == "drift.activations" and f["mean"] is not None]
    if not figures:
        return None
    names, values = [f["layer"] for f in figures], [f["mean"] for f in figures]
    return {"limit": DEPARTS, "count": len(names), "plot": along(names, values, DEPARTS)}


def confidence(audit: Audit) -> str | None:
    """A plot of channels, their weights against the score's fall without them, at the deepest stage that was asked."""
    told: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for experiment, _, _, found in audit.store.lines:
        for row, layers in found.items() if experiment == "confidence" else ():
            for layer in (name.removesuffix(" told") for name in layers if name.endswith(" told")):
                weights, falls = layers[f"{layer} told"], layers[f"{layer} fall"]
                points = told.setdefault(layer, {}).setdefault(row, [])
                points += [(weights[channel], falls[channel]) for channel in weights]
    return scattered(told[list(told)[-1]]) if told else None


def number(value: float | None) -> str:
    """Three digits."""
    return "–" if value is None else f"{value:.3g}"


def box(sides: Sequence[float]) -> str:
    """A box in words."""
    left, top, right, bottom = (f"{side:.0f}" for side in sides)
    return f"{left}, {top} to {right}, {bottom}"
