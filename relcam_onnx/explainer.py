"""`Explainer`: a model made ready once, then called with arrays."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnx
import onnxruntime

from relcam_onnx.errors import OptionError, all_told, check_counts
from relcam_onnx.lrp.cautions import warn_of_nothing
from relcam_onnx.lrp.presets import Preset
from relcam_onnx.lrp.seeds import GIVEN
from relcam_onnx.pictures.conventions import Option
from relcam_onnx.pictures.facts import Labels
from relcam_onnx.prepare import Prepared
from relcam_onnx.results.explanation import Explanation
from relcam_onnx.results.maps import Maps
from relcam_onnx.runners import Runner
from relcam_onnx.runners.arrays import (
    at,
    batch_of,
    check_array,
    check_inputs,
    check_maps,
    filled,
    fillers,
    pieces,
    sizes_of,
)
from relcam_onnx.runners.choosing import Starters, forward_only, make_runner, settings_of
from relcam_onnx.runners.detecting import Detector
from relcam_onnx.runners.fields import frames_of
from relcam_onnx.runners.found import Told
from relcam_onnx.runners.probing import ProbingRunner
from relcam_onnx.runners.session import OfOneProcess, SessionSettings
from relcam_onnx.runners.starting import Described, Starter, for_each
from relcam_onnx.runners.targets import as_told, asked


class Explainer(OfOneProcess, AbstractContextManager["Explainer"]):
    """Explains one ONNX model; made once, called as often as needed, from several threads if need be.

    Parameters
    ----------
    model
        Path, bytes or ``onnx.ModelProto``.
    layers
        A name or several: ``"stages"``, ``"fused"``, ``"last"``, ``"input"``, a module path, a tensor or a node;
        None: ``("stages", "fused")``, or ``"input"`` where the method makes a map of nothing else.
    method
        How a map is made: ``"local-relevance-cam"``, ``"relevance-cam"``, ``"lrp"``, ``"grad-cam"`` or another of
        `relcam_onnx.lrp.methods.METHODS`; None: the preset's.
    preset
        Which LRP rule each op gets: a name, a `Preset` or the path of a TOML file; None: ``"default"``, or
        ``"gradient"`` where the method is of the family of Grad-CAM.
    seed
        What relevance starts as: ``"rivals"``, ``"contrast"``, ``"logit"``, ``"one-hot"``, ``"clrp"``, ``"official"``,
        ``"sglrp"``, ``"finer"`` or ``"given"``; None: the method's, else the preset's; ``"logit"`` or ``"one-hot"``
        (gradients) where the model ends in a Sigmoid.
    output
        Which output holds the scores, where there are several.
    head
        What the model does: ``"classifier"``, ``"segmenter"``, ``"detector"`` or ``"embedding"``; None: what its
        outputs look like.
    backend
        ``"compiled"`` (None too): the reverse walk is part of the model that onnxruntime runs; ``"eager"``: NumPy over
        activations that onnxruntime computes, the reference.
    providers
        Onnxruntime's execution providers in order (``"cpu"``, ``"cuda"``, ``"tensorrt"``, full names, or pairs with
        options); None: CUDA where it is, else CPU.
    preprocess
        What is done to pictures, as in `explain`; here it tells the bounds of zᴮ. None: what the file says of it.
    labels
        The names of the classes, as in `explain`; here two of them for a single score say that it decides between a
        negative and a positive class. None: those that come with the model.
    max_batch
        At most so many images at a time; None: all that are given (in two halves where memory does not suffice).
    max_targets
        At most so many targets of each image at a time, each with a pass of its own; None: all in one pass.
    threads
        Of onnxruntime's forward pass; None: as many as it likes.
    session_options
        An ``onnxruntime.SessionOptions`` of one's own (custom op libraries, profiling).
    cache
        A folder that keeps compiled models, by content and options; None: none are kept.
    samples, random_state
        How many masks, noisy copies or steps, for methods that have such; None: the method's. And what those are drawn
        by: the same number, the same maps; None: 0.

    Raises
    ------
    RelcamError
        `ModelFileError`, `UnsupportedModelError`, `LayerError` or `OptionError`.
    """

    def __init__(
        self,
        model: str | PathLike[str] | bytes | onnx.ModelProto,
        layers: str | Sequence[str] | None = None,
        method: str | None = None,
        preset: str | Path | Preset | None = None,
        seed: str | None = None,
        output: str | None = None,
        backend: str | None = None,
        providers: Sequence[str | tuple[str, dict[str, Any]]] | None = None,
        *,
        head: str | None = None,
        preprocess: Option | None = None,
        labels: Labels | None = None,
        max_batch: int | None = None,
        max_targets: int | None = None,
        threads: int | None = None,
        session_options: onnxruntime.SessionOptions | None = None,
        cache: str | PathLike[str] | None = None,
        samples: int | None = None,
        random_state: int | None = None,
    ) -> None:
        check_counts(max_batch=max_batch, max_targets=max_targets, threads=threads, samples=samples)
        self.prepared = Prepared(model, layers, method, preset, seed, output, preprocess, labels, head)
        self.model, self.layers, self.facts = self.prepared.model, self.prepared.layers, self.prepared.facts
        self.method, self.preset, self.seed = self.prepared.method, self.prepared.preset, self.prepared.seed
        self.inputs = list(self.model.graph.inputs)
        self._max_batch, self._empty = max_batch, set[str]()
        self._session = session = SessionSettings(providers, threads, session_options)
        kept, backend = None if cache is None else Path(cache), backend or "compiled"

        def make(prepared: Prepared) -> Runner:
            return make_runner(prepared, backend, session, kept, samples, random_state, max_targets)

        self._runner: Runner | None = make(self.prepared)
        self._starters = Starters(self.prepared, make, session)
        self._detector = Detector(self.prepared, session) if self.prepared.choices.head.kind == "detector" else None
        # Picture by picture, that runner fills its own batches.
        self._batch = None if isinstance(self._runner, ProbingRunner) else self.prepared.clips
        self.settings = settings_of(self.prepared, backend)

    def __call__(self, x: Any, targets: Any = None, *, seed: Any = None, baselines: Any = None) -> Explanation:
        """Explain a batch.

        Parameters
        ----------
        x
            The array that the model takes, or a dict of arrays for several inputs.
        targets
            None (the top class), an int, N ints, or an (N, K) array; negative numbers are ranks. Of a segmenter they
            are by the pixels that a class wins, or dicts with a ``label``, a ``box`` or a ``mask``. Of a detector: None
            (all that it detects), ranks, dicts with a ``box`` in the input's pixels or a ``label`` or both, or places
            and classes (N, K, 2). Of an embedding dicts with ``like``, a vector or another picture's array.
        seed
            With seed "given": float32 (N, classes) or (N, K, classes).
        baselines
            (B, ...): what stands for nothing under ``"integrated-gradients"`` and ``"expected-gradients"``.

        Raises
        ------
        RelcamError
            `InputError` or `TargetError`.
        """
        arrays = check_inputs(self.inputs, x, (rows := self.prepared.rows).shared)
        images = batch_of(arrays, rows)
        if (seed is not None) != (self.seed == GIVEN):
            raise OptionError(
                "an array as seed goes with Explainer(seed='given'), and that with an array: explainer(x, seed=array)"
            )
        parts = pieces(arrays, self._batch or self._max_batch, fixed=self._batch is not None, rows=rows)
        single = rows._replace(frames=1)
        batches = [(place, {**piece, **fillers(self.inputs, batch_of(piece, single))}) for place, piece in parts]
        starter = self._starters.of(targets)
        runner = self._with(baselines, starter)
        if starter is not None:
            told = for_each(targets, images)
            return Explanation.joined([self._started(starter, runner, x, told[place], told) for place, x in batches])
        found = None
        if self._detector is not None:
            targets, found = self._detector.numbers(targets, images, (piece for _, piece in batches))
        wanted, seeds = asked(targets, seed, images, self.prepared.choices)
        each = ((piece, wanted[p], at(seeds, p), at(found, p)) for p, piece in batches)
        return Explanation.joined([self._explain(runner, *one) for one in each])

    def _started(
        self, starter: Starter, walker: Runner, inputs: dict[str, Any], told: Described, among: Described
    ) -> Explanation:
        """One piece of a batch, whose targets are told by dicts."""
        found = starter.start(inputs, told, among)
        made = self._explain(walker, inputs, found.targets, found.seeds, None)
        return replace(made, targets=found.targets, scores=found.scores, **starter.told(made.settings, among))

    def forward(self) -> Self:
        """One for the forward pass alone: the same targets, scores and probabilities, no maps; closed by itself."""
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        (other._runner, other._starters), other._batch = forward_only(self.prepared, self._session), self.prepared.clips
        return other

    def passes(self, x: Any) -> int:
        """How often the model runs for each picture like ``x``, as for a call: 1 but for methods that ask again."""
        return self._with(None).passes(sizes_of(check_inputs(self.inputs, x, self.prepared.rows.shared)))

    def _with(self, baselines: Any, starter: Starter | None = None) -> Runner:
        """The runner, or a starter's, with what stands for nothing."""
        if self._runner is None:
            raise OptionError("this Explainer is closed; make another one")
        runner = self._runner if starter is None else starter.walker
        if baselines is None:
            return runner
        if not isinstance(runner, ProbingRunner) or runner.probe.gradient is None:
            raise OptionError(f"method {self.method!r} takes no baselines; leave them out")
        return runner.with_baselines(check_array(self.prepared.layers.picture.tensor, baselines))

    def _explain(
        self, runner: Runner, inputs: dict[str, Any], targets: np.ndarray, seeds: np.ndarray | None, found: Told | None
    ) -> Explanation:
        """One piece of a batch, whose inputs may have been filled up, and in which something was ``found``."""
        with all_told("explaining"):
            count = len(targets)
            fill = (self._batch or count) - count
            result = runner.run(inputs, filled(targets, fill), None if seeds is None else filled(seeds, fill))
            check_maps(result.maps, count + fill, self.prepared.frames)
            result = result.first(count, count + fill)
            levels = self.prepared.scores.head.kind == "detector"
            warn_of_nothing(result.of_layers, self._empty, result.targets >= 0, levels=levels)
            named = as_told(result, targets, self.prepared.choices, given=seeds is not None)
        return Explanation(
            outputs=result.outputs,
            targets=named,
            maps=Maps(result.maps, result.aliases, filter(self.prepared.maps.has_channels, result.maps)),
            weights=Maps(result.weights, result.aliases),
            tokens=Maps(result.tokens, result.aliases),
            scores=result.scores,
            settings=replace(self.settings, layers=result.sources),
            squashed_by=self.prepared.scores.squashed_by,
            fields=result.fields,
            frames=frames_of(self.prepared, inputs),
            detected=None if self._detector is None else self._detector.detected(found, result.outputs, inputs, named),
        )

    def close(self) -> None:
        """Let go of the session."""
        self._runner = self._detector = None
        self._starters.close()

    def __exit__(self, *error: object) -> None:
        self.close()
