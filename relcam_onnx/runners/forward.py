"""The forward pass alone: which targets are meant, and their scores; no walk, no maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from relcam_onnx.backends.eager import Eager
from relcam_onnx.lrp.heads import aim, as_table, ranking
from relcam_onnx.prepare import Prepared
from relcam_onnx.runners import Result, Sizes
from relcam_onnx.runners.arrays import on_host, sizes_of
from relcam_onnx.runners.eager import by_image
from relcam_onnx.runners.kept import Kept
from relcam_onnx.runners.reading import Reading
from relcam_onnx.runners.session import SessionSettings
from relcam_onnx.runners.targets import resolve_ranks


class ForwardRunner:
    """A session that returns the model's outputs and scores. It is opened at the first run."""

    def __init__(self, prepared: Prepared, settings: SessionSettings) -> None:
        self._prepared, self._settings = prepared, settings
        self._outputs = [output.name for output in prepared.model.proto.graph.output]
        self._readings: Kept[tuple[Prepared, Reading]] = Kept()

    def passes(self, sizes: Sizes) -> int:
        """See `relcam_onnx.runners.Runner`."""
        return 1

    @np.errstate(all="ignore")  # infinities and NaNs are results, as in every ONNX runtime
    def run(self, inputs: Mapping[str, Any], targets: np.ndarray, seeds: np.ndarray | None) -> Result:
        """See `relcam_onnx.runners.Runner`; seeds start nothing here."""
        prepared, reading = self._reading(sizes_of(inputs))
        returned, values = reading.run({name: on_host(value) for name, value in inputs.items()})
        f, choices, scores = Eager(targets.shape[1]), prepared.choices, values[prepared.scores.tensor.name]
        table = as_table(f, choices.head, scores)
        ranked: Any = ranking(f, choices, table)
        resolved = resolve_ranks(targets, ranked)
        rows: Any = resolved.T.reshape(-1, 1)
        target = aim(f, choices, table._replace(value=f.each(table.value)), rows)
        return Result(
            {name: returned[name] for name in self._outputs},
            resolved,
            scores.reshape(len(scores), -1) if target.at is None else by_image(target.scores, resolved),
            {},
            {},
            {},
            prepared.aliases,
            (),
            {},
        )

    def _reading(self, sizes: Sizes) -> tuple[Prepared, Reading]:
        """The session for these sizes."""

        def make() -> tuple[Prepared, Reading]:
            prepared = self._prepared.sized(dict(sizes))
            return prepared, Reading.of_scores(prepared, self._settings, self._outputs, spinning=False)

        return self._readings.get(sizes if self._prepared.free_sizes else (), make)
