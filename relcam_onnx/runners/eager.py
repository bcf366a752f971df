"""Activations by onnxruntime, the reverse walk in NumPy: the reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from relcam_onnx.backends.eager import Eager
from relcam_onnx.lrp.maps import make_maps
from relcam_onnx.lrp.seeds import class_scores, starting
from relcam_onnx.prepare import Prepared
from relcam_onnx.runners import Result
from relcam_onnx.runners.arrays import on_host
from relcam_onnx.runners.session import SessionSettings, expose, open_session, run_session
from relcam_onnx.runners.targets import resolve_ranks


class EagerRunner:
    """One session with the activations exposed that the walk reads."""

    def __init__(self, prepared: Prepared, settings: SessionSettings) -> None:
        self._prepared = prepared
        proto = prepared.model.proto
        self._outputs = [output.name for output in proto.graph.output]
        own = {*self._outputs, *(value.name for value in proto.graph.input)}
        self._exposed = [name for name in prepared.maps.plan.tensors if name not in own]
        with expose(proto, self._exposed):
            # onnxruntime's threads would spin on, next to NumPy's, while the reverse walk runs.
            self._session = open_session(proto, settings, spinning=False)

    def run(self, inputs: Mapping[str, Any], targets: np.ndarray, seeds: np.ndarray | None) -> Result:
        """See `relcam_onnx.runners.Runner`."""
        host = {name: on_host(value) for name, value in inputs.items()}
        names = [*self._outputs, *self._exposed]
        found = dict(zip(names, run_session(self._session, names, host), strict=True))
        values = {name: as_float32(value) for name, value in {**host, **found}.items()}
        scores = values[self._prepared.scores.tensor.name]
        table = scores.reshape(len(scores), -1)
        f, paired = Eager(targets.shape[1]), self._prepared.paired
        ranking = class_scores(f, table, paired=paired)
        targets = resolve_ranks(targets, ranking)
        if seeds is not None:
            start = seeds.transpose(1, 0, 2).reshape(-1, table.shape[1])
        else:
            hot = np.eye(ranking.shape[1], dtype=np.float32)[targets.T.reshape(-1)]
            seed, gradient = self._prepared.seed, self._prepared.gradient
            start = starting(f, seed, f.each(table), hot, paired=paired, gradient=gradient)
        maps, weights = make_maps(f, self._prepared.maps, values, start.reshape(-1, *scores.shape[1:]))
        return Result(
            {name: found[name] for name in self._outputs},
            targets,
            table,
            {name: by_image(value, targets) for name, value in maps.items()},
            {name: by_image(value, targets) for name, value in weights.items()},
        )


def as_float32(value: np.ndarray) -> np.ndarray:
    """Halves as float32; everything else as it is."""
    return value.astype(np.float32) if value.dtype == np.float16 else value


def by_image(value: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(K·N, ...) as (N, K, ...)."""
    images, classes = targets.shape
    apart = np.asarray(value, np.float32).reshape(classes, images, *value.shape[1:])
    return np.ascontiguousarray(apart.swapaxes(0, 1))
