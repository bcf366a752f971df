"""A model under audit: what it says of pictures, and the maps that methods make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from relcam_onnx.analysis.layers import FUSED, INPUT, as_names
from relcam_onnx.backends.eager import Eager
from relcam_onnx.errors import UnsupportedModelError
from relcam_onnx.explainer import Explainer
from relcam_onnx.explaining import PictureExplainer
from relcam_onnx.lrp.methods import METHODS, Probe
from relcam_onnx.lrp.seeds import class_scores
from relcam_onnx.pictures.geometry import Size
from relcam_onnx.pictures.pixels import read_pixels
from relcam_onnx.results.explanation import Explanation
from relcam_onnx.results.probabilities import probabilities
from relcam_onnx.runners.arrays import filled
from relcam_onnx.runners.probing import AT_A_TIME
from relcam_onnx.runners.reading import Reading
from relcam_onnx.runners.session import SessionSettings, own_options

Floats: TypeAlias = NDArray[np.float32]
Maps: TypeAlias = dict[str, Floats]
"""Layer -> (K, h, w), of one picture."""
Source: TypeAlias = Callable[[Floats, Sequence[int]], dict[str, Maps]]
"""A picture, (1, C, H, W), and K classes -> row -> maps."""

SHARED = ("output", "layers", "providers")
"""Options of the audited method that others beside it have too."""
KEPT = 64
"""Pictures that are kept as arrays."""


class Audited:
    """One model; pictures are float32 and channels first, wherever the model has them.

    Parameters
    ----------
    model
        Its file.
    preprocess, labels
        As in `relcam_onnx.explain`.
    options
        Of `Explainer`: the method that is audited.

    Attributes
    ----------
    usual
        Files of pictures that stand for the usual, for methods that need such baselines.

    Raises
    ------
    UnsupportedModelError
        The model is no classifier.
    """

    def __init__(
        self,
        model: Path,
        preprocess: Any = None,
        labels: Any = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.file, self.given = model, {"preprocess": preprocess, "labels": labels}
        self.options = dict(options or {})
        self.explainer = self.explaining()
        self.pictures = PictureExplainer(self.explainer, preprocess, labels)
        self.prepared = self.explainer.prepared
        if (kind := self.prepared.choices.head.kind) != "classifier":
            raise UnsupportedModelError(
                f"{model} is a {kind}, and the audit's measures are of classifiers; 'relcam explain' explains it"
            )
        self._reading = Reading.of_scores(self.prepared, self.settings)
        self.read = lru_cache(KEPT)(self._read)
        self.usual: Sequence[Path] = ()

    @property
    def settings(self) -> SessionSettings:
        """Sessions take turns, so that their threads must not wait for work by spinning."""
        return SessionSettings(self.options.get("providers"), None, own_options(spinning=False))

    def explaining(self, **options: Any) -> Explainer:
        """Another explainer of the same file, at the same layers and output; or the same of another file."""
        same = set(options) <= {"model"}
        shared = {key: value for key, value in self.options.items() if same or key in SHARED}
        if not same and INPUT in as_names(shared.get("layers") or ()):
            del shared["layers"]  # not every method has a map of it
        session = {"session_options": self.settings.options}
        return Explainer(**{"model": self.file, **session, **self.given, **shared, **options})

    def source(self, row: str, **options: Any) -> Source:
        """What makes a row's maps: the audited method, or another."""
        explainer = self.explaining(**options) if options else self.explainer
        return lambda x, classes: {row: self.maps(explainer, x, classes)}

    def maps(self, explainer: Explainer, x: Floats, classes: Sequence[int]) -> Maps:
        """Of one picture, channels summed: layer -> (K, h, w), those that lie in the picture's plane."""
        return planes(self.explained(explainer, x, classes))

    def explain(self, x: Floats, classes: Sequence[int]) -> Explanation:
        """One picture, (1, C, H, W), by the audited method."""
        return self.explained(self.explainer, x, classes)

    def explained(self, explainer: Explainer, x: Floats, classes: Sequence[int]) -> Explanation:
        """The same by another."""
        method = METHODS[explainer.method]
        usual = None
        if isinstance(method, Probe) and method.needs_baselines and self.usual:
            usual = self._placed(spread(np.stack([self.read(file) for file in self.usual]), x))
        return explainer(self._placed(x), [list(classes)], baselines=usual)

    def passes(self, x: Floats) -> int:
        """How often the model runs for the audited method's map of a picture like this, (1, C, H, W)."""
        return self.explainer.passes(self._placed(x))

    def scores(self, x: Floats) -> Floats:
        """(N, C, H, W) to (N, classes): what comes before any softmax."""
        return self.answers(x)[0]

    def probabilities(self, x: Floats) -> Floats:
        """(N, C, H, W) to (N, classes)."""
        return self.answers(x)[1]

    def answers(self, x: Floats) -> tuple[Floats, Floats]:
        """Scores and probabilities."""
        raw: Any = self._raw(x)
        classes = class_scores(Eager(), raw, paired=self.prepared.choices.paired)
        shares = probabilities(raw, self.prepared.scores.squashed_by, self.prepared.choices.classes)
        return np.asarray(classes, np.float32), shares

    def _raw(self, x: Floats) -> Floats:
        size, found = self.prepared.batch or AT_A_TIME, []
        for start in range(0, len(x), size):
            piece = x[start : start + size]
            _, values = self._reading.run(self.feeds(piece))
            scores = np.asarray(values[self.prepared.scores.tensor.name])
            found.append(scores.reshape(len(scores), -1)[: len(piece)])
        return np.concatenate(found)

    def feeds(self, x: Floats) -> dict[str, NDArray[Any]]:
        """What a session of the model takes for pictures (N, C, H, W): filled up where the file fixes a batch."""
        rows = filled(self._placed(x), (self.prepared.batch or len(x)) - len(x))
        return {self.prepared.layers.picture.tensor.name: rows}

    def _read(self, file: Path) -> Floats:
        """A picture as the model takes it, (C, H, W)."""
        array, _ = self.pictures.preprocess.apply(read_pixels(file, self.pictures.preprocess.needed))
        return self._first(array)

    def upright(self, file: Path) -> Size:
        """A picture's height and width, as people see it: turned by what its file says."""
        return read_pixels(file, self.pictures.preprocess.needed).original

    def seen(self, picture: Image.Image) -> Floats:
        """The same for a picture in memory."""
        return self._first(self.pictures.preprocess.apply(picture)[0])

    def _first(self, array: NDArray[Any]) -> Floats:
        placed = array.transpose(2, 0, 1) if self._last else array
        return np.ascontiguousarray(placed, np.float32)

    def _placed(self, x: Floats) -> NDArray[Any]:
        """Pictures as the model takes them."""
        placed = x.transpose(0, 2, 3, 1) if self._last else x
        return np.ascontiguousarray(placed, self.pictures.preprocess.dtype)

    @property
    def providers(self) -> list[str]:
        """Onnxruntime's, in order."""
        found: list[str] = self._reading.session.get_providers()
        return found

    @property
    def _last(self) -> bool:
        return self.pictures.preprocess.layout == "NHWC"

    @property
    def free(self) -> bool:
        """Whether it takes pictures of any size."""
        return self.prepared.free_sizes


def spread(usual: Floats, x: Floats) -> Floats:
    """Pictures (M, C, H, W) as large as others, which may be mosaics: repeated side by side."""
    height, width = x.shape[2:]
    times = (1, 1, -(-height // usual.shape[2]), -(-width // usual.shape[3]))
    return np.tile(usual, times)[:, :, :height, :width]


def planes(found: Explanation) -> Maps:
    """The maps of an explanation of one picture that lie in its plane, channels summed: layer -> (K, h, w).

    Where none is fused, the last one stands for it under that name.
    """
    kept = {}
    for layer, values in found.maps.items():
        summed = values[0].sum(axis=1) if layer in found.maps.with_channels else values[0]
        if summed.ndim == 3:
            kept[layer] = np.asarray(summed, np.float32)
    if kept and FUSED not in kept:
        kept[FUSED] = kept.pop(list(kept)[-1])
    return kept
