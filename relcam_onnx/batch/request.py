"""What is asked of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from relcam_onnx.errors import OptionError, check_counts
from relcam_onnx.results.segment import MASS

ENGINES = ("local", "ray")
SHARD = 1000
"""Rows of a shard: what a kill can cost, and what a worker takes at a time."""


@dataclass(frozen=True)
class Request:
    """Many pictures to explain.

    Attributes
    ----------
    model
        The path of the ONNX file; engine ``"ray"`` reads it on each machine.
    sources
        Pictures, folders, globs, tar files and Parquet files, on this machine or as URLs.
    dest
        The folder to write to, or its URL.
    targets
        As `relcam_onnx.explain` takes K of them, the same for every picture; none: the top class, or all that a
        detector detects.
    inputs
        By name what goes with every picture into the model's other inputs, as on the command line.
    where
        Which pictures are explained, by what the model says of them: see `relcam_onnx.batch.where`. None: all.
    preprocess, labels, exact
        As in `relcam_onnx.explain`.
    column
        Which column of Parquet files has the pictures, or their paths; None: the one that looks so.
    sheets
        Whether to write a sheet for each picture too.
    mask_rule
        What masks mark, as in `relcam_onnx.segment`.
    shard
        Rows of each Parquet file that is written, at most.
    batch, threads
        So many pictures at a time, and so many threads at work on the model; None: what suits both.
    max_pixels
        Of a picture that may be read; None: as many as Pillow reads.
    engine
        One of `ENGINES`.
    concurrency, num_gpus, address
        Of engine ``"ray"``: how many workers (None: as many as the cluster has room for), GPUs for each, and the
        cluster (None: the one that ``RAY_ADDRESS`` names, else one on this machine).
    options
        Of `relcam_onnx.Explainer`: layers, method, preset, providers, ...

    Raises
    ------
    OptionError
        A field has a value that is not possible.
    """

    model: str | PathLike[str]
    sources: Sequence[str]
    dest: str
    targets: Sequence[Any] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    where: str | None = None
    preprocess: Any = None
    labels: Any = None
    exact: bool = False
    column: str | None = None
    sheets: bool = False
    mask_rule: str = MASS
    shard: int = SHARD
    batch: int | None = None
    threads: int | None = None
    max_pixels: int | None = None
    engine: str = "local"
    concurrency: int | None = None
    num_gpus: float = 0
    address: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise OptionError(f"no engine is called {self.engine!r}; there are {', '.join(ENGINES)}")
        if self.engine == "local" and (self.concurrency is not None or self.num_gpus or self.address is not None):
            raise OptionError("concurrency, num_gpus and address are for engine 'ray'; the local one is this process")
        check_counts(shard=self.shard, batch=self.batch, threads=self.threads, concurrency=self.concurrency)
