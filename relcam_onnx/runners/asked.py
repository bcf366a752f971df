"""One picture of a run of a probing method: what the method may ask, answered by the runner's sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from relcam_onnx.analysis.layers import Layer
from relcam_onnx.backends.eager import Eager
from relcam_onnx.lrp.heads import Table, aim, as_table, begin, ranking
from relcam_onnx.lrp.laid import channels_first, positions
from relcam_onnx.lrp.plan import reading_plan
from relcam_onnx.prepare import Prepared
from relcam_onnx.probing.subject import Floats, Subject
from relcam_onnx.results.probabilities import probabilities
from relcam_onnx.runners.restoring import REPLACED, restored
from relcam_onnx.runners.targets import resolve_ranks

if TYPE_CHECKING:
    from relcam_onnx.runners.probing import ProbingRunner


class Asked(Subject):
    """One picture of a run, and what probes ask about it."""

    def __init__(
        self,
        runner: ProbingRunner,
        prepared: Prepared,
        inputs: dict[str, np.ndarray],
        values: Mapping[str, Any],
        targets: np.ndarray,
        seeds: np.ndarray | None,
    ) -> None:
        self._runner, self._prepared, self._inputs, self._values = runner, prepared, inputs, values
        self.samples, self.size = runner.samples, runner.size
        f, choices = Eager(len(targets)), prepared.choices
        table = self._table(values[prepared.scores.tensor.name])
        self.targets = resolve_ranks(targets[None], cast(Any, ranking(f, choices, table)))[0]
        self._aim = aim(f, choices, table, cast(Any, self.targets[:, None]))
        self._likely = runner.probe.of_probability and seeds is None
        start: Any = begin(f, choices, table, self._aim, prepared.seed, gradient=True) if seeds is None else seeds
        self.weights: Floats = np.asarray(start, np.float32).reshape(len(targets), -1)
        self._input = prepared.layers.picture
        self.x = self._first(self._input, values[prepared.layers.picture.tensor.name])[0]
        self.own = self._told(table)[0]
        self.baselines = self._baselines()
        self._layer = self._input

    def maps(self) -> tuple[dict[str, Floats], dict[str, Floats]]:
        """The picture's maps, and the channels' weights."""
        probe, plan, made, weights = self._runner.probe, self._prepared.maps, {}, {}
        for layer in plan.walked:
            self._layer, self.rng = layer, np.random.default_rng(self._runner.random_state)
            if probe.layer is not None:
                made[layer.name], told = probe.layer(self)
                if told is not None:
                    weights[layer.name] = told
            else:
                of_input = probe.picture or probe.gradient
                assert of_input is not None
                made[layer.name] = of_input(self)
        for name, stages in plan.fused.items():
            f: Any = Eager()
            parts: list[Any] = [made[stage.name] for stage in stages]
            made[name] = np.asarray(probe.fuse(f, parts, [positions(f, s, self._values) for s in stages]))
        return (
            {name: np.asarray(made[name], np.float32) for name in plan.names},
            {name: np.asarray(weights[name], np.float32) for name in plan.names if name in weights},
        )

    def values(self, pictures: Floats) -> Floats:
        """See `Subject`."""
        return self._run(self._placed(pictures), None)

    def gradients(self, pictures: Floats) -> Floats:
        """See `Subject`."""
        weights: Floats = np.repeat(self.weights[None], len(pictures), axis=0)
        found: Floats = self._runner.gradients(self._placed(pictures), weights)
        return found

    def activation(self) -> Floats:
        """See `Subject`."""
        alone: Floats = self._first(self._layer, self._values[self._layer.tensor.name])[0]
        return alone

    def values_with(self, activations: Floats) -> Floats:
        """See `Subject`."""
        base = self._values[self._layer.tensor.name]
        return self._run(
            {**self._rows(len(activations)), REPLACED: restored(self._layer.layout, base, activations)}, self._layer
        )

    def _first(self, layer: Layer, value: Any) -> Floats:
        found: Any = channels_first(Eager(), layer, value, self._values)
        return np.asarray(found, np.float32)

    def _placed(self, pictures: Floats) -> dict[str, np.ndarray]:
        """The model's inputs with these in the picture's place, as many rows of each."""
        name = self._input.tensor.name
        altered = restored(self._input.layout, self._inputs[name].astype(np.float32), pictures)
        return {**self._rows(len(pictures)), name: altered.astype(self._inputs[name].dtype, copy=False)}

    def _rows(self, count: int) -> dict[str, np.ndarray]:
        """The model's inputs, each picture's row as a view of one."""
        shared = self._runner.rows.shared
        return {
            n: np.broadcast_to(v, (count, *v.shape[1:])) if v.ndim and n not in shared else v
            for n, v in self._inputs.items()
        }

    def _run(self, rows: dict[str, np.ndarray], replaced: Layer | None) -> Floats:
        """The targets' values for so many rows."""
        reading = self._runner.reading(self._prepared, reading_plan(self._prepared.paths, ()), [], replaced)
        shared = self._runner.rows.shared
        count = max(len(value) for name, value in rows.items() if value.ndim and name not in shared)
        _, values = reading.run(self._runner.filled(rows))
        return self._told(self._table(np.asarray(values[self._prepared.scores.tensor.name])[:count]))

    @property
    def scores(self) -> Floats:
        """Where relevance starts, (scores); where a head has places (K, classes), those at each target."""
        rows: Any = self._aim.scores
        return np.asarray(rows[0] if self._aim.at is None else rows, np.float32)

    def _table(self, raw: Any) -> Table:
        return as_table(Eager(), self._prepared.choices.head, raw)

    def _told(self, table: Table) -> Floats:
        """(M, places, classes) to (M, K)."""
        values: Any = table.value
        if not self._likely:
            flat = values.reshape(len(values), -1)
            return np.asarray(np.einsum("ms,ks->mk", flat, self.weights), np.float32)  # see `probing.growing`
        prepared, hot, at = self._prepared, cast(Any, self._aim.hot), cast(Any, self._aim.at)
        rows = np.einsum("kp,mpc->mkc", np.ones((len(hot), 1), np.float32) if at is None else at, values)
        shares = probabilities(rows.reshape(-1, rows.shape[2]), prepared.scores.squashed_by, prepared.choices.classes)
        return np.asarray((shares.reshape(*rows.shape[:2], -1) * hot).sum(axis=2), np.float32)

    def _baselines(self) -> Floats:
        """Those that were given, channels first."""
        given = self._runner.baselines
        if given is None:
            return np.zeros((0, *self.x.shape), np.float32)
        return self._first(self._input, given)
