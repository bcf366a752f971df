"""A model under audit: what it says of pictures, and the maps that methods make of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from relcam_onnx.analysis.layers import INPUT
from relcam_onnx.audit.asking import Asking, check_alone
from relcam_onnx.audit.laying import as_taken, channels_first, nothing
from relcam_onnx.audit.planes import Maps, planes, spread
from relcam_onnx.audit.sound import sound, sound_explanation
from relcam_onnx.audit.spots import Likeness, Said, Spot, box_at
from relcam_onnx.backends.eager import Eager
from relcam_onnx.errors import OptionError, as_texts
from relcam_onnx.explainer import Explainer
from relcam_onnx.explaining import PictureExplainer
from relcam_onnx.lrp.methods import METHODS, Probe
from relcam_onnx.lrp.seeds import class_scores
from relcam_onnx.pictures.geometry import Floats, Geometry, Size
from relcam_onnx.pictures.pixels import read_pixels
from relcam_onnx.results.detections import Detection, in_picture
from relcam_onnx.results.explanation import Explanation
from relcam_onnx.runners.found import Told, detections
from relcam_onnx.runners.options import own_options
from relcam_onnx.runners.session import SessionSettings

Source: TypeAlias = Callable[[Floats, Sequence[Any]], dict[str, Maps]]
"""A picture, (1, C, H, W), and K targets of it, as `Explainer` takes them -> row -> maps."""

SHARED = ("output", "head", "layers", "providers")
"""Options of the audited method that others beside it have too."""
KEPT = 64
"""Pictures that are kept as arrays."""


class Audited:
    """One model; pictures are float32 and channels first, wherever the model has them.

    Parameters
    ----------
    model, part
        Its file, and what it is in the audit.
    preprocess, labels
        As in `relcam_onnx.explain`.
    options
        Of `Explainer`: the method that is audited.
    like
        Of an embedding: the pictures that others are asked to be like.

    Attributes
    ----------
    kind, who
        What the model does: a head's name; and what it is called in messages.
    whole
        What is asked of a picture as a whole: a classifier's place, or an embedding's likeness.
    usual
        Files of pictures that stand for the usual, for methods that need such baselines.

    Raises
    ------
    OptionError
        An embedding without pictures to be like, or these for another head; a model of clips, or of several inputs.
    """

    def __init__(
        self,
        model: Path,
        preprocess: Any = None,
        labels: Any = None,
        options: Mapping[str, Any] | None = None,
        like: Sequence[Path] = (),
        part: str = "model",
    ) -> None:
        self.file, self.who = model, f"the {part} {model.name}"
        self.given = {"preprocess": preprocess, "labels": labels}
        self.options = dict(options or {})
        self.explainer = self.explaining()
        self.pictures = PictureExplainer(self.explainer, preprocess, labels)
        self.prepared = self.explainer.prepared
        check_alone(model.name, self.pictures)
        self.asking = Asking(self.prepared, self.settings)
        self._reading = lru_cache(KEPT)(self._laid)
        self.detections = cache(self._detections)
        self.usual: Sequence[Path] = ()
        self.like, self.kind = tuple(like), self._kind(bool(like))
        bare = (self.prepared.scores.squashed_by, self.prepared.choices.classes, self.kind) == (None, 1, "classifier")
        self.whole = self._likeness() if like else Spot(quantity=bare)

    def _kind(self, like: bool) -> str:
        """What the model does."""
        kind = self.prepared.choices.head.kind
        if like and kind != "classifier":
            raise OptionError(f"--like is for embeddings, tables (N, D); {self.file.name} is a {kind}: leave it out")
        if not like and self.prepared.named_head == "embedding":
            raise OptionError(
                f"an audit of an embedding asks what makes pictures like another: name that, or several of them, with "
                f"--like PICTURE ({self.file.name} was called an embedding)"
            )
        return "embedding" if like else kind

    def _likeness(self) -> Likeness:
        """Cosines with the pictures to be like."""
        arrays = [self._placed(self.read(file)[None]) for file in self.like]
        vectors = np.concatenate([piece.table[:, 0] for array in arrays for piece in self.asking(array)])
        names = tuple(file.name for file in self.like)
        return Likeness(names=names, pictures=tuple(arrays), vectors=vectors.astype(np.float64))

    @property
    def settings(self) -> SessionSettings:
        """Sessions take turns, so that their threads must not wait for work by spinning."""
        return SessionSettings(self.options.get("providers"), None, own_options(spinning=False))

    def explaining(self, **options: Any) -> Explainer:
        """Another explainer of the same file, at the same layers and output; or the same of another file."""
        same, session = set(options) <= {"model"}, self.settings.options
        shared = {key: value for key, value in self.options.items() if same or key in SHARED}
        if not same and INPUT in as_texts("layers", shared.get("layers") or ()):
            del shared["layers"]  # not every method has a map of it
        return Explainer(**{"model": self.file, "session_options": session, **self.given, **shared, **options})

    def source(self, row: str, **options: Any) -> Source:
        """What makes a row's maps: the audited method, or another."""
        explainer = self.explaining(**options) if options else self.explainer
        return lambda x, targets: {row: self.maps(explainer, x, targets)}

    def maps(self, explainer: Explainer, x: Floats, targets: Sequence[Any]) -> Maps:
        """Of one picture, channels summed: layer -> (K, h, w), those that lie in the picture's plane."""
        return planes(self.explained(explainer, x, targets))

    def explain(self, x: Floats, targets: Sequence[Any]) -> Explanation:
        """One picture, (1, C, H, W), by the audited method."""
        return self.explained(self.explainer, x, targets)

    def explained(self, explainer: Explainer, x: Floats, targets: Sequence[Any]) -> Explanation:
        """The same by another."""
        method, usual = METHODS[explainer.method], None
        if isinstance(method, Probe) and method.needs_baselines and self.usual:
            usual = self._placed(spread(map(self.read, self.usual), x))
        with warnings.catch_warnings():
            if self.kind != "classifier":  # nothing of one place or region arrives at many a stage
                warnings.filterwarnings("ignore", r"the map of .* is zero all over")
            return sound_explanation(self.who, explainer(self._placed(x), [list(targets)], baselines=usual))

    def passes(self, x: Floats) -> int:
        """How often the model runs for the audited method's map of a picture like this, (1, C, H, W)."""
        return self.explainer.passes(self._placed(x))

    def scores(self, x: Floats, spot: Spot | None = None) -> Floats:
        """(N, C, H, W) to (N, classes): what comes before any softmax."""
        return self.answers(x, spot)[0]

    def probabilities(self, x: Floats, spot: Spot | None = None) -> Floats:
        """(N, C, H, W) to (N, classes)."""
        return self.answers(x, spot)[1]

    def answers(self, x: Floats, spot: Spot | None = None) -> tuple[Floats, Floats]:
        """Scores and probabilities, at a spot or of the whole."""
        return self.told(self.say(x), spot)

    def say(self, x: Floats) -> Iterator[Said]:
        """What the model says of (N, C, H, W), a few at a time."""
        return (sound(self.who, said) for said in self.asking(self._placed(x)))

    def told(self, said: Iterable[Said], spot: Spot | None = None) -> tuple[Floats, Floats]:
        """Scores and probabilities of what was said."""
        spot = spot or self.whole
        rows, sure = [], []
        for table, _, told in said:
            rows.append(spot.rows(table))
            if told is not None:
                sure.append(spot.rows(told.shares[: len(table)]))
        raw, choices = cast(Any, np.concatenate(rows)), self.prepared.choices
        classes = class_scores(Eager(), raw, paired=choices.paired, middle=choices.middle)
        return np.asarray(classes, np.float32), np.concatenate(sure) if sure else spot.shares(self.prepared, raw)

    def count(self, said: Said) -> int:
        """How many classes there are to ask for."""
        if isinstance(self.whole, Likeness):
            return len(self.whole.names)
        return 2 if self.prepared.choices.paired else said.table.shape[2]

    def _detections(self, file: Path) -> tuple[Detection, ...]:
        """All that a detector detects in a picture, best first, boxes in its own pixels."""
        (said,) = self.say(self.read(file)[None])
        assert said.told is not None
        return tuple(self.detection(file, said.told, *each) for each in detections(said.told, 0))

    def detection(self, file: Path, told: Told, place: int, kind: int) -> Detection:
        """A class at a place of a picture, as its outputs tell it."""
        sides = box_at(told, place)
        box = None if sides is None else in_picture(sides, self.geometry(file))
        return Detection(box, self.label(kind), float(told.shares[0, place, kind]), place, kind)

    def feeds(self, x: Floats) -> dict[str, NDArray[Any]]:
        """What a session of the model takes for pictures (N, C, H, W): filled up where the file fixes a batch."""
        return self.asking.feeds(self._placed(x))

    @property
    def labels(self) -> Sequence[str] | None:
        """The names of the classes, or of what pictures may be like."""
        return self.whole.names if isinstance(self.whole, Likeness) else self.pictures.labels

    def label(self, kind: int) -> str | None:
        """The name of a class; None where there is none."""
        return self.labels[kind] if self.labels is not None and kind < len(self.labels) else None

    def read(self, file: Path) -> Floats:
        """A picture as the model takes it, (C, H, W)."""
        return self._reading(file)[0]

    def geometry(self, file: Path) -> Geometry:
        """How it was laid into that."""
        return self._reading(file)[1]

    def _laid(self, file: Path) -> tuple[Floats, Geometry]:
        array, geometry = self.pictures.preprocess.apply(read_pixels(file, self.pictures.preprocess.needed))
        return channels_first(array, self.pictures.preprocess), geometry

    def upright(self, file: Path) -> Size:
        """A picture's height and width, as people see it: turned by what its file says."""
        return read_pixels(file, self.pictures.preprocess.needed).original

    def seen(self, picture: Image.Image) -> Floats:
        """The same for a picture in memory."""
        return channels_first(self.pictures.preprocess.apply(picture)[0], self.pictures.preprocess)

    def _placed(self, x: Floats) -> NDArray[Any]:
        """Pictures as the model takes them."""
        return as_taken(x, self.pictures.preprocess)

    @cached_property
    def nothing(self) -> Floats:
        """What a hidden pixel is, (C, 1, 1): the mean colour."""
        name = self.prepared.layers.picture.tensor.name
        return nothing(self.pictures.preprocess, self.prepared.model.scalings.get(name))

    @property
    def free(self) -> bool:
        """Whether it takes pictures of any size."""
        return self.prepared.free_sizes
