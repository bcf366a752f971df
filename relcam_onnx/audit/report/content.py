"""What ``report.json`` holds; its schema stands beside the code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from relcam_onnx.analysis.layers import FUSED
from relcam_onnx.audit.looking import by_group, mean_maps
from relcam_onnx.audit.measures import MEASURES
from relcam_onnx.audit.provenance import coverage, provenance
from relcam_onnx.audit.report.verdict import departure, findings, heading
from relcam_onnx.audit.rows import AUDITED
from relcam_onnx.audit.run import Audit
from relcam_onnx.audit.subjects import Subject
from relcam_onnx.audit.told import named
from relcam_onnx.audit.words import words_of
from relcam_onnx.results.detections import Detection

SCHEMA = "relcam-audit/1"
"""Its name and version: a number more where something that was there changes its meaning."""


def content(audit: Audit) -> dict[str, Any]:
    """The report as plain values."""
    found = findings(audit)
    departed, words = departure(audit), words_of(audit.model)
    return {
        "schema": SCHEMA,
        "head": audit.model.kind,
        "verdict": {
            "passed": audit.passed,
            "said": heading(found),
            "findings": [finding._asdict() for finding in found],
        },
        "provenance": provenance(
            audit.model, audit.reference, audit.pictures, audit.subjects, audit.request.told()
        ),
        "coverage": coverage(audit.model),
        "passes": audit.passes,
        "measures": {
            name: {"said": words.says(of.said), "better": of.better, "chance": of.fixed_chance}
            for name, of in MEASURES.items()
        },
        "figures": [figure.as_json() for figure in audit.figures],
        "departs": None if departed is None else departed.layer,
        "thresholds": [
            {
                "said": outcome.threshold.said, "name": outcome.threshold.name, "side": outcome.threshold.side,
                "limit": outcome.threshold.limit, "layer": outcome.threshold.layer, "passed": outcome.passed,
                "checked": [f.as_json() for f in outcome.checked], "failed": [f.layer for f in outcome.failed],
            }
            for outcome in audit.outcomes
        ],
        "groups": groups(audit),
        "clusters": [
            {
                "group": c.group, "pictures": list(c.names), "suspicion": c.suspicion, "raised": c.raised,
                "reasons": dict(c.reasons), "mean": c.mean.tolist(),
            }
            for c in audit.clusters
        ],
        "pictures": pictures(audit),
        "unmatched": [
            {"picture": u.picture, "only": u.only, **detected(u.detection), "score": u.detection.score}
            for u in audit.unmatched
        ],
        "failed": [{"file": f.file, "error": f.error} for f in audit.failed],
        "notes": list(audit.notes),
    }  # fmt: skip


def groups(audit: Audit) -> list[dict[str, Any]]:
    """Each class or subgroup: how many, how many right, and the mean map."""
    means, found = mean_maps(by_group(audit.subjects, audit.maps)), []
    for group in dict.fromkeys(s.group for s in audit.subjects):
        own = [s for s in audit.subjects if s.group == group]
        right = sum(s.right for s in own) if all(s.told for s in own) else None
        mean = means[group].tolist() if group in means else None
        found.append({"group": group, "pictures": len(own), "right": right, "mean": mean})
    return found


def pictures(audit: Audit) -> list[dict[str, Any]]:
    """Each picture with every value that was measured of it; those that the reference lacks and drifted ones first."""
    measured = {key: audit.store.values(of.experiment, of.key).get(AUDITED, {}) for key, of in MEASURES.items()}
    drifted = measured["drift.iou"].get(FUSED, {})
    return [
        picture(audit, subject, measured)
        for subject in sorted(audit.subjects, key=lambda s: (not is_new(audit, s), drifted.get(s.name, 1.0), s.name))
    ]


def picture(
    audit: Audit, subject: Subject, measured: Mapping[str, Mapping[str, Mapping[str, float]]]
) -> dict[str, Any]:
    """One picture: its classes, how sure the model is, and its values by measure and layer."""
    top, name = int(subject.scores.argmax()), subject.name
    values = {
        key: {layer: items[name] for layer, items in layers.items() if name in items}
        for key, layers in measured.items()
    }
    return {
        "name": name, "class": subject.label, "told": subject.told, "group": subject.group,
        "label": named(audit.model, subject.label), "probability": subject.probability,
        "top": top, "top_label": named(audit.model, top), "picture": subject.picture,
        "detection": None if (found := subject.spot.detection) is None else detected(found),
        "matched": None if audit.reference is None or found is None else not is_new(audit, subject),
        "values": {key: layers for key, layers in values.items() if layers},
    }  # fmt: skip


def is_new(audit: Audit, subject: Subject) -> bool:
    """Whether the reference has no such detection."""
    mine = [(each.picture, each.detection) for each in audit.unmatched if each.only == "model"]
    return (subject.picture, subject.spot.detection) in mine


def detected(found: Detection) -> dict[str, Any]:
    """A detection, its box in the picture's own pixels; None where the file tells none."""
    box = None if found.box is None else [round(side, 1) for side in found.box]
    return {"class": found.index, "label": found.label or str(found.index), "box": box, "place": found.place}
