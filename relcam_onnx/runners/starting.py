"""Where relevance starts for targets that are told by dicts: the model is run for its scores first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.errors import TargetError
from relcam_onnx.pictures.asked import by_image
from relcam_onnx.pictures.geometry import Floats
from relcam_onnx.prepare import Prepared
from relcam_onnx.results.settings import Settings
from relcam_onnx.runners import Runner
from relcam_onnx.runners.reading import Reading
from relcam_onnx.runners.session import SessionSettings

Described: TypeAlias = Sequence[Sequence[Any]]
"""As many targets for each image."""


class Started(NamedTuple):
    """Classes (N, K), what relevance starts as (N, K, scores), and what is said of each target.

    ``scores`` are (N, K, classes) at each target, or (N, classes).
    """

    targets: NDArray[np.int64]
    seeds: Floats
    scores: Floats


class Starter(ABC):
    """Starts relevance for one kind of target."""

    def __init__(self, prepared: Prepared, make: Callable[[Prepared], Runner], settings: SessionSettings) -> None:
        self.prepared, self._make, self._settings = prepared, make, settings

    @cached_property
    def walker(self) -> Runner:
        """The same maps for seeds of one's own."""
        return self._make(self.prepared.given())

    @cached_property
    def _reading(self) -> Reading:
        return Reading.of_scores(self.prepared, self._settings, spinning=False)

    def scores(self, inputs: Mapping[str, Any]) -> Any:
        """The scores for some inputs, as the file has them."""
        return self._reading.run(inputs)[1][self.prepared.scores.tensor.name]

    @abstractmethod
    def start(self, inputs: Mapping[str, Any], asked: Described, among: Described) -> Started:
        """Let relevance start for some images, perhaps filled up, ``asked`` for these ``among`` all of a call's."""

    def told(self, settings: Settings, among: Described) -> dict[str, Any]:
        """What else an explanation says then, all of a call known: fields of `Explanation`."""
        return {}


def for_each(targets: Any, images: int) -> list[list[Any]]:
    """As many targets for each image: one for all, one for each, or lists of K."""
    each = [list(one) if isinstance(one, list | tuple) else [one] for one in by_image(targets, images)]
    if len({len(one) for one in each}) > 1:
        raise TargetError("images have different numbers of targets: give each as many, or explain them one at a time")
    return each
