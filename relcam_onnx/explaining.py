"""`explain`: from pictures to an explanation. What the command line does too, picture after picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import onnx
from numpy.typing import NDArray

from relcam_onnx.errors import InputError, LayerError, ModelFileError, OptionError, TargetError, UnsupportedModelError
from relcam_onnx.explainer import Explainer
from relcam_onnx.model import static_shape
from relcam_onnx.pictures.asked import as_targets, in_inputs
from relcam_onnx.pictures.conventions import Option, guess_preprocess
from relcam_onnx.pictures.facts import Labels
from relcam_onnx.pictures.finding import Found
from relcam_onnx.pictures.pixels import Picture, read_pixels
from relcam_onnx.pictures.reading import PictureSource
from relcam_onnx.results.explanation import Explanation
from relcam_onnx.runners.arrays import is_read

BATCH = 2
"""So many pictures at a time, where the model does not say otherwise: more gains no speed and costs memory."""


def explain(
    model: str | PathLike[str] | bytes | onnx.ModelProto | Explainer,
    images: PictureSource | Sequence[PictureSource],
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
        A path, a PIL image or an array of pixels (H, W[, 1|3|4]), or a list of them.
    targets
        As `Explainer` takes them: None (the top class), an int, N, or (N, K). Labels may stand for ints.
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


class Ready(NamedTuple):
    """A picture that was read, and the array that the model takes for it."""

    array: NDArray[Any]
    picture: Picture


Result: TypeAlias = tuple[Found, Explanation | Exception]
"""A picture with its explanation (N = 1), or with what went wrong with it alone."""


class PictureExplainer:
    """An `Explainer` for pictures: it knows the model's preprocessing and labels.

    Raises
    ------
    InputError
        The model takes no pictures, or several inputs.
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
    ) -> None:
        read = [tensor for tensor in explainer.inputs if is_read(tensor)]
        if len(read) != 1:
            names = ", ".join(repr(tensor.name) for tensor in read)
            raise InputError(
                f"pictures go into models with one input; this one has {names}: call an Explainer with a dict of arrays"
            )
        (tensor,) = read
        shape, dtype = static_shape(tensor) or (), np.dtype(tensor.dtype).name
        self.explainer, self.exact = explainer, exact
        facts = explainer.facts.given(preprocess, labels)
        if facts.preprocess is not None:
            self.preprocess = facts.preprocess.fitted(shape, dtype)
        else:
            self.preprocess = guess_preprocess(shape, dtype, explainer.model.scalings.get(tensor.name))
        self.labels = facts.labels
        self.settings = replace(explainer.settings, preprocess=self.preprocess)
        self._fixed_batch = shape[0]
        self._check_labels()
        self._baselines = np.stack([self._read(source).array for source in baselines]) if baselines else None

    def __call__(self, images: PictureSource | Sequence[PictureSource], targets: Any = None) -> Explanation:
        """Explain one picture or a list of them at once; see `explain`."""
        several = images if isinstance(images, list | tuple) else [cast(PictureSource, images)]
        if not several:
            raise InputError("the list of pictures is empty; give at least one")
        batch = [self._read(source) for source in several]
        shapes = {each.array.shape for each in batch}
        if len(shapes) > 1:
            sizes = ", ".join(sorted(map(str, shapes)))
            raise InputError(
                f"the pictures come to the model in different sizes ({sizes}): explain them one at a time, or give "
                "preprocess= a size"
            )
        return self._explain(batch, self.indices(targets))

    def passes(self, picture: PictureSource) -> int:
        """How often the model runs for a picture: 1 but for methods that ask again."""
        return self.explainer.passes(self._read(picture).array[None])

    @property
    def batch(self) -> int:
        """So many pictures are best explained at a time: what the model fixes, else `BATCH`."""
        return self._fixed_batch or BATCH

    def each(self, pictures: Sequence[Found], targets: Sequence[Any] | None = None) -> list[Result]:
        """Explain a few pictures, all that fit together in one batch; safe to call from several threads.

        Parameters
        ----------
        pictures
            What `relcam_onnx.pictures.finding.find_pictures` finds.
        targets
            K targets, the same for every picture; None: the top class, or all that a detector detects.

        Returns
        -------
        list
            As many as pictures, in their order: of one that cannot be read or explained, what went wrong with it.

        Raises
        ------
        RelcamError
            `TargetError` or `OptionError`: what holds for every picture.
        """
        done: dict[int, Explanation | Exception] = {}
        shapes: dict[tuple[int, ...], list[tuple[int, Ready]]] = {}
        for place, picture in enumerate(pictures):
            try:
                ready = self._read(picture.path)
            except Exception as error:  # whatever is wrong with one picture, the others go on
                done[place] = error
            else:
                shapes.setdefault(ready.array.shape, []).append((place, ready))
        for batch in shapes.values():
            done.update(self._alike(batch, targets))
        return [(picture, done[place]) for place, picture in enumerate(pictures)]

    def indices(self, targets: Any) -> Any:
        """Targets as an `Explainer` takes them: see `relcam_onnx.pictures.asked.as_targets`."""
        detector = self.settings.head == "detector"
        return as_targets(targets, self.labels, lambda source: self._read(source).array, detector=detector)

    def _read(self, source: PictureSource) -> Ready:
        needed, opacity = None if self.exact else self.preprocess.needed, self.preprocess.channels.endswith("A")
        pixels = read_pixels(source, needed, opacity=opacity)
        array, geometry = self.preprocess.apply(pixels)
        return Ready(array, Picture(pixels.opaque, geometry, str(source) if isinstance(source, str | Path) else None))

    def _explain(self, batch: Sequence[Ready], targets: Any) -> Explanation:
        pictures = tuple(each.picture for each in batch)
        placed = in_inputs(targets, [picture.geometry for picture in pictures])
        explanation = self.explainer(np.stack([each.array for each in batch]), placed, baselines=self._baselines)
        settings = replace(explanation.settings, preprocess=self.preprocess)
        return replace(explanation, pictures=pictures, labels=explanation.labels or self.labels, settings=settings)

    def _alike(
        self, batch: Sequence[tuple[int, Ready]], targets: Sequence[Any] | None
    ) -> Iterator[tuple[int, Explanation | Exception]]:
        """Pictures of one size, by place; where their batch fails they are tried alone."""
        try:
            together = self._explain([ready for _, ready in batch], targets and [list(targets)] * len(batch))
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
        classes = self.settings.classes
        fewer = int(classes is not None and self.explainer.prepared.choices.background == classes - 1)  # "no object"
        if self.labels is not None and classes is not None and not classes - fewer <= len(self.labels) <= classes:
            if classes == 1 and len(self.labels) == 2:
                raise OptionError(
                    "two labels for one score name a negative and a positive class, which decides how targets are "
                    "explained: give labels= to the Explainer itself"
                )
            raise OptionError(f"there are {len(self.labels)} labels for {classes} classes; give labels= that fit")
