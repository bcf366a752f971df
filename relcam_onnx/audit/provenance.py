"""What was run, exactly."""

from __future__ import annotations

import hashlib
import os
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import onnx

from relcam_onnx import __version__
from relcam_onnx.analysis.layers import note_on
from relcam_onnx.audit.model import Audited
from relcam_onnx.audit.subjects import Subject
from relcam_onnx.compiling.compile import compile_prepared
from relcam_onnx.errors import OptionError
from relcam_onnx.files import sha256
from relcam_onnx.lrp.methods import Probe
from relcam_onnx.ops import key
from relcam_onnx.pictures.finding import Found

PACKAGES = ("numpy", "onnx", "onnx-graphsurgeon", "onnxruntime", "onnxruntime-gpu", "Pillow", "scipy", "scikit-learn")


def provenance(
    model: Audited,
    reference: Audited | None,
    pictures: Sequence[Found],
    subjects: Sequence[Subject],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Hashes, versions, options: what somebody needs to do the same again."""
    return {
        "time": told_time(),
        "package": {"name": "relcam-onnx", "version": __version__},
        "model": of_file(model),
        "reference": None if reference is None else of_file(reference),
        "explanation": {
            "method": model.explainer.method, "preset": model.explainer.preset.name, "seed": model.explainer.seed,
            "output": model.prepared.scores.output, "backend": model.explainer.settings.backend,
            "layers": [{"name": s.name, "tensor": s.tensor, "stride": s.stride} for s in model.prepared.maps.sources],
            "compiled_sha256": compiled(model),
        },
        "preprocessing": {**vars(model.pictures.preprocess), "from": origin(model)},
        "runtime": {
            "python": platform.python_version(), "system": platform.system(), "machine": platform.machine(),
            "packages": {name: found for name in PACKAGES if (found := installed(name))},
            "providers": model.asking.providers,
        },
        "options": dict(options),
        "pictures": list(of_pictures(pictures, subjects)),
        **({"like": [{"file": f.name, "sha256": sha256(f)} for f in model.like]} if model.like else {}),
    }  # fmt: skip


def of_pictures(pictures: Sequence[Found], subjects: Sequence[Subject]) -> Iterator[dict[str, Any]]:
    """Each picture; its class is that of what is asked first of it, None where nothing is."""
    first: dict[Path, Subject] = {}
    for subject in subjects:
        first.setdefault(subject.file, subject)
    for picture in pictures:
        own = first.get(picture.path)
        kind, told = (None, False) if own is None else (own.label, own.told)
        digest = sha256(picture.path)
        yield {"name": picture.name, "file": picture.path.name, "sha256": digest, "class": kind, "told": told}


def told_time() -> str:
    """Now, UTC; `SOURCE_DATE_EPOCH` stands for it where it is set, as it does for other tools.

    Raises
    ------
    OptionError
        That is no time.
    """
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        moment = datetime.now(UTC) if fixed is None else datetime.fromtimestamp(int(fixed), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise OptionError(f"SOURCE_DATE_EPOCH is {fixed!r}; it must be seconds since 1970, or not be set") from error
    return moment.isoformat(timespec="seconds")


def of_file(audited: Audited) -> dict[str, Any]:
    """What an ONNX file says of itself."""
    proto = onnx.load(audited.file, load_external_data=False)
    types = Counter(onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in proto.graph.initializer)
    return {
        "file": audited.file.name, "sha256": audited.prepared.model.sha256, "bytes": audited.file.stat().st_size,
        "opsets": {opset.domain or "ai.onnx": opset.version for opset in proto.opset_import},
        "ir_version": proto.ir_version, "producer": f"{proto.producer_name} {proto.producer_version}".strip(),
        "precision": dict(types), "nodes": len(proto.graph.node), "classes": audited.prepared.choices.classes,
    }  # fmt: skip


def compiled(model: Audited) -> str | None:
    """The hash of the file that `relcam compile` writes of the same; None where there is no such file."""
    if isinstance(model.prepared.maps.how, Probe):
        return None
    try:
        proto = compile_prepared(model.prepared, weights=False)
    except ValueError:  # a size that only a run knows
        return None
    return hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest()


def origin(model: Audited) -> str:
    """Where the preprocessing comes from."""
    if model.given["preprocess"] is not None:
        return "option"
    return "guessed from the input's shape" if model.explainer.facts.preprocess is None else "the model, or beside it"


def installed(name: str) -> str | None:
    """A package's version."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def coverage(model: Audited) -> dict[str, Any]:
    """How relevance passes the graph: nodes by op and rule, and what is approximated."""
    steps = model.prepared.maps.plan.steps
    rules = Counter((key(step.node), step.rule.name or "passed on") for step in steps)
    told = {step.node.outputs[0].name: note_on(step.node.outputs[0]) for step in steps}
    return {
        "steps": len(steps),
        "by_rule": [{"op": op, "rule": rule, "nodes": count} for (op, rule), count in sorted(rules.items())],
        "approximated": [{"tensor": name, "why": why} for name, why in told.items() if why],
    }
