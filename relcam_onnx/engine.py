"""`Explainer`: a model made ready once, then called with arrays."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import onnx
import onnxruntime

from relcam_onnx import cam
from relcam_onnx.arrays import check_inputs, fixed_batch, pieces
from relcam_onnx.backends.eager import Eager
from relcam_onnx.canon import canonicalise
from relcam_onnx.conventions import known_preprocess
from relcam_onnx.errors import InputError, LayerError, OptionError, nearest
from relcam_onnx.explanation import Explanation, Maps, Settings
from relcam_onnx.graph import static_shape
from relcam_onnx.layers import FUSED, INPUT, LAST, Layer, Layers, as_names, unique
from relcam_onnx.load import load
from relcam_onnx.ops import Value
from relcam_onnx.paths import Paths
from relcam_onnx.plan import make_plan
from relcam_onnx.presets import Preset, resolve
from relcam_onnx.rules import Epsilon, Gradient
from relcam_onnx.scores import find_scores
from relcam_onnx.seeds import GIVEN, PROPORTIONAL, SEEDS
from relcam_onnx.session import Forward
from relcam_onnx.targets import check_range, read_seed, read_targets, resolve_ranks
from relcam_onnx.walk import walk

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
        self.preset = resolve(preset, method)
        self.method = choose("method", method or self.preset.method, cam.METHODS)
        self._check_gradient()
        self.model = load(model)
        self.inputs = list(self.model.graph.inputs)
        self._batch, self._max_batch = fixed_batch(self.inputs), max_batch
        canonicalise(self.model, batch_norm=self.preset.fold_batch_norm)
        self.scores = find_scores(self.model, output)
        usual = "logit" if self.scores.squashed_by == "Sigmoid" else self.preset.seed
        self.seed = choose("seed", seed or usual, (*SEEDS, GIVEN))
        self.paths = Paths(self.model, self.scores.tensor)
        self.layers = Layers(self.model, self.paths)
        self._resolve_layers(as_names(layers))
        self._know_bounds(preprocess)
        wanted = unique((*self._maps, *self._fused))
        self._plan = make_plan(self.model, self.paths, self.preset, [layer.tensor for layer in wanted])
        self._warn_of_epsilon()
        self._forward: Forward | None = Forward(
            self.model.proto, self._plan.tensors, providers, threads, session_options
        )
        self.settings = Settings(
            model=str(self.model.path) if self.model.path else None,
            sha256=self.model.sha256,
            layers=(*(layer.name for layer in self._maps), *((FUSED,) if self._fused else ())),
            method=self.method,
            preset=self.preset.name,
            seed=self.seed,
            output=self.scores.output,
            backend=backend or "eager",
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
        self._check_classes(wanted)
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
        scores = values[self.scores.tensor.name]
        table = scores.reshape(len(scores), -1)
        fill = len(scores) - count
        targets = np.concatenate([targets, np.repeat(targets[-1:], fill, axis=0)])
        if given is not None:
            seeds = read_seed(given, count, table.shape[1])
            seeds = np.concatenate([seeds, np.repeat(seeds[-1:], fill, axis=0)])
            if not named:
                targets = seeds.argmax(axis=2)
            start = seeds.transpose(1, 0, 2).reshape(-1, table.shape[1])
        targets = resolve_ranks(targets, table)
        f = Eager(targets.shape[1])
        if given is None:
            hot = np.eye(table.shape[1], dtype=np.float32)[targets.T.reshape(-1)]
            start = SEEDS[self.seed](f, f.each(table), hot)
        start = start.reshape(-1, *scores.shape[1:])
        layers = unique((*self._maps, *self._fused))
        messages = walk(f, self._plan, values, start, [layer.tensor for layer in layers])
        maps, weights = {}, {}
        for layer in layers:
            message = messages.get(layer.tensor.name)
            relevance = np.zeros(1, np.float32) if message is None else message.relevance(f)
            activation = values[layer.tensor.name]
            if layer.name == INPUT:
                maps[layer.name] = relevance
                continue
            if layer.channels_last:
                relevance, activation = (np.moveaxis(a, -1, 1) for a in (relevance, activation))
            maps[layer.name] = cam.METHODS[self.method](f, activation, relevance, self._window(layer))
            if relevance.ndim > 2:
                weights[layer.name] = cam.channel_weights(f, relevance)
        if self._fused:
            flat = [maps[s.name].sum(axis=1) if self.method == "lrp" else maps[s.name] for s in self._fused]
            maps[FUSED] = cam.fused(f, flat)
        asked = self.settings.layers
        return Explanation(
            outputs={name: values[name][:count] for name in self._forward.outputs},
            targets=targets[:count],
            maps=Maps({name: by_image(maps[name], targets, count) for name in asked}, self._aliases),
            weights=Maps({n: by_image(weights[n], targets, count) for n in asked if n in weights}, self._aliases),
            scores=table[:count],
            settings=self.settings,
            squashed_by=self.scores.squashed_by,
        )

    def _resolve_layers(self, names: tuple[str, ...]) -> None:
        """What maps are asked for: ``_maps``, and ``_fused``, the stages where the fused map is."""
        found = [(name, self.layers.resolve(name)) for name in names]
        if not found:
            raise LayerError("no layer was asked for; layers= takes 'stages', 'fused', 'last', 'input' or a name")
        self._maps = unique(layer for _, layers in found for layer in layers)
        self._fused = self.layers.stages if FUSED in names else ()
        self._aliases = {name: layers[0].name for name, layers in found if name == LAST}
        for layer in self._maps:
            if self.method != "lrp" and layer.name != INPUT and layer.stride is None:
                raise LayerError(
                    f"layer {layer.name!r} has no positions to make a map of; method 'lrp' gives its relevance"
                )

    def _window(self, layer: Layer) -> int:
        """How many positions of a layer the model's deepest stage sees as one."""
        strides = [s.stride for s in self.layers.stages] or list(self.paths.strides.values())
        deepest = max(s for s in strides if s is not None)
        return cam.window_size(float(deepest), float(layer.stride or deepest))

    def _check_gradient(self) -> None:
        """grad-cam is made of gradients."""
        if self.method == "grad-cam" and not all(isinstance(rule, Gradient) for _, rule in self.preset.rules):
            raise OptionError(f"method 'grad-cam' needs preset 'gradient', not {self.preset.name!r}")

    def _check_classes(self, targets: np.ndarray) -> None:
        """Refuse a target out of range before the run, where the file tells the number of classes."""
        shape = static_shape(self.scores.tensor)
        if shape is not None and None not in shape[1:]:
            check_range(targets, int(np.prod([d for d in shape[1:] if d is not None])))

    def _know_bounds(self, preprocess: Any) -> None:
        """Set the bounds of zᴮ where the preprocessing is known."""
        images = self.paths.images
        folder = self.model.path.parent if self.model.path else None
        found = known_preprocess(preprocess, self.model.metadata, folder)
        shape = static_shape(images[0]) if len(images) == 1 else None
        if found is None or shape is None:
            return
        try:
            low, high = found[0].fitted(shape, dtype=np.dtype(images[0].dtype or np.float32).name).bounds
        except InputError:
            return  # an input that takes no pictures has no bounds
        self.preset = self.preset.bounded(tuple(low.tolist()), tuple(high.tolist()))

    def _warn_of_epsilon(self) -> None:
        """ε divides by each score, which suits only seeds proportional to them."""
        last = next((step for step in self._plan.steps if id(step.node) in self.paths.output), None)
        if last is not None and isinstance(last.rule, Epsilon) and self.seed not in PROPORTIONAL:
            warnings.warn(
                f"seed {self.seed!r} under preset {self.preset.name!r}: the ε rule of the last layer divides it by "
                "every score, also those near zero; take a preset with z⁺ there ('paper'), or seed 'contrast', 'logit' "
                "or 'one-hot'",
                stacklevel=3,
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


def choose(what: str, name: str, known: Any) -> str:
    """``name`` if it is one of ``known``."""
    if name not in known:
        raise OptionError(f"no {what} is called {name!r}{nearest(str(name), known)}; there are {', '.join(known)}")
    return name


def by_image(value: Value, targets: np.ndarray, count: int) -> np.ndarray:
    """(K·N, ...) as (N, K, ...), the first ``count`` images."""
    images, classes = targets.shape
    apart: np.ndarray = np.asarray(value, np.float32).reshape(classes, images, *value.shape[1:])
    return np.ascontiguousarray(apart.swapaxes(0, 1)[:count])


def layer_table(
    model: str | PathLike[str] | bytes | onnx.ModelProto,
    preset: str | Path | Preset | None = None,
    output: str | None = None,
) -> list[Any]:
    """Every layer that can be named under a preset (folding removes some), as `LayerInfo`."""
    loaded = load(model)
    canonicalise(loaded, batch_norm=resolve(preset, None).fold_batch_norm)
    return Layers(loaded, Paths(loaded, find_scores(loaded, output).tensor)).table()
