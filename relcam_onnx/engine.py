"""`Explainer`: a model made ready once, then called with arrays."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import onnx
import onnxruntime

from relcam_onnx.arrays import check_inputs, fixed_batch, pieces
from relcam_onnx.backends.eager import Eager
from relcam_onnx.canon import canonicalise
from relcam_onnx.errors import OptionError
from relcam_onnx.explanation import Explanation, Maps
from relcam_onnx.layers import FUSED, LayerInfo, Layers
from relcam_onnx.load import load
from relcam_onnx.maps import make_maps
from relcam_onnx.ops import Value
from relcam_onnx.paths import Paths
from relcam_onnx.prepare import Prepared, choose
from relcam_onnx.presets import Preset, resolve
from relcam_onnx.scores import find_scores
from relcam_onnx.seeds import GIVEN, SEEDS
from relcam_onnx.session import Forward
from relcam_onnx.settings import Settings
from relcam_onnx.targets import check_range, read_seed, read_targets, resolve_ranks

BACKENDS = ("eager",)


class Explainer:
    """Explains one ONNX model; made once, called with as many batches as needed, from several threads if need be.

    Parameters
    ----------
    model
        Path, bytes or ``onnx.ModelProto``.
    layers
        A name or several: ``"stages"``, ``"fused"``, ``"last"``, ``"input"``, a module path, a tensor or a node.
    method
        How a map is made of relevance: ``"local-relevance-cam"``, ``"relevance-cam"``, ``"grad-cam"`` or ``"lrp"``;
        None: the preset's.
    preset
        Which LRP rule each op gets: a name, a `Preset` or the path of a TOML file; None: ``"default"``, or
        ``"gradient"`` where the method is ``"grad-cam"``.
    seed
        What relevance starts as: ``"contrast"``, ``"logit"``, ``"one-hot"``, ``"clrp"``, ``"official"``, ``"sglrp"`` or
        ``"given"``; None: the preset's, or ``"logit"`` where the model ends in a Sigmoid.
    output
        Which output holds the scores, where there are several.
    backend
        ``"eager"``: NumPy over activations that onnxruntime computes.
    providers
        Onnxruntime's execution providers in order (``"cpu"``, ``"cuda"``, ``"tensorrt"`` or their full names, or pairs
        with options); None: CUDA where it is, else CPU.
    preprocess
        What is done to pictures, as in `explain`; here it tells the bounds of zᴮ. None: what the file says of it.
    max_batch
        At most so many images at a time; None: all that are given.
    threads
        Of onnxruntime's forward pass; None: as many as it likes.
    session_options
        An ``onnxruntime.SessionOptions`` of one's own (custom op libraries, profiling).

    Raises
    ------
    RelcamError
        `ModelFileError`, `UnsupportedModelError`, `LayerError` or `OptionError`.
    """

    def __init__(
        self,
        model: str | PathLike[str] | bytes | onnx.ModelProto,
        layers: str | Sequence[str] = ("stages", FUSED),
        method: str | None = None,
        preset: str | Path | Preset | None = None,
        seed: str | None = None,
        output: str | None = None,
        backend: str | None = None,
        providers: Sequence[str | tuple[str, dict[str, Any]]] | None = None,
        *,
        preprocess: Any = None,
        max_batch: int | None = None,
        threads: int | None = None,
        session_options: onnxruntime.SessionOptions | None = None,
    ) -> None:
        choose("backend", backend or "eager", BACKENDS)
        if max_batch is not None and max_batch < 1:
            raise OptionError(f"max_batch must be at least 1, not {max_batch}")
        self._prepared = Prepared(model, layers, method, preset, seed, output, preprocess)
        self.model, self.layers = self._prepared.model, self._prepared.layers
        self.method, self.preset, self.seed = self._prepared.method, self._prepared.preset, self._prepared.seed
        self.inputs = list(self.model.graph.inputs)
        self._batch, self._max_batch = fixed_batch(self.inputs), max_batch
        self._forward: Forward | None = Forward(
            self.model.proto, self._prepared.plan.tensors, providers, threads, session_options
        )
        self.settings = Settings(
            model=str(self.model.path) if self.model.path else None,
            sha256=self.model.sha256,
            layers=tuple(self._prepared.names),
            method=self.method,
            preset=self.preset.name,
            seed=self.seed,
            output=self._prepared.scores.output,
            backend=backend or "eager",
            classes=self._prepared.classes,
        )

    def __call__(self, x: Any, targets: Any = None, *, seed: Any = None) -> Explanation:
        """Explain a batch.

        Parameters
        ----------
        x
            The array that the model takes, or a dict of arrays for several inputs.
        targets
            None (the top class), an int, N ints, or an (N, K) array; negative numbers are ranks.
        seed
            With seed "given": float32 (N, classes) or (N, K, classes).

        Raises
        ------
        RelcamError
            `InputError` or `TargetError`.
        """
        arrays = check_inputs(self.inputs, x)
        images = len(next(iter(arrays.values())))
        if (seed is not None) != (self.seed == GIVEN):
            raise OptionError(
                "an array as seed goes with Explainer(seed='given'), and that with an array: explainer(x, seed=array)"
            )
        wanted = read_targets(targets, images)
        if self._prepared.classes is not None:
            check_range(wanted, self._prepared.classes)
        size = self._batch or self._max_batch
        parts = []
        for place, piece in pieces(arrays, size, fixed=self._batch is not None):
            count = place.stop - place.start
            given = None if seed is None else np.asarray(seed)[place]
            parts.append(self._explain(piece, wanted[place], given, count, named=targets is not None))
        return Explanation.joined(parts)

    def _explain(
        self, inputs: dict[str, np.ndarray], targets: np.ndarray, given: Any, count: int, *, named: bool
    ) -> Explanation:
        """One piece of a batch; its first ``count`` images matter."""
        if self._forward is None:
            raise OptionError("this Explainer is closed; make another one")
        values = self._forward.run(inputs)
        scores = values[self._prepared.scores.tensor.name]
        table = scores.reshape(len(scores), -1)
        fill = len(scores) - count
        targets = np.concatenate([targets, np.repeat(targets[-1:], fill, axis=0)])
        seeds = None
        if given is not None:
            seeds = read_seed(given, count, table.shape[1])
            seeds = np.concatenate([seeds, np.repeat(seeds[-1:], fill, axis=0)])
            targets = targets if named else seeds.argmax(axis=2)
        targets = resolve_ranks(targets, table)
        f = Eager(targets.shape[1])
        if seeds is not None:
            start = seeds.transpose(1, 0, 2).reshape(-1, table.shape[1])
        else:
            hot = np.eye(table.shape[1], dtype=np.float32)[targets.T.reshape(-1)]
            start = SEEDS[self.seed](f, f.each(table), hot)
        maps, weights = make_maps(f, self._prepared, values, start.reshape(-1, *scores.shape[1:]))
        aliases = self._prepared.aliases
        return Explanation(
            outputs={name: values[name][:count] for name in self._forward.outputs},
            targets=targets[:count],
            maps=Maps({name: by_image(value, targets, count) for name, value in maps.items()}, aliases),
            weights=Maps({name: by_image(value, targets, count) for name, value in weights.items()}, aliases),
            scores=table[:count],
            settings=self.settings,
            squashed_by=self._prepared.scores.squashed_by,
        )

    def close(self) -> None:
        """Let go of the session."""
        self._forward = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def by_image(value: Value, targets: np.ndarray, count: int) -> np.ndarray:
    """(K·N, ...) as (N, K, ...), the first ``count`` images."""
    images, classes = targets.shape
    apart: np.ndarray = np.asarray(value, np.float32).reshape(classes, images, *value.shape[1:])
    return np.ascontiguousarray(apart.swapaxes(0, 1)[:count])


def layer_table(
    model: str | PathLike[str] | bytes | onnx.ModelProto,
    preset: str | Path | Preset | None = None,
    output: str | None = None,
) -> list[LayerInfo]:
    """Every layer that can be named under a preset (folding removes some), as `LayerInfo`."""
    loaded = load(model)
    canonicalise(loaded, batch_norm=resolve(preset, None).fold_batch_norm)
    return Layers(loaded, Paths(loaded, find_scores(loaded, output).tensor)).table()
