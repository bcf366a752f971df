"""Which runner makes the maps that were asked for, and what starts relevance."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

from relcam_onnx.errors import OptionError, TargetError, all_told
from relcam_onnx.lrp.cautions import warn_of_length
from relcam_onnx.lrp.methods import Probe
from relcam_onnx.pictures.asked import is_described
from relcam_onnx.prepare import Prepared, choose
from relcam_onnx.results.settings import Settings
from relcam_onnx.runners import Runner
from relcam_onnx.runners.compiled import CompiledRunner
from relcam_onnx.runners.eager import EagerRunner
from relcam_onnx.runners.few import FewTargets
from relcam_onnx.runners.forward import ForwardRunner
from relcam_onnx.runners.likeness import Likeness
from relcam_onnx.runners.probing import ProbingRunner
from relcam_onnx.runners.segmenting import Segmenter
from relcam_onnx.runners.session import SessionSettings
from relcam_onnx.runners.starting import Starter

BACKENDS = ("compiled", "eager")


def make_runner(
    prepared: Prepared,
    backend: str,
    settings: SessionSettings,
    cache: Path | None,
    samples: int | None,
    random_state: int | None,
    max_targets: int | None,
) -> Runner:
    """The runner of a method and a backend.

    Raises
    ------
    OptionError
        There is no such backend, or the method draws nothing at random.
    """
    with all_told("making the model ready to run"):
        eager = choose("backend", backend, BACKENDS) == "eager"

        def walker(prepared: Prepared) -> Runner:
            runner = EagerRunner(prepared, settings) if eager else CompiledRunner(prepared, settings, cache)
            return runner if max_targets is None else FewTargets(runner, max_targets)

        how = prepared.maps.how
        if samples is not None and (not isinstance(how, Probe) or not how.samples):
            raise OptionError(
                f"method {prepared.method!r} takes no samples; they are for masks, noise and steps ('rise', ...)"
            )
        if random_state is not None and (not isinstance(random_state, Integral) or random_state < 0):
            raise OptionError(f"random_state must be a whole number, at least 0, not {random_state!r}")
        if isinstance(how, Probe):
            return ProbingRunner(prepared, settings, walker, samples, random_state or 0)
        if random_state is not None:
            raise OptionError(f"method {prepared.method!r} draws nothing at random; leave random_state out")
        return walker(prepared)


def settings_of(prepared: Prepared, backend: str) -> Settings:
    """What an explanation says that it was made with."""
    return Settings(
        model=str(prepared.model.path) if prepared.model.path else None,
        sha256=prepared.model.sha256,
        layers=prepared.maps.sources,
        method=prepared.method,
        preset=prepared.preset.name,
        seed=prepared.seed,
        output=prepared.scores.output,
        backend=backend,
        classes=prepared.choices.classes,
        head=prepared.choices.head.kind,
    )


def forward_only(prepared: Prepared, settings: SessionSettings) -> tuple[Runner, Starters]:
    """What tells the scores of targets and makes no maps, also for targets that are told by dicts."""
    runner = ForwardRunner(prepared, settings)
    return runner, Starters(prepared, lambda _: runner, settings)


class Starters:
    """What starts relevance for targets that are told by dicts."""

    def __init__(self, prepared: Prepared, make: Callable[[Prepared], Runner], settings: SessionSettings) -> None:
        self._kind, self._named = prepared.choices.head.kind, prepared.named_head
        self._new = partial(Segmenter if self._kind == "segmenter" else Likeness, prepared, make, settings)
        self._starter: Starter = self._new()
        self._scores = prepared.scores.tensor if self._named is None and self._kind == "classifier" else None

    def of(self, targets: Any) -> Starter | None:
        """The one for such targets; None for numbers, and for a detector's, which are numbers in the end.

        Raises
        ------
        TargetError
            Such targets are none of this head's.
        """
        like = is_described(targets, "like")
        if like and (self._kind != "classifier" or self._named == "classifier"):
            raise TargetError(f"'like' is for embeddings, tables (N, D); this model is a {self._kind}")
        if not like and self._named == "embedding":
            raise TargetError("an embedding's targets say what to be like: {'like': picture or vector} (--like)")
        if not is_described(targets) or self._kind == "detector":
            if self._scores is not None:
                warn_of_length(self._scores)
                self._scores = None
            return None
        if not like and self._kind == "classifier":
            raise TargetError("a classifier's targets are classes, ranks or labels, not dicts")
        return self._starter

    def close(self) -> None:
        """Let go of its sessions."""
        self._starter = self._new()
