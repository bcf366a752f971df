"""What explains pictures in every engine: one session, and rows out of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import ExitStack
from copy import copy
from dataclasses import asdict
from pathlib import PurePosixPath
from threading import Semaphore
from typing import Any, NamedTuple, Self

import pyarrow as pa

from relcam_onnx import __version__
from relcam_onnx.ahead import AT_ONCE, session_options
from relcam_onnx.batch.entries import Entry
from relcam_onnx.batch.request import Request
from relcam_onnx.batch.rows import as_text, broken, row, table
from relcam_onnx.batch.shards import SHEETS, Piece
from relcam_onnx.batch.where import Condition
from relcam_onnx.canon.constants import SILENT
from relcam_onnx.errors import OptionError, RelcamError
from relcam_onnx.explainer import Explainer
from relcam_onnx.explaining import PictureExplainer
from relcam_onnx.files import plain, shortened
from relcam_onnx.pictures.finding import Failed
from relcam_onnx.pictures.labels import notes_on
from relcam_onnx.pictures.reading import allowing
from relcam_onnx.results.explanation import Explanation
from relcam_onnx.results.segment import read_rule
from relcam_onnx.results.sheet import encoded
from relcam_onnx.sources import Ready

PIECE = 4
"""Pictures at a time where nothing says otherwise: more gains no speed on a processor."""


class Made(NamedTuple):
    """A piece with its rows, and the pictures of it that failed."""

    piece: Piece
    table: pa.RecordBatch
    failed: list[Failed]


class Worker:
    """Explains pieces of a request, several at a time if need be; to be closed.

    Parameters
    ----------
    request
        What is asked for.
    write
        Writes a sheet: its name below the destination, and its bytes.

    Raises
    ------
    RelcamError
        The model or an option is at fault.
    """

    def __init__(self, request: Request, write: Callable[[str, bytes], None]) -> None:
        self.request, self._write = request, write
        read_rule(request.mask_rule)
        condition = None if request.where is None else Condition(request.where)
        cores = request.threads or os.cpu_count() or 1
        # The eager walk's products have threads of their own, which would wait for each other.
        runs = 1 if request.options.get("backend") == "eager" else min(AT_ONCE, cores)
        options = {"session_options": session_options(cores, runs, SILENT), **request.options}
        with ExitStack() as stack:
            stack.enter_context(allowing(request.max_pixels))
            explainer = stack.enter_context(
                Explainer(request.model, preprocess=request.preprocess, labels=request.labels, **options)
            )
            self.pictorial = PictureExplainer(
                explainer, request.preprocess, request.labels, exact=request.exact, inputs=request.inputs
            )
            if self.pictorial.frames != 1:
                raise OptionError(
                    "this model takes clips, and each picture of a batch is explained alone: relcam explain"
                )
            self._targets = self.pictorial.indices(list(request.targets)) or None
            self.notes = notes_on(request.targets, self.pictorial.labels)
            self._where = None if condition is None else Forecast(condition, self.pictorial)
            self._closing = stack.pop_all()
        self.at_once = runs + max(1, cores // 2)
        """Pieces at a time: more than the model runs on, so that it need not wait for pictures."""
        self._running = Semaphore(runs)

    @property
    def batch(self) -> int:
        """Pictures of a piece."""
        return self.request.batch or self.pictorial.explainer.prepared.clips or PIECE

    def asked(self, listing: str) -> dict[str, Any]:
        """What decides the rows, as the destination keeps it; ``listing`` stands for the source."""
        request, options = self.request, asdict(self.pictorial.settings)
        print_of = self.pictorial.explainer.prepared.fingerprint
        return {
            "version": __version__,
            "model": options.pop("model"),
            "sha256": options.pop("sha256"),
            "sources": list(request.sources),
            "listing": listing,
            "shard": request.shard,
            "targets": [str(target) for target in request.targets],
            "inputs": dict(request.inputs),
            "where": request.where,
            "column": request.column,
            "sheets": request.sheets,
            "exact": request.exact,
            "mask_rule": request.mask_rule,
            "max_pixels": request.max_pixels,
            "labels": None if self.pictorial.labels is None else _digest(repr(list(self.pictorial.labels))),
            "engine": None if print_of is None else _digest(print_of),
            "samples": request.options.get("samples"),
            "random_state": request.options.get("random_state"),
            "options": options,
        }

    def __call__(self, piece: Piece) -> Made:
        """The rows of a piece."""
        read = [self._tried(entry) for entry in piece.entries]
        with self._running:
            explained = self._explained(read) if read else []  # a part without rows
        made, failed = [], []
        for place, (entry, result) in enumerate(zip(piece.entries, explained, strict=True)):
            try:
                if isinstance(result, Exception):
                    raise result
                sheet = self._sheet(piece, piece.start + place, entry, result)
                made.append(row(entry, result, self.request.mask_rule, sheet))
            except OptionError:
                raise  # nothing can be written
            except Exception as error:  # whatever is wrong with one picture, the others go on
                why = str(error) if isinstance(error, RelcamError) else f"{type(error).__name__}: {error}"
                made.append(broken(entry, as_text(why)))
                failed.append(Failed(entry.name, why))
        return Made(piece, table(made), failed)

    def _tried(self, entry: Entry) -> list[Ready] | Exception:
        """A picture that was read, or what is wrong with it."""
        try:
            return self.pictorial.tried(entry.read())
        except Exception as error:  # as in `__call__`
            return error

    def _explained(self, read: list[list[Ready] | Exception]) -> list[Explanation | Exception]:
        """Those that are asked for explained; of the others what the model says."""
        if self._where is None:
            return self.pictorial.explained(read, self._targets)
        results = self._where.forecast(read, self._targets)
        chosen = [place for place, said in enumerate(results) if self._where.wants(said)]
        explained = self.pictorial.explained([read[place] for place in chosen], self._targets)
        for place, result in zip(chosen, explained, strict=True):
            results[place] = result
        return results

    def _sheet(self, piece: Piece, number: int, entry: Entry, explanation: Explanation) -> str | None:
        """Write the sheet of a picture, where one is wanted: its file."""
        if not self.request.sheets or not explanation.maps.drawable:
            return None
        stem = plain(PurePosixPath(entry.member or entry.file).stem)
        name = f"{SHEETS}/{piece.file.removesuffix('.parquet')}/{shortened(f'{number:06}-{as_text(stem)}')}.jpg"
        self._write(name, encoded(explanation.sheet()))
        return name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.close()


class Forecast:
    """The forward pass alone, and whether what it says is asked for."""

    def __init__(self, condition: Condition, pictorial: PictureExplainer) -> None:
        if "label" in condition.names and not pictorial.labels:
            raise OptionError(f"--where {condition.text!r} asks for labels, and the model has none; give --labels")
        self._condition, self._forward = condition, copy(pictorial)
        self._forward.explainer = pictorial.explainer.forward()

    def forecast(self, read: list[list[Ready] | Exception], targets: Any) -> list[Explanation | Exception]:
        """What the model says of each picture."""
        return self._forward.explained(read, targets)

    def wants(self, said: Explanation | Exception) -> bool:
        """Whether a picture is to be explained."""
        return isinstance(said, Explanation) and self._condition.holds(said)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
