"""The report's files, each whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from relcam_onnx.audit.kept import clear
from relcam_onnx.audit.report.content import content
from relcam_onnx.audit.report.page import page
from relcam_onnx.audit.run import Audit
from relcam_onnx.files import whole

NAMES = ("report.html", "report.json", "metrics.csv", "junit.xml")


def write(audit: Audit, out: Path) -> None:
    """Write all four into a folder, and remove what was kept for an interrupted run.

    Raises
    ------
    OSError
        The disk is full, or the folder cannot be written.
    OptionError
        Something that pages need is not installed.
    """
    report = content(audit)
    texts = (page(audit, report), json.dumps(report, indent=1, allow_nan=False), table(report), junit(report))
    for name, text in zip(NAMES, texts, strict=True):
        with whole(out / name) as file:
            file.write(text.encode("utf-8", "backslashreplace"))  # a file's name may be any bytes
    clear(out)


def table(report: Mapping[str, Any]) -> str:
    """Every figure as CSV."""
    text = io.StringIO()
    rows = report["figures"]
    columns = list(rows[0]) if rows else []
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def junit(report: Mapping[str, Any]) -> str:
    """Thresholds and pictures as test cases, in the form that build servers show."""
    cases = [(t["said"], None if t["passed"] else failed(t) + detections(t, report)) for t in report["thresholds"]]
    cases += [(f["file"], f["error"]) for f in report["failed"]]
    suite = ET.Element("testsuite", name="relcam audit", tests=str(len(cases)), errors="0",
                       failures=str(sum(why is not None for _, why in cases)),
                       timestamp=report["provenance"]["time"])  # fmt: skip
    for said, why in cases:
        case = ET.SubElement(suite, "testcase", classname="relcam.audit", name=printable(said))
        if why is not None:
            ET.SubElement(case, "failure", message=printable(why))
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suite, "unicode") + "\n"


def failed(threshold: Mapping[str, Any]) -> str:
    """Why a threshold does not pass."""
    wrong = [f"{f['mean']:.4g} at {f['layer']}" for f in threshold["checked"] if f["layer"] in threshold["failed"]]
    return ", ".join(wrong) or "nothing was measured for it"


def detections(threshold: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """Which detections a threshold on what two files detect is about."""
    about = {"drift.matched": ("model", "reference"), "drift.lost": ("reference",), "drift.new": ("model",)}
    only = about.get(threshold["name"], ())
    return "".join(
        f"; {u['picture']}: {u['label']} {u['score']:.2f} at {u['box']}, of the {u['only']} alone"
        for u in report["unmatched"] if u["only"] in only
    )  # fmt: skip


def printable(text: str) -> str:
    """Without the characters that XML has no place for."""
    return "".join(c if c.isprintable() else "?" for c in text)
