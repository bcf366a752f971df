"""What ``report.json`` holds; its schema stands beside the code."""

from __future__ import annotations

from typing import Any

from relcam_onnx.analysis.layers import FUSED
from relcam_onnx.audit.looking import mean_maps
from relcam_onnx.audit.measures import MEASURES
from relcam_onnx.audit.provenance import coverage, provenance
from relcam_onnx.audit.report.verdict import departure, findings, heading
from relcam_onnx.audit.rows import AUDITED
from relcam_onnx.audit.run import Audit
from relcam_onnx.audit.subjects import named

SCHEMA = "relcam-audit/1"
"""Its name and version: a number more where something that was there changes its meaning."""


def content(audit: Audit) -> dict[str, Any]:
    """The report as plain values."""
    found = findings(audit)
    departed = departure(audit)
    return {
        "schema": SCHEMA,
        "verdict": {
            "passed": audit.passed,
            "said": heading(found),
            "findings": [finding._asdict() for finding in found],
        },
        "provenance": provenance(audit.model, audit.reference, audit.subjects, audit.request.told()),
        "coverage": coverage(audit.model),
        "passes": audit.passes,
        "measures": {n: {"said": of.said, "better": of.better, "chance": of.chance} for n, of in MEASURES.items()},
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
        "pictures": [picture(audit, name) for name in ordered(audit)],
        "failed": [{"file": f.file, "error": f.error} for f in audit.failed],
        "notes": list(audit.notes),
    }  # fmt: skip


def groups(audit: Audit) -> list[dict[str, Any]]:
    """Each class or subgroup: how many, how many right, and the mean map."""
    fused = {
        group: {s.name: audit.maps[s.name][FUSED][0] for s in audit.subjects
                if s.group == group and FUSED in audit.maps[s.name]}
        for group in dict.fromkeys(s.group for s in audit.subjects)
    }  # fmt: skip
    means = mean_maps(fused)
    return [
        {
            "group": group,
            "pictures": len(own := [s for s in audit.subjects if s.group == group]),
            "right": sum(s.right for s in own) if all(s.told for s in own) else None,
            "mean": means[group].tolist() if group in means else None,
        }
        for group in fused
    ]


def ordered(audit: Audit) -> list[str]:
    """The pictures' names, those whose maps have drifted furthest first."""
    drifted = audit.store.values("drift", "iou").get(AUDITED, {}).get(FUSED, {})
    return sorted((s.name for s in audit.subjects), key=lambda name: drifted.get(name, 1.0))


def picture(audit: Audit, name: str) -> dict[str, Any]:
    """One picture: its classes, how sure the model is, and every value that was measured of it."""
    subject = next(s for s in audit.subjects if s.name == name)
    top = int(subject.scores.argmax())
    values = {
        key: {layer: items[name] for layer, items in layers.items() if name in items}
        for key, of in MEASURES.items()
        if (layers := audit.store.values(of.experiment, of.key).get(AUDITED))
    }
    return {
        "name": name, "class": subject.label, "told": subject.told, "group": subject.group,
        "label": named(audit.model, subject.label), "probability": subject.probability,
        "top": top, "top_label": named(audit.model, top),
        "values": {key: layers for key, layers in values.items() if layers},
    }  # fmt: skip
