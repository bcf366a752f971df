"""Methods that run the model again and again: the sessions behind them, and their maps picture by picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np

from relcam_onnx.analysis.frames import Rows
from relcam_onnx.analysis.layers import Layer
from relcam_onnx.lrp.methods import Probe
from relcam_onnx.lrp.plan import Plan
from relcam_onnx.model import static_shape
from relcam_onnx.prepare import Prepared
from relcam_onnx.probing.subject import Floats
from relcam_onnx.results.maps import stacked
from relcam_onnx.runners import Result, Runner, Sizes
from relcam_onnx.runners.arrays import filled, on_host, rows_of, sizes_of
from relcam_onnx.runners.asked import Asked
from relcam_onnx.runners.fields import fields_of
from relcam_onnx.runners.kept import KEPT, Kept
from relcam_onnx.runners.reading import Reading
from relcam_onnx.runners.session import SessionSettings

AT_A_TIME = 8
"""Rows that one run takes where the file leaves that open: more gains nothing on a processor, and costs memory."""


class ProbingRunner:
    """See `relcam_onnx.runners.Runner`.

    Parameters
    ----------
    prepared, settings
        As for the other runners.
    walker
        Makes the runner of the gradients that some methods average.
    samples
        How many masks, copies or steps; None: the method's.
    random_state
        What they are drawn by.
    """

    def __init__(
        self,
        prepared: Prepared,
        settings: SessionSettings,
        walker: Callable[[Prepared], Runner],
        samples: int | None,
        random_state: int,
    ) -> None:
        assert isinstance(prepared.maps.how, Probe)
        self.prepared, self.probe, self._settings = prepared, prepared.maps.how, settings
        self.samples, self.random_state = samples or self.probe.samples, random_state
        self.size = prepared.batch or AT_A_TIME
        self._outputs = [output.name for output in prepared.model.proto.graph.output]
        self._sized: Kept[Prepared] = Kept()
        # Of each size that is kept: the model, its scores alone, and each layer's.
        self._readings: Kept[Reading] = Kept(KEPT * (2 + len(prepared.maps.walked)))
        self._walker = walker(prepared.walking()) if self.probe.gradient else None
        self.baselines: Floats | None = None
        self.reading(prepared, prepared.maps.plan, self._outputs)

    def with_baselines(self, baselines: Any) -> ProbingRunner:
        """The same, with what stands for nothing, (B, ...) as the model takes it."""
        other = copy(self)
        other.baselines = on_host(baselines).astype(np.float32)
        return other

    def passes(self, sizes: Sizes) -> int:
        """See `relcam_onnx.runners.Runner`."""
        prepared = self.sized(sizes)
        shapes = [self._shape(prepared, layer) for layer in (prepared.layers.picture, *prepared.maps.walked)]
        return 1 + sum(self.probe.passes(self.samples, shapes[0], shape) for shape in shapes[1:])

    def _shape(self, prepared: Prepared, layer: Layer) -> tuple[int, ...]:
        """A layer's channels and positions; 0 for what only a run knows."""
        shape, layout = static_shape(layer.tensor) or (), layer.layout
        if layout is not None and not layout.plain:
            places = layout.grid or tuple(shape[axis] for axis in layout.axes)
            shape = (None, shape[layout.channels[0]], *(n if isinstance(n, int) else None for n in places))
        return tuple(size or 0 for size in shape[1:])

    def sized(self, sizes: Sizes) -> Prepared:
        """What was prepared, for inputs of these sizes; kept."""
        return self._sized.get(sizes, lambda: self.prepared.sized(dict(sizes)))

    def reading(self, prepared: Prepared, plan: Plan, more: list[str], replaced: Layer | None = None) -> Reading:
        """The session that returns what a plan reads and some outputs, kept; ``replaced`` becomes an input."""

        def make() -> Reading:
            return Reading.of(prepared.model, plan, self._settings, more, replaced, spinning=not more)

        return self._readings.get((plan.tensors, tuple(more), replaced and replaced.name), make)

    @np.errstate(all="ignore")  # infinities and NaNs are results, as in every ONNX runtime
    def run(self, inputs: Mapping[str, Any], targets: np.ndarray, seeds: np.ndarray | None) -> Result:
        """See `relcam_onnx.runners.Runner`."""
        host = {name: on_host(value) for name, value in inputs.items()}
        prepared = self.sized(sizes_of(host))
        reading, found = self.reading(prepared, prepared.maps.plan, self._outputs), []
        for index in range(len(targets)):
            alone = rows_of(host, slice(index, index + 1), self.rows)
            returned, values = reading.run(self.filled(alone))
            first = {name: value[:1] if value.ndim else value for name, value in values.items()}
            asked = Asked(self, prepared, alone, first, targets[index], None if seeds is None else seeds[index])
            found.append(({n: v[:1] if v.ndim else v for n, v in returned.items() if n in self._outputs}, asked))
        maps = [asked.maps() for _, asked in found]
        return Result(
            {name: stacked([outputs[name] for outputs, _ in found]) for name in found[0][0]},
            np.stack([asked.targets for _, asked in found]),
            np.stack([asked.scores for _, asked in found]),
            {name: np.stack([one[name] for one, _ in maps]) for name in maps[0][0]},
            {name: np.stack([one[name] for _, one in maps]) for name in maps[0][1]},
            {},
            prepared.aliases,
            prepared.maps.sources,
            fields_of(prepared),
        )

    def fill(self, rows: np.ndarray) -> np.ndarray:
        """As many rows as the file fixes."""
        return rows if self.prepared.batch is None or not rows.ndim else filled(rows, self.prepared.batch - len(rows))

    @cached_property
    def rows(self) -> Rows:
        """How rows lie in the inputs, each by itself."""
        return self.prepared.rows._replace(frames=1)

    def filled(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Inputs with as many rows as the file fixes."""
        shared = self.rows.shared
        return {name: value if name in shared else self.fill(value) for name, value in inputs.items()}

    def gradients(self, inputs: Mapping[str, np.ndarray], seeds: Floats) -> Floats:
        """The gradient of what ``seeds``, (M, K, scores), weigh, at each of M rows: (M, K, C, H, W)."""
        assert self._walker is not None
        count = len(seeds)
        rows = self.filled({name: np.ascontiguousarray(value) for name, value in inputs.items()})
        weights = self.fill(seeds)
        nothing = np.zeros(weights.shape[:2], np.int64)
        (found,) = self._walker.run(rows, nothing, weights).maps.values()
        gradients: Floats = found[:count]
        return gradients
