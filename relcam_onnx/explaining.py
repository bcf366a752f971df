"""`explain`: from pictures to an explanation. What the command line does too, picture after picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, TypeAlias

import numpy as np
import onnx

from relcam_onnx.errors import InputError, LayerError, ModelFileError, OptionError, TargetError, UnsupportedModelError
from relcam_onnx.explainer import Explainer
from relcam_onnx.pictures.asked import as_targets, in_inputs
from relcam_onnx.pictures.conventions import Option
from relcam_onnx.pictures.facts import Labels
from relcam_onnx.pictures.finding import Found
from relcam_onnx.pictures.reading import PictureSource
from relcam_onnx.results.explanation import Explanation
from relcam_onnx.sources import Feeds, Ready, Sources

BATCH = 2
"""So many pictures at a time, where the model does not say otherwise: more gains no speed and costs memory."""


def explain(
    model: str | PathLike[str] | bytes | onnx.ModelProto | Explainer,
    images: PictureSource | Sequence[PictureSource] | Mapping[str, Any],
    targets: Any = None,
    preprocess: Option | None = None,
    labels: Labels | None = None,
    *,
    exact: bool = False,
    baselines: Sequence[PictureSource] = (),
    **options: Any,
) -> Explanation:
    """Explain what a model sees in one or several pictures.

    Parameters
    ----------
    model
        Path, bytes, ``onnx.ModelProto``, or an `Explainer` that is kept open (and then no options).
    images
        A path, a PIL image or an array of pixels (H, W[, 1|3|4]), or a list of them. For a model with several inputs
        a dict: such for each picture input, numbers or arrays for others, as many rows as there are pictures.
    targets
        As `Explainer` takes them: None (the top class), an int, N, or (N, K). Texts are labels first, then indices.
    preprocess
        A `Preprocess`, its fields, a name ("imagenet", "torchvision", "tensorflow", "caffe", "unit", "raw") or a
        JSON file; None: what the model says of it.
    labels
        The names of the classes: a list, a mapping, or a .txt or .json file; None: those that come with the model.
    exact
        Decode every pixel of large JPEG files too; as a rule they are decoded at a half, a quarter or an eighth of
        their size, where that leaves twice as many pixels a side as the model takes.
    baselines
        Pictures that stand for nothing in particular, for ``"integrated-gradients"`` and ``"expected-gradients"``.
    **options
        Of `Explainer`: layers, method, preset, seed, output, backend, providers, ...

    Returns
    -------
    Explanation
        With ``pictures`` and ``labels``, so that it draws and saves in the pictures' own pixels.

    Raises
    ------
    RelcamError
        As `Explainer`; `InputError` also for a picture that cannot be read, and for pictures that come to the
        model in different sizes (where neither it nor the preprocessing fixes one).
    """
    if isinstance(model, Explainer):
        if options:
            raise OptionError(f"a ready Explainer has its options already: give {', '.join(options)} to it instead")
        return PictureExplainer(model, preprocess, labels, exact=exact, baselines=baselines)(images, targets)
    with Explainer(model, preprocess=preprocess, labels=labels, **options) as explainer:
        return PictureExplainer(explainer, preprocess, labels, exact=exact, baselines=baselines)(images, targets)


Result: TypeAlias = tuple[Found, Explanation | Exception]
"""A picture with its explanation (N = 1), or with what went wrong with it alone."""


class PictureExplainer:
    """An `Explainer` for pictures: it knows the model's preprocessing and labels.

    Parameters
    ----------
    explainer
        Of the model.
    preprocess, labels, exact, baselines
        As in `explain`.
    inputs
        By name what goes with every picture, texts as on the command line: other pictures, vectors, numbers.
    alone
        Whether that is all: then the first picture among them is the one to explain, ``leading``.

    Raises
    ------
    InputError
        The model takes no pictures; what is given for an input does not fit it.
    OptionError
        Preprocessing or labels are malformed or do not fit the model.
    """

    def __init__(
        self,
        explainer: Explainer,
        preprocess: Option | None = None,
        labels: Labels | None = None,
        *,
        exact: bool = False,
        baselines: Sequence[PictureSource] = (),
        inputs: Mapping[str, str] | None = None,
        alone: bool = False,
    ) -> None:
        self.explainer = explainer
        facts = explainer.facts.given(preprocess, labels)
        self.sources, self.labels = Sources(explainer, facts, exact=exact), facts.labels
        named = {name: self.sources.from_text(name, text) for name, text in (inputs or {}).items()}
        if alone:
            self.sources.check(named)
        left = [name for name in self.sources.preprocess if name not in named]
        self._main = left[0] if left else next(iter(self.sources.preprocess))
        self.leading = named.pop(self._main) if alone else None
        self.preprocess, self.frames = self.sources.preprocess[self._main], self.sources.frames[self._main]
        self.settings = replace(explainer.settings, preprocess=self.preprocess)
        self._check_labels()
        self._baselines = np.stack([self._read(source).array for source in baselines]) if baselines else None
        self._beside = self.sources.feeds(named)
        for name, array in self._beside.arrays.items():
            if array.ndim and len(array) > 1 and name not in self.sources.shared:
                raise InputError(f"input {name!r} has {len(array)} rows, and one goes with all")

    def __call__(
        self, images: PictureSource | Sequence[PictureSource] | Mapping[str, Any], targets: Any = None
    ) -> Explanation:
        """Explain one picture or a list of them at once; see `explain`."""
        if not isinstance(images, Mapping):
            images = {self.sources.main(self._beside.arrays): images}
        self.sources.check({**self._beside.arrays, **images})
        return self._explain(self.sources.feeds(images), self.indices(targets))

    def passes(self, picture: PictureSource) -> int:
        """How often the model runs for a picture: 1 but for methods that ask again."""
        given = self.sources.feeds({self._main: [picture] * (self.frames or 1)})
        return self.explainer.passes(self.sources.together(self._beside, given).arrays)

    @property
    def batch(self) -> int:
        """So many pictures are best explained at a time: what the model fixes, else `BATCH`."""
        return self.explainer.prepared.clips or BATCH

    def each(self, pictures: Sequence[Found], targets: Sequence[Any] | None = None) -> list[Result]:
        """Explain a few pictures, all that fit together in one batch; safe to call from several threads.

        Parameters
        ----------
        pictures
            What `relcam_onnx.pictures.finding.find_pictures` finds; what is wrong with one stands in its place.
        targets
            K targets, the same for every picture; None: the top class, or all that a detector detects.

        Raises
        ------
        RelcamError
            `TargetError` or `OptionError`: what holds for every picture.
        """
        read = [self.tried(*(picture.frames or [picture.path])) for picture in pictures]
        return list(zip(pictures, self.explained(read, targets), strict=True))

    def tried(self, *frames: PictureSource) -> list[Ready] | Exception:
        """A picture, or the frames of a clip, that was read, or what is wrong with it."""
        try:
            return self.sources.pictures(self._main, frames)
        except Exception as error:  # whatever is wrong with one picture, the others go on
            return error

    def explained(
        self, read: Sequence[list[Ready] | Exception], targets: Sequence[Any] | None = None
    ) -> list[Explanation | Exception]:
        """Explain what `tried` gave, as `each` does."""
        done: dict[int, Explanation | Exception] = {}
        shapes: dict[tuple[int, ...], list[tuple[int, list[Ready]]]] = {}
        self.sources.check({self.sources.main(self._beside.arrays): None, **self._beside.arrays})
        for place, ready in enumerate(read):
            if isinstance(ready, Exception):
                done[place] = ready
            else:
                shapes.setdefault((len(ready), *ready[0].array.shape), []).append((place, ready))
        for batch in shapes.values():
            done.update(self._alike(batch, targets))
        return [done[place] for place in range(len(read))]

    def indices(self, targets: Any) -> Any:
        """Targets as an `Explainer` takes them: see `relcam_onnx.pictures.asked.as_targets`."""
        detector = self.settings.head == "detector"
        return as_targets(targets, self.labels, lambda source: self._read(source).array, detector=detector)

    def _read(self, source: PictureSource) -> Ready:
        return self.sources.picture(self._main, source)

    def _explain(self, given: Feeds, targets: Any) -> Explanation:
        feeds = self.sources.together(self._beside, given)
        pictures = {name: feeds.pictures[name] for name in self.sources.preprocess}
        placed = in_inputs(targets, [picture.geometry for picture in next(iter(pictures.values()))])  # of the first
        x = feeds.arrays if len(feeds.arrays) > 1 else next(iter(feeds.arrays.values()))
        explanation = self.explainer(x, placed, baselines=self._baselines)
        return replace(
            explanation,
            pictures=pictures[self._main],
            beside=pictures if len(pictures) > 1 else {},
            labels=explanation.labels or self.labels,
            settings=replace(explanation.settings, preprocess=self.preprocess),
        )

    def _alike(
        self, batch: Sequence[tuple[int, list[Ready]]], targets: Sequence[Any] | None
    ) -> Iterator[tuple[int, Explanation | Exception]]:
        """Pictures of one size, by place; where their batch fails they are tried alone."""
        try:
            every = [each for _, ready in batch for each in ready]
            array = self.sources.stacked(self._main, [each.array for each in every])
            feeds = Feeds({self._main: array}, {self._main: tuple(each.picture for each in every)})
            together = self._explain(feeds, targets and [list(targets)] * len(batch))
        except (TargetError, OptionError, LayerError, ModelFileError, UnsupportedModelError):
            raise  # no picture is to blame
        except Exception as error:  # as in `each`
            if len(batch) == 1:
                yield batch[0][0], error
            else:
                for one in batch:
                    yield from self._alike([one], targets)
            return
        for index, (place, _) in enumerate(batch):
            yield place, together.single(index)

    def _check_labels(self) -> None:
        """One label for each class, as far as the file tells their number."""
        labels, classes = self.labels, self.settings.classes
        fewer = int(classes is not None and self.explainer.prepared.choices.background == classes - 1)  # "no object"
        if labels is not None and classes is not None and not classes - fewer <= len(labels) <= classes:
            if classes == 1 and len(labels) == 2 and self.settings.head != "detector":
                raise OptionError(
                    "two labels for one score name a negative and a positive class, which decides how targets are "
                    "explained: give labels= to the Explainer itself"
                )
            many, hint = "es" * (classes != 1), self.explainer.prepared.choices.unnamed
            raise OptionError(f"there are {len(labels)} labels for {classes} class{many}; give labels= that fit{hint}")
