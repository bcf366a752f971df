"""Which runner makes the maps that were asked for."""

from __future__ import annotations

from pathlib import Path

from relcam_onnx.errors import OptionError
from relcam_onnx.lrp.methods import Probe
from relcam_onnx.prepare import Prepared, choose
from relcam_onnx.runners import Runner
from relcam_onnx.runners.compiled import CompiledRunner
from relcam_onnx.runners.eager import EagerRunner
from relcam_onnx.runners.probing import ProbingRunner
from relcam_onnx.runners.session import SessionSettings

BACKENDS = ("compiled", "eager")


def make_runner(
    prepared: Prepared,
    backend: str,
    settings: SessionSettings,
    cache: Path | None,
    samples: int | None,
    random_state: int | None,
) -> Runner:
    """The runner of a method and a backend.

    Raises
    ------
    OptionError
        There is no such backend, or the method draws nothing at random.
    """
    eager = choose("backend", backend, BACKENDS) == "eager"

    def walker(prepared: Prepared) -> Runner:
        return EagerRunner(prepared, settings) if eager else CompiledRunner(prepared, settings, cache)

    how = prepared.maps.how
    if samples is not None and (samples < 1 or not isinstance(how, Probe) or not how.samples):
        raise OptionError(
            f"samples must be at least 1, not {samples}"
            if samples < 1
            else f"method {prepared.method!r} takes no samples; they are for masks, noise and steps ('rise', ...)"
        )
    if isinstance(how, Probe):
        return ProbingRunner(prepared, settings, walker, samples, random_state or 0)
    if random_state is not None:
        raise OptionError(f"method {prepared.method!r} draws nothing at random; leave random_state out")
    return walker(prepared)
