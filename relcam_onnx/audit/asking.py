"""What a model says of pictures, its scores seen as (N, places, classes)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.analysis.choices import Choices
from relcam_onnx.audit.spots import Said
from relcam_onnx.backends.eager import Eager
from relcam_onnx.errors import OptionError
from relcam_onnx.explaining import PictureExplainer
from relcam_onnx.lrp.heads import Table, as_table, winners
from relcam_onnx.prepare import Prepared
from relcam_onnx.runners.arrays import filled
from relcam_onnx.runners.detecting import Detector
from relcam_onnx.runners.probing import AT_A_TIME
from relcam_onnx.runners.reading import Reading
from relcam_onnx.runners.session import SessionSettings


def check_alone(name: str, pictures: PictureExplainer) -> None:
    """An audit alters single pictures, and nothing goes in beside them; `OptionError` where a model reads more."""
    inputs = pictures.sources.tensors
    if len(inputs) > 1 or pictures.frames != 1:
        what = f"{len(inputs)} inputs ({', '.join(inputs)})" if len(inputs) > 1 else "clips of several pictures"
        raise OptionError(
            f"an audit asks about single pictures, and {name} reads {what}: explain it with relcam explain"
        )


class Asking:
    """A session that returns scores, and of a detector what else it tells."""

    def __init__(self, prepared: Prepared, settings: SessionSettings) -> None:
        self._prepared = prepared
        found = prepared.choices.head.kind == "detector"
        self._detector = Detector(prepared, settings) if found else None
        outputs = [output.name for output in prepared.model.proto.graph.output] if found else []
        read = (prepared.scores.output, *prepared.scores.head.told_by) if found else ()
        inside = [name for name in read if name not in outputs]
        self._reading = Reading.of_scores(prepared, settings, outputs, inside)

    def __call__(self, placed: NDArray[Any]) -> Iterator[Said]:
        """Pictures as the model takes them, a few at a time."""
        size = self._prepared.batch or AT_A_TIME
        for start in range(0, len(placed), size):
            piece = placed[start : start + size]
            feeds = self.feeds(piece)
            returned, values = self._reading.run(feeds)
            raw = np.asarray(values[self._prepared.scores.tensor.name])
            table: Any = as_table(Eager(), self._prepared.choices.head, raw).value
            told = None if self._detector is None else self._detector.told({**values, **returned}, feeds)
            grid = tuple(np.delete(raw.shape, [0, self._prepared.choices.head.axis]).tolist())
            yield Said(np.asarray(table)[: len(piece)], grid, told)

    def feeds(self, placed: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """What a session of the model takes for them: filled up where the file fixes a batch."""
        rows = filled(placed, (self._prepared.batch or len(placed)) - len(placed))
        return {self._prepared.layers.picture.tensor.name: rows}

    @property
    def providers(self) -> list[str]:
        """Onnxruntime's, in order."""
        found: list[str] = self._reading.session.get_providers()
        return found


def won(said: Said, choices: Choices) -> NDArray[np.bool_]:
    """Which classes win at each place of the first picture, (places, classes)."""
    table: Any = Table(cast(Any, said.table[:1]), *said.table.shape[1:])
    seen: Any = winners(Eager(), choices, table)
    return np.asarray(seen[0], bool)
