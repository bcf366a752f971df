"""Units explained in this process, step by step: engine ``local``, and what each worker of another engine does."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from relcam_onnx.ahead import ahead
from relcam_onnx.batch.shards import pieces, write_shard
from relcam_onnx.batch.stores import Folder
from relcam_onnx.batch.units import Unit
from relcam_onnx.batch.worker import Worker
from relcam_onnx.pictures.finding import Failed


class Step(NamedTuple):
    """What was done since the step before: pictures, bytes of the source, shards, and pictures that failed."""

    pictures: int
    size: float
    shards: int
    failed: Sequence[Failed]


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes
    ----------
    units
        All of them.
    left
        Those that are not complete: number -> shards that are there.
    notes
        What is to be said beforehand.
    """

    units: Sequence[Unit]
    left: dict[int, int]
    notes: Sequence[str] = ()

    @property
    def work(self) -> list[tuple[Unit, int]]:
        """These units, each with the number of its shards that are there."""
        return [(self.units[number], done) for number, done in self.left.items()]

    @property
    def size(self) -> int:
        """Bytes of the source that are left to do."""
        return sum(self.units[number].size for number in self.left)


def steps(worker: Worker, folder: Folder, left: Iterable[tuple[Unit, int]]) -> Generator[Step]:
    """Explain units in order, from the shard on that is given with each, and write their shards.

    Pictures are decoded and explained in a few threads while shards before theirs are written.
    """
    request, tables = worker.request, []
    jobs = (partial(worker, piece) for unit, done in left for piece in pieces(unit, request.shard, worker.batch, done))
    with closing(ahead(jobs, worker.at_once)) as results:
        for piece, table, failed in results:
            tables.append(table)
            if piece.full:
                write_shard(folder, piece, tables)
                tables = []
            yield Step(len(piece.entries), sum(entry.weight for entry in piece.entries), int(piece.full), failed)
