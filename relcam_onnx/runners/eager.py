"""Activations by onnxruntime, the reverse walk in NumPy: the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import onnxruntime

from relcam_onnx.backends.eager import Eager
from relcam_onnx.compiling.reading import unread
from relcam_onnx.lrp.heads import aim, as_scores, as_table, begin, ranking
from relcam_onnx.lrp.maps import make_maps
from relcam_onnx.lrp.walk import activations
from relcam_onnx.prepare import Prepared
from relcam_onnx.runners import Result, Sizes
from relcam_onnx.runners.arrays import on_host, sizes_of
from relcam_onnx.runners.fields import fields_of
from relcam_onnx.runners.kept import Kept
from relcam_onnx.runners.session import SessionSettings, expose, open_session, run_session
from relcam_onnx.runners.targets import resolve_ranks


@dataclass(frozen=True)
class Reading:
    """What is read of a model whose sizes are known: the tensors exposed, and the sizes of those that are not."""

    prepared: Prepared
    exposed: tuple[str, ...]
    told: Mapping[str, tuple[Any, ...]]


class EagerRunner:
    """One session with the activations exposed that the walk reads."""

    def __init__(self, prepared: Prepared, settings: SessionSettings) -> None:
        self._prepared, self._settings = prepared, settings
        self._outputs = [output.name for output in prepared.model.proto.graph.output]
        self._sized: Kept[Reading] = Kept()
        self._sessions: Kept[tuple[onnxruntime.InferenceSession, dict[str, str]]] = Kept()
        self._session(self._sized.get((), lambda: self._reading(prepared)).exposed)

    def _reading(self, prepared: Prepared) -> Reading:
        """The tensors that the walk reads and the model does not return, those of a quantised file no others.

        What is exposed there onnxruntime does not fuse, and rounds some values of it to the next step.
        """
        own = {*self._outputs, *(value.name for value in prepared.model.proto.graph.input)}
        rows = {tensor.shape[0] for tensor in batched(prepared)}
        sizes = unread(prepared) if prepared.model.rounded else {}
        told = {n: s for n, s in sizes.items() if n not in own and (isinstance(s[0], int) or s[0] in rows)}
        return Reading(prepared, tuple(n for n in prepared.maps.plan.exposed if n not in own and n not in told), told)

    def _session(self, exposed: tuple[str, ...]) -> tuple[onnxruntime.InferenceSession, dict[str, str]]:
        """The session that returns these tensors too, and by which names."""
        proto = self._prepared.model.proto

        def make() -> tuple[onnxruntime.InferenceSession, dict[str, str]]:
            with expose(proto, exposed) as named:
                # onnxruntime's threads would spin on, next to NumPy's, while the reverse walk runs.
                return open_session(proto, self._settings, self._prepared.model.weights, spinning=False), named

        return self._sessions.get(exposed, make)

    def passes(self, sizes: Sizes) -> int:
        """See `relcam_onnx.runners.Runner`."""
        return 1

    @np.errstate(all="ignore")  # infinities and NaNs are results, as in every ONNX runtime
    def run(self, inputs: Mapping[str, Any], targets: np.ndarray, seeds: np.ndarray | None) -> Result:
        """See `relcam_onnx.runners.Runner`."""
        host = {name: on_host(value) for name, value in inputs.items()}
        sizes = sizes_of(host)
        known = sizes if self._prepared.free_sizes else ()
        reading = self._sized.get(known, lambda: self._reading(self._prepared.sized(dict(known))))
        prepared = reading.prepared
        session, named = self._session(reading.exposed)
        names = [*self._outputs, *reading.exposed]
        asked = [named.get(name, name) for name in names]
        returned = dict(zip(names, run_session(session, asked, host), strict=True))
        f = Eager(targets.shape[1])
        file = {name: as_float32(value) for name, value in {**host, **returned}.items()}
        counts = {tensor.shape[0]: len(host[tensor.name]) for tensor in batched(prepared)}
        for name, (first, *rest) in reading.told.items():  # of which nothing is read but the sizes
            file[name] = np.broadcast_to(np.float32(np.nan), (counts.get(first, first), *rest))
        values = activations(f, prepared.maps.plan, file.__getitem__)
        scores = values[prepared.scores.tensor.name]
        choices = prepared.choices
        table = as_table(f, choices.head, scores)
        ranked: Any = ranking(f, choices, table)
        targets = resolve_ranks(targets, ranked)
        every = table._replace(value=f.each(table.value))
        rows: Any = targets.T.reshape(-1, 1)
        target = aim(f, choices, every, rows)
        if seeds is not None:
            start: Any = seeds.transpose(1, 0, 2).reshape(-1, table.places, table.classes)
        else:
            start = begin(f, choices, every, target, prepared.seed, gradient=prepared.gradient)
        made = make_maps(f, prepared.maps, values, as_scores(f, choices.head, start, scores.shape), target.exists)
        return Result(
            {name: returned[name] for name in self._outputs},
            targets,
            scores.reshape(len(scores), -1) if target.at is None else by_image(target.scores, targets),
            {name: by_image(value, targets) for name, value in made.maps.items()},
            {name: by_image(value, targets) for name, value in made.weights.items()},
            {name: by_image(value, targets) for name, value in made.tokens.items()},
            prepared.aliases,
            prepared.maps.sources,
            fields_of(prepared),
        )


def batched(prepared: Prepared) -> list[gs.Tensor]:
    """The inputs whose first size has a name."""
    return [tensor for tensor in prepared.model.graph.inputs if tensor.shape and isinstance(tensor.shape[0], str)]


def as_float32(value: np.ndarray) -> np.ndarray:
    """Floats of any size as float32; everything else as it is."""
    return value.astype(np.float32, copy=False) if value.dtype.kind == "f" else value


def by_image(value: Any, targets: np.ndarray) -> np.ndarray:
    """(K·N, ...) as (N, K, ...)."""
    apart = np.asarray(value, np.float32).reshape(targets.shape[1], -1, *np.shape(value)[1:])
    return np.ascontiguousarray(apart.swapaxes(0, 1))
