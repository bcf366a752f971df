"""What is said of a model's pictures and classes: by options, else in its metadata or beside it. Each is read once."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from relcam_onnx.errors import OptionError
from relcam_onnx.pictures.conventions import Option, known_preprocess
from relcam_onnx.pictures.labels import find_labels
from relcam_onnx.pictures.preprocess import Preprocess

Labels: TypeAlias = Sequence[str] | Mapping[Any, str] | str | Path


class Facts:
    """Preprocessing and labels, read when they are first asked for: what is broken bothers only those who need it.

    Parameters
    ----------
    metadata
        The file's ``metadata_props``.
    folder
        Where the model lies; None for a model in memory.
    preprocess, labels
        The user's own, which count first: then nothing else is read.
    unnamed
        The number of classes where the first one is none and labels may leave it out; None where they may not.
    """

    def __init__(
        self,
        metadata: Mapping[str, str],
        folder: Path | None,
        preprocess: Option | None = None,
        labels: Labels | None = None,
        unnamed: int | None = None,
    ) -> None:
        self._metadata, self._folder = metadata, folder
        self._preprocess, self._labels, self._unnamed = preprocess, labels, unnamed

    def given(self, preprocess: Option | None, labels: Labels | None) -> Facts:
        """The same, with other options where there are any."""
        if (preprocess is None or preprocess is self._preprocess) and (labels is None or labels is self._labels):
            return self
        own = (self._preprocess if preprocess is None else preprocess, self._labels if labels is None else labels)
        return Facts(self._metadata, self._folder, *own, self._unnamed)

    def leaving(self, unnamed: int | None) -> Facts:
        """The same, where the first of so many classes is none."""
        if unnamed == self._unnamed:
            return self
        return Facts(self._metadata, self._folder, self._preprocess, self._labels, unnamed)

    @property
    def preprocess_given(self) -> bool:
        """Whether the preprocessing is the user's own."""
        return self._preprocess is not None

    @cached_property
    def preprocess(self) -> Preprocess | None:
        """The preprocessing as it is written down; None where it is not.

        Raises
        ------
        OptionError
            It is malformed.
        """
        told = known_preprocess(self._preprocess, self._metadata, self._folder)
        return told[0] if told else None

    @cached_property
    def labels(self) -> list[str] | None:
        """The names of the classes; None where there are none. Raises as `preprocess`."""
        found = find_labels(self._labels, self._metadata, self._folder)
        return ["background", *found] if found is not None and len(found) + 1 == self._unnamed else found

    @cached_property
    def usable_preprocess(self) -> Preprocess | None:
        """The same for those who can do without: what the file has malformed is warned of and left aside."""
        try:
            return self.preprocess
        except OptionError as error:
            self._leave_aside(error, own=self._preprocess is not None)
            return None

    @cached_property
    def usable_labels(self) -> list[str] | None:
        """The same for those who can do without."""
        try:
            return self.labels
        except OptionError as error:
            self._leave_aside(error, own=self._labels is not None)
            return None

    def _leave_aside(self, error: OptionError, *, own: bool) -> None:
        if own:
            raise error
        warnings.warn(f"left aside: {error}", stacklevel=5)
