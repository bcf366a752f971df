"""The options that sessions are made with where nobody gives theirs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType

import numpy as np
import onnxruntime

from relcam_onnx.canon.constants import SILENT

EXACT = "session.x64quantprecision"
"""Without it 8-bit products saturate on x86 processors that have no instruction for them, where they are fused; with it
onnxruntime makes some int8 ops unsigned that it then has no kernel for, or whose zero points it names twice."""
SPINNING = "session.intra_op.allow_spinning"


def own_options(
    threads: int | None = None,
    weights: Mapping[str, np.ndarray] = MappingProxyType({}),
    *,
    log: int = SILENT,
    spinning: bool = True,
) -> onnxruntime.SessionOptions:
    """What sessions have that are not given theirs; between two runs their threads spin, or else sleep.

    ``weights`` are read where they lie, and live as long as the session.

    They ask for `EXACT` products of integers.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = log
    options.add_session_config_entry(EXACT, "1")
    if not spinning:
        options.add_session_config_entry(SPINNING, "0")
    if weights:
        add_weights(options, weights)
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def inexact(options: onnxruntime.SessionOptions, weights: Mapping[str, np.ndarray]) -> onnxruntime.SessionOptions:
    """Options as these, which `own_options` made, without `EXACT`.

    Raises
    ------
    RuntimeError
        They do not ask for it.
    """
    if options.get_session_config_entry(EXACT) != "1":
        raise RuntimeError("they are another's")
    made = onnxruntime.SessionOptions()
    made.log_severity_level, made.intra_op_num_threads = options.log_severity_level, options.intra_op_num_threads
    with suppress(RuntimeError):
        made.add_session_config_entry(SPINNING, options.get_session_config_entry(SPINNING))
    if weights:
        add_weights(made, weights)
    return made


def add_weights(options: onnxruntime.SessionOptions, weights: Mapping[str, np.ndarray]) -> None:
    """Let a session read weights where they lie."""
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value)) for value in weights.values()]
    options.add_external_initializers(list(weights), values)
