"""A model made ready to be explained: what was asked for, resolved against the graph. Both backends start from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx

from relcam_onnx import __version__
from relcam_onnx.analysis.background import first_is_none
from relcam_onnx.analysis.batch import check_batch
from relcam_onnx.analysis.bounds import Bounds
from relcam_onnx.analysis.choices import Choices
from relcam_onnx.analysis.decoding import with_order
from relcam_onnx.analysis.frames import Rows, rows_for, shared_inputs
from relcam_onnx.analysis.heads import APART
from relcam_onnx.analysis.layers import Layer, Layers, unique
from relcam_onnx.analysis.paths import Paths
from relcam_onnx.analysis.scores import find_scores
from relcam_onnx.canon import canonicalise
from relcam_onnx.errors import InputError, ModelFileError, OptionError, all_told, as_texts, nearest
from relcam_onnx.lrp.cautions import warn_of_epsilon, warn_of_folded, warn_of_others
from relcam_onnx.lrp.maps import MapPlan
from relcam_onnx.lrp.methods import METHODS, Probe
from relcam_onnx.lrp.plan import make_plan, reading_plan
from relcam_onnx.lrp.preset_file import resolve
from relcam_onnx.lrp.presets import Preset
from relcam_onnx.lrp.relevance_cams import window_size
from relcam_onnx.lrp.seeds import CONTRASTIVE, GIVEN, SEEDS
from relcam_onnx.lrp.wanted import resolve_layers
from relcam_onnx.model import Model, fixed_batch, static_shape
from relcam_onnx.onnx_file.load import load, with_sizes
from relcam_onnx.ops import TABLE
from relcam_onnx.pictures.conventions import Option
from relcam_onnx.pictures.facts import Facts, Labels
from relcam_onnx.pictures.preprocess import Preprocess
from relcam_onnx.rules import Gradient

SOURCE = "relcam.source_sha256"
"""What the metadata of a compiled file has, and no other's."""


class Asked(NamedTuple):
    """The options that are resolved against a graph, as they were given."""

    layers: tuple[str, ...]
    seed: str | None
    output: str | None
    head: str | None


class Prepared:
    """One model with one choice of layers, method, preset and seed; the parameters are `Explainer`'s.

    Attributes
    ----------
    model, paths, layers, scores
        The canonical graph and what was found in it.
    preset, method, seed
        As resolved.
    maps
        Which maps are made, and how.
    """

    def __init__(
        self,
        source: str | PathLike[str] | bytes | onnx.ModelProto | Model,
        layers: str | Sequence[str] | None = None,
        method: str | None = None,
        preset: str | Path | Preset | None = None,
        seed: str | None = None,
        output: str | None = None,
        preprocess: Option | None = None,
        labels: Labels | None = None,
        head: str | None = None,
    ) -> None:
        with all_told("preparing the model"):
            self.preset = resolve(preset, method)
            self.method = choose("method", method or self.preset.method, METHODS)
            self.gradient = all(isinstance(rule, Gradient) for _, rule in self.preset.rules)
            plain = all(type(rule) is Gradient for _, rule in self.preset.rules)
            if METHODS[self.method].needs_gradient and not plain:
                raise OptionError(f"method {self.method!r} needs preset 'gradient', not {self.preset.name!r}")
            self.model = source if isinstance(source, Model) else load(source)
            folder = self.model.path.parent if self.model.path else None
            self.facts = Facts(self.model.metadata, folder, preprocess, labels)
            if SOURCE in self.model.metadata:
                raise ModelFileError(
                    "this file returns maps already, relcam compile wrote it: run it with onnxruntime, or give the "
                    "model that it was made of"
                )
            names = METHODS[self.method].layers if layers is None else as_texts("layers", layers)
            self._asked = Asked(names, seed, output, head)
            warn_of_folded(self.preset, self.model)
            self._prepare()
            warn_of_epsilon(self.maps.plan, self.paths, self.preset, self.seed)
            if self.scores.head.kind == "classifier":
                warn_of_others(self.layers, self.maps)

    def _prepare(self) -> None:
        """Rewrite the graph, and find in it what was asked for."""
        canonicalise(self.model, batch_norm=self.preset.fold_batch_norm, output=self._asked.output)
        self.scores = with_order(self.model, find_scores(self.model, self._asked.output, self._asked.head))
        self.facts = self.facts.leaving(first_is_none(self.scores))
        usual = METHODS[self.method].seed or self.preset.seed
        if self.scores.squashed_by in APART and usual in CONTRASTIVE:
            usual = "one-hot" if self.gradient else "logit"
        self.seed = choose("seed", self._asked.seed or usual, (*SEEDS, GIVEN))
        how = METHODS[self.method]
        if isinstance(how, Probe) and how.of_probability and self.seed != "one-hot":
            raise OptionError(f"method {self.method!r} explains a class' probability: it takes no seed, leave it out")
        self.paths = Paths(self.model, self.scores.tensor)
        self.layers = Layers(self.model, self.paths)
        check_batch(self.scores.tensor, self.paths.images)
        wanted = resolve_layers(self.layers, self._asked.layers, self.method)
        self.aliases, walked = wanted.aliases, wanted.walked
        self._know_bounds()
        if isinstance(how, Probe) and how.gradient is None:
            plan = reading_plan(self.paths, unique((*walked, self.layers.picture)))
        else:
            plan = make_plan(self.paths, self.layers.geometry, self.preset, walked, self.bounds)
        windows = {layer.name: self._window(layer) for layer in walked}
        self.maps = MapPlan(plan, wanted.layers, wanted.fused, self.method, windows, self.frames)

    def sized(self, sizes: Mapping[str, Sequence[int | None]]) -> Prepared:
        """The same explanation of the same file for inputs of these sizes behind the batch.

        Rewrites, rules and stages hang on sizes (a convolution as large as its input is a dense layer), so all is
        prepared anew, as if the file had them. Where it has, nothing is left to do.
        """
        if not self.free_sizes:
            return self
        other = copy(self)
        for name in [name for name, kind in vars(Prepared).items() if isinstance(kind, cached_property)]:
            vars(other).pop(name, None)
        other.model = with_sizes(self.model, sizes)
        other._prepare()
        return other

    def given(self) -> Prepared:
        """The same maps for seeds of one's own."""
        other = copy(self)
        other.seed, other._asked = GIVEN, self._asked._replace(seed=GIVEN)
        return other

    def walking(self) -> Prepared:
        """The walk to the same layers for seeds of one's own, what arrives there as it is."""
        other = self.given()
        other.method = "lrp"
        other.maps = replace(self.maps, method=other.method)
        return other

    @property
    def named_head(self) -> str | None:
        """The head that was asked for."""
        return self._asked.head

    @cached_property
    def choices(self) -> Choices:
        """What targets choose among."""
        return Choices(self.scores, self.facts.usable_labels)

    @cached_property
    def batch(self) -> int | None:
        """The batch size that the file fixes."""
        return fixed_batch(list(self.paths.images))

    @property
    def clips(self) -> int | None:
        """The same in clips, whose frames are rows of the batch; images are clips of one."""
        return None if self.batch is None else self.batch // self.frames

    @cached_property
    def free_sizes(self) -> bool:
        """Whether an input has a size, behind the batch, that only a run knows."""
        return any(None in (static_shape(t) or (None,))[1:] for t in self.model.graph.inputs)

    @cached_property
    def joins_batch(self) -> bool:
        """Whether the walk reads tensors with several rows for each row of the scores."""
        tensors = self.model.graph.tensors()
        return any(rows_for(tensors[name], self.scores.tensor) > 1 for name in self.maps.plan.tensors)

    @cached_property
    def frames(self) -> int:
        """How many rows of the input are one clip: frames that the caller folds into the batch; 1 as a rule."""
        return rows_for(self.layers.picture.tensor, self.scores.tensor) if self.layers.pictures else 1

    @cached_property
    def rows(self) -> Rows:
        """How images lie in the inputs."""
        return Rows(self.frames, shared_inputs(self.model))

    @cached_property
    def fingerprint(self) -> str | None:
        """What identifies the compiled model apart from sizes; None where code that is not ours has a part in it."""
        own = [rule for match, rule in self.preset.rules if callable(match) or not is_ours(type(rule))]
        if own or not all(is_ours(op.build) for op in TABLE.values()):
            return None
        bounds = {name: [side.tolist() for side in sides] for name, sides in self.bounds.items()}
        told = self.choices
        head = (self.scores.output, told.head, told.paired, told.background)
        options = (bounds, self.maps.names, self.method, self.preset, self.seed, *head)
        return repr((__version__, self.model.sha256, *options))

    def _window(self, layer: Layer) -> int:
        """How many positions of a layer, a side, the deepest stage of its picture sees as one."""
        own = self.layers.towers.get(layer.picture or "", self.layers.stages)
        strides = [s.stride for s in own] or list(self.layers.geometry.strides.values())
        deepest = max((s for s in strides if s is not None), default=1)
        return window_size(float(deepest), float(layer.stride or deepest))

    def _know_bounds(self) -> None:
        """Set the bounds of zᴮ for each picture where the preprocessing is known."""
        self.preprocess: Preprocess | None = None
        self.bounds: dict[str, Bounds] = {}
        preprocess = self.facts.usable_preprocess
        if preprocess is None:
            return
        for image in self.paths.images:
            with suppress(InputError):  # an input that takes no pictures has no bounds
                fitted = preprocess.fitted(static_shape(image) or (), dtype=np.dtype(image.dtype or np.float32).name)
                self.preprocess = self.preprocess or fitted
                self.bounds[image.name] = fitted.bounds


def choose(what: str, name: str, names: Any) -> str:
    """``name`` if it is one of ``known``; else an `OptionError` that lists them."""
    if name not in names:
        raise OptionError(f"no {what} is called {name!r}{nearest(str(name), names)}; there are {', '.join(names)}")
    return name


def is_ours(thing: Any) -> bool:
    """Whether a class or function is this package's own, so that its version identifies it."""
    return str(thing.__module__).startswith(f"{__name__.partition('.')[0]}.")
