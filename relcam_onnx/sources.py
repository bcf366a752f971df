"""What users bring for each input of a model: pictures, vectors and single numbers, as the model takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from PIL.Image import Image

from relcam_onnx.analysis.frames import frames_first
from relcam_onnx.analysis.scores import shape_text
from relcam_onnx.errors import InputError, nearest
from relcam_onnx.explainer import Explainer
from relcam_onnx.model import static_shape
from relcam_onnx.pictures.conventions import guess_preprocess
from relcam_onnx.pictures.facts import Facts
from relcam_onnx.pictures.finding import SUFFIXES, UNREAD
from relcam_onnx.pictures.other_tools import SIZES
from relcam_onnx.pictures.pixels import Picture, read_pixels
from relcam_onnx.pictures.preprocess import Preprocess
from relcam_onnx.pictures.reading import PictureSource, Stored, name_of
from relcam_onnx.runners.arrays import check_array, is_read, unread


class Ready(NamedTuple):
    """A picture that was read, and the array that the model takes for it."""

    array: NDArray[Any]
    picture: Picture


class Feeds(NamedTuple):
    """What goes into some inputs: arrays, and the pictures that some were made of."""

    arrays: dict[str, NDArray[Any]]
    pictures: dict[str, tuple[Picture, ...]]

    def beside(self, more: Feeds, shared: frozenset[str]) -> Feeds:
        """All of it, these rows for every row of the others; those that are ``shared`` stay as they are."""
        given = (array for name, array in more.arrays.items() if array.ndim and name not in shared)
        count = max((len(array) for array in given), default=1)
        arrays = {
            name: np.repeat(array, count, axis=0) if array.ndim and len(array) == 1 and name not in shared else array
            for name, array in self.arrays.items()
        }
        pictures = {name: batch * count if len(batch) == 1 else batch for name, batch in self.pictures.items()}
        return Feeds({**arrays, **more.arrays}, {**pictures, **more.pictures})


class Sources:
    """The inputs of one model, and how what is brought for them is read.

    Parameters
    ----------
    explainer
        Of the model.
    facts
        What is known of its pictures.
    exact
        Whether every pixel of large JPEGs is decoded.

    Raises
    ------
    InputError
        None of the inputs takes pictures.
    OptionError
        The preprocessing is malformed.
    """

    def __init__(self, explainer: Explainer, facts: Facts, *, exact: bool) -> None:
        self.tensors = {tensor.name: tensor for tensor in explainer.inputs if is_read(tensor)}
        self._unread = {tensor.name for tensor in explainer.inputs} - set(self.tensors)
        self.preprocess: dict[str, Preprocess] = {}
        self._exact, self.shared = exact, explainer.prepared.rows.shared
        self.frames: dict[str, int | None] = {}
        self._time: dict[str, int] = {}  # the axis of frames, where they have one
        for name, tensor in self.tensors.items():
            shape, dtype = static_shape(tensor) or (), np.dtype(tensor.dtype).name
            self.frames[name] = explainer.prepared.frames if len(shape) == 4 else 1
            if len(shape) == 5:
                self._time[name] = time = 1 if frames_first(tensor) else 2
                self.frames[name], shape = shape[time], (*shape[:time], *shape[time + 1 :])
            with suppress(*([InputError] if len(self.tensors) > 1 else [])):  # others take numbers
                if facts.preprocess is not None:
                    self.preprocess[name] = facts.preprocess.fitted(shape, dtype)
                else:
                    self.preprocess[name] = guess_preprocess(shape, dtype, explainer.model.scalings.get(name))
        if not self.preprocess:
            raise InputError(
                f"no input takes pictures: {self._listed(self.tensors)}; call an Explainer with a dict of arrays"
            )

    def main(self, given: Mapping[str, Any]) -> str:
        """The one picture input that is not given by name.

        Raises
        ------
        InputError
            All are, or several are not.
        """
        left = [name for name in self.preprocess if name not in given]
        if len(left) == 1:
            return left[0]
        several = f"{len(left)} picture inputs" if left else "no picture input that is not named already"
        raise InputError(
            f"this model has {several} ({self._listed(left or self.preprocess)}): name what goes where, "
            "{'NAME': picture, ...} or --input NAME=FILE"
        )

    def check(self, given: Mapping[str, Any]) -> None:
        """Every input that something reads is given, but for sizes, and nothing else; `InputError` otherwise."""
        if unknown := sorted(set(given) - set(self.tensors) - self._unread):
            like = nearest(unknown[0], self.tensors)
            raise InputError(f"no input is called {unknown[0]!r}{like}; the model reads {self._listed(self.tensors)}")
        if missing := [name for name in self.tensors if name not in given and name not in self._sizes]:
            raise InputError(
                f"the model reads {self._listed(missing)} too: give {'it' if len(missing) == 1 else 'them'} by name, "
                "{'NAME': value, ...} or --input NAME=FILE"
            )

    @property
    def _sizes(self) -> list[str]:
        """The inputs that say how large a picture is, which the picture does."""
        others = (name for name in SIZES if name in self.tensors and name not in self.preprocess)
        return [name for name in others if (static_shape(self.tensors[name]) or ())[1:] == (2,)]

    def together(self, beside: Feeds, more: Feeds) -> Feeds:
        """What goes with every row, these rows, and how large the first picture is as the model reads it."""
        feeds, (name, preprocess) = beside.beside(more, self.shared), next(iter(self.preprocess.items()))
        first, last = (1, 3) if preprocess.layout == "NHWC" else (2, 4)
        picture = feeds.arrays[name]
        told = {n: SIZES[n](*picture.shape[first:last]) for n in self._sizes if n not in feeds.arrays}
        rows = {n: np.full((len(picture), 2), size, self.tensors[n].dtype) for n, size in told.items()}
        return Feeds({**feeds.arrays, **rows}, feeds.pictures)

    def feeds(self, given: Mapping[str, Any]) -> Feeds:
        """What is brought for some inputs, as the model takes it; errors as in `pictures` and `numbers`."""
        given = {name: value for name, value in given.items() if name not in self._unread}
        pictures = {name: self.pictures(name, given[name]) for name in self.preprocess if name in given}
        arrays = {name: self.stacked(name, [each.array for each in batch]) for name, batch in pictures.items()}
        arrays |= {name: self.numbers(name, value) for name, value in given.items() if name not in pictures}
        return Feeds(arrays, {name: tuple(each.picture for each in batch) for name, batch in pictures.items()})

    def stacked(self, name: str, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Pictures, (C, H, W) each, as the model takes them; `InputError` where frames make no whole clips."""
        whole, time = np.stack(arrays), self._time.get(name)
        if time is None:
            return whole
        length = self.frames[name] or len(whole)
        if len(whole) % length:
            raise InputError(f"the model takes clips of {length} frames, and {len(whole)} pictures are no whole clips")
        return np.ascontiguousarray(np.moveaxis(whole.reshape(-1, length, *whole.shape[1:]), 1, time))

    def picture(self, name: str, source: PictureSource) -> Ready:
        """A picture for an input; `InputError` where it cannot be read."""
        preprocess = self.preprocess[name]
        needed, opacity = None if self._exact else preprocess.needed, preprocess.channels.endswith("A")
        try:
            pixels = read_pixels(source, needed, opacity=opacity)
            array, geometry = preprocess.apply(pixels)
        except InputError as error:
            raise error if len(self.tensors) == 1 else InputError(f"input {name!r}: {error}") from error
        stored = source if isinstance(source, Stored) else None
        return Ready(array, Picture(pixels.opaque, geometry, name_of(source), stored))

    def pictures(self, name: str, sources: PictureSource | Sequence[PictureSource]) -> list[Ready]:
        """One picture or a list of them, of one size as the model sees them."""
        several: list[Any] = list(sources) if isinstance(sources, list | tuple) else [sources]
        several = [each for one in several for each in (one if isinstance(one, list | tuple) else [one])]  # of clips
        if not several:
            raise InputError("the list of pictures is empty; give at least one")
        batch = [self.picture(name, source) for source in several]
        if len(shapes := {each.array.shape for each in batch}) > 1:
            sizes = ", ".join(sorted(map(str, shapes)))
            raise InputError(
                f"the pictures come to the model in different sizes ({sizes}): explain them one at a time, or give "
                "preprocess= a size"
            )
        return batch

    def numbers(self, name: str, value: Any) -> NDArray[Any]:
        """What is given for an input that takes no pictures, as its rows; a number for all images as it is.

        Raises
        ------
        InputError
            A picture, no numbers, or another shape.
        """
        tensor = self.tensors[name]
        takes = f"input {name!r} takes numbers, {shape_text(tensor)}"
        if isinstance(value, str | Path | Image):
            raise InputError(f"{takes}, not a picture ({value if isinstance(value, str | Path) else 'a PIL image'})")
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise InputError(f"{takes}, in rows of one length") from error
        except (TypeError, RuntimeError) as error:
            raise unread(f"input {name!r}", value, error) from error
        if array.dtype.kind not in "biuf" or not np.can_cast(array.dtype, tensor.dtype, "same_kind"):
            whole = np.dtype(tensor.dtype).kind in "iu" and array.dtype.kind in "biu"
            if not whole:
                raise InputError(f"{takes} of {np.dtype(tensor.dtype).name}, not {array.dtype.name}")
        array = array.astype(tensor.dtype)
        rest = (static_shape(tensor) or ())[1:]
        if tensor.shape and array.ndim < 2 and all(size in (1, None) for size in rest):
            array = array.reshape(-1, *[1] * len(rest))  # one number for each image
        elif array.ndim == len(tensor.shape) - 1:
            array = array[None]
        checked: NDArray[Any] = check_array(tensor, array)
        return checked

    def from_text(self, name: str, text: str) -> Any:
        """What the command line says of an input: the path of a picture; numbers as JSON, or a .json or .npy file.

        Raises
        ------
        InputError
            There is no such input, or the numbers cannot be read.
        """
        if name not in self.tensors:
            self.check({name: text, **dict.fromkeys(self.tensors)})
            return text
        if name in self.preprocess:
            return Path(text)
        takes, file = f"input {name!r} takes numbers, {shape_text(self.tensors[name])}", Path(text)
        if file.suffix.lower() in (*SUFFIXES, *UNREAD):
            raise InputError(f"{takes}, not a picture ({text})")
        try:
            if file.suffix.lower() == ".npy":
                return np.load(file, allow_pickle=False)
            return json.loads(file.read_text("utf-8-sig") if file.suffix.lower() == ".json" else text)
        except FileNotFoundError as error:
            raise InputError(f"{text}: there is no such file") from error
        except (OSError, ValueError) as error:
            raise InputError(f"{takes}: JSON such as [0.5, 1], or a .json or .npy file; not {text!r}") from error

    def _listed(self, names: Sequence[str] | Mapping[str, Any]) -> str:
        """Inputs with their types and shapes."""
        tensors: list[gs.Tensor] = [self.tensors[name] for name in names]
        return ", ".join(f"{t.name!r} {np.dtype(t.dtype).name} {shape_text(t)}" for t in tensors)
