"""The compiled model in one session: a file for each picture size and for one or several targets, the last few kept."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError

from relcam_onnx.compiling.beginning import CLASSES, SCORES, SEED, TARGETS
from relcam_onnx.compiling.compile import compile_light
from relcam_onnx.compiling.writer import map_output
from relcam_onnx.errors import InputError
from relcam_onnx.files import cannot_write, make_folder
from relcam_onnx.lrp.maps import MapSource
from relcam_onnx.onnx_file.store import write_model
from relcam_onnx.pictures.geometry import Field
from relcam_onnx.prepare import Prepared
from relcam_onnx.results.maps import stacked
from relcam_onnx.runners import Result, Sizes
from relcam_onnx.runners.arrays import rows_of, sizes_of
from relcam_onnx.runners.fields import fields_of
from relcam_onnx.runners.kept import Kept
from relcam_onnx.runners.session import SessionSettings, choose_providers, open_session, out_of_memory, run_session


@dataclass(frozen=True)
class Ready:
    """A session with what its outputs are: the output of each map, what it is of, its other names, and its place."""

    session: onnxruntime.InferenceSession
    maps: Mapping[str, str]
    aliases: Mapping[str, str]
    sources: tuple[MapSource, ...]
    fields: Mapping[str, Field]


class CompiledRunner:
    """Compiles for the sizes that it is given: onnxruntime optimises fixed sizes better, the batch stays free."""

    def __init__(self, prepared: Prepared, settings: SessionSettings, cache: Path | None) -> None:
        self._prepared, self._settings, self._cache = prepared, settings, cache
        if cache is not None:
            make_folder(cache)
        self._sessions: Kept[Ready] = Kept()
        self._outputs = [output.name for output in prepared.model.proto.graph.output]
        # What is wrong with the options or the model is said now, as far as it does not hang on the picture's size.
        choose_providers(settings.providers)
        if not prepared.free_sizes:
            self._ready((), single=True)

    def passes(self, sizes: Sizes) -> int:
        """See `relcam_onnx.runners.Runner`."""
        return 1

    def run(self, inputs: Mapping[str, Any], targets: np.ndarray, seeds: np.ndarray | None) -> Result:
        """See `relcam_onnx.runners.Runner`."""
        asked = targets if seeds is None else seeds
        images, several = asked.shape[:2]
        if images > 1 and several > 1 and self._prepared.batch is None:
            # Image by image, so that the K targets of each share one forward pass.
            return joined([self._part(inputs, asked, slice(i, i + 1)) for i in range(images)])
        try:
            return self._run(inputs, asked)
        except InputError as error:
            if images == 1 or self._prepared.batch is not None or not out_of_memory(error):
                raise
            half = -(-images // 2)
            warnings.warn(
                f"there is not enough memory for {images} images at once, trying {half}; set max_batch", stacklevel=4
            )
            parts = (slice(0, half), slice(half, images))
            return joined([self._part(inputs, asked, part) for part in parts])

    def _part(self, inputs: Mapping[str, Any], asked: np.ndarray, place: slice) -> Result:
        """A run for some of the images."""
        return self._run(rows_of(inputs, place, self._prepared.rows), asked[place])

    def _run(self, inputs: Mapping[str, Any], asked: np.ndarray) -> Result:
        """One run of a session."""
        prepared = self._prepared
        sizes = sizes_of(inputs) if prepared.free_sizes else ()
        ready = self._ready(sizes, single=asked.shape[1] == 1)
        names = [output.name for output in ready.session.get_outputs()]
        feeds = {**inputs, (TARGETS if asked.ndim == 2 else SEED): asked}
        returned = dict(zip(names, run_session(ready.session, names, feeds), strict=True))
        return Result(
            {name: returned[name] for name in self._outputs},
            returned[CLASSES],
            returned[SCORES],
            {name: returned[output] for name, output in ready.maps.items()},
            {name: returned[f"weights/{name}"] for name in ready.maps if f"weights/{name}" in returned},
            {name: returned[f"tokens/{name}"] for name in ready.maps if f"tokens/{name}" in returned},
            ready.aliases,
            ready.sources,
            ready.fields,
        )

    def _ready(self, sizes: Sizes, *, single: bool) -> Ready:
        """The session for these sizes, made where there is none yet."""

        def make() -> Ready:
            prepared = self._prepared.sized(dict(sizes))
            proto = self._compiled(prepared, sizes, single=single)
            session = open_session(proto, self._settings, prepared.model.weights)
            outputs = {name: map_output(prepared, name) for name in prepared.maps.names}
            return Ready(session, outputs, prepared.aliases, prepared.maps.sources, fields_of(prepared))

        return self._sessions.get((sizes, single), make)

    def _compiled(self, prepared: Prepared, sizes: Sizes, *, single: bool) -> onnx.ModelProto:
        """The compiled model for these sizes, from the cache where it is there."""
        file = self._cache_file(prepared, sizes, single=single)
        if file is not None and (kept := read_cached(file)) is not None:
            return kept
        proto = compile_light(prepared, weights=True, scores=True, single=single)
        if file is not None:
            try:
                write_model(proto, file)
            except OSError as error:
                warnings.warn(f"the compiled model is not kept: {cannot_write(file.parent, error)}", stacklevel=4)
        return proto

    def _cache_file(self, prepared: Prepared, sizes: Sizes, *, single: bool) -> Path | None:
        """Where a compiled model is kept, by the content of the model and all that shapes it."""
        fingerprint = prepared.fingerprint
        if self._cache is None or fingerprint is None:
            return None
        digest = hashlib.sha256(f"{fingerprint}\n{(sizes, single)!r}".encode()).hexdigest()
        return self._cache / f"{digest[:32]}.onnx"


def read_cached(file: Path) -> onnx.ModelProto | None:
    """A compiled model that was kept; None where there is none, or not a whole one."""
    try:
        proto = onnx.load(file, load_external_data=False)
    except (OSError, DecodeError, onnx.checker.ValidationError):
        return None
    return proto if proto.graph.output else None  # no bytes at all are a message too


def joined(parts: list[Result]) -> Result:
    """Several runs as one."""

    def together(field: str) -> dict[str, np.ndarray]:
        return {name: stacked([getattr(p, field)[name] for p in parts]) for name in getattr(parts[0], field)}

    return Result(
        together("outputs"),
        np.concatenate([p.targets for p in parts]),
        np.concatenate([p.scores for p in parts]),
        together("maps"),
        together("weights"),
        together("tokens"),
        parts[0].aliases,
        parts[0].sources,
        parts[0].fields,
    )
