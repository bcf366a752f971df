"""Many pictures: folders, tar and Parquet files, here or in object stores, explained into Parquet, resumably."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from relcam_onnx.batch.request import Request
from relcam_onnx.extras import require

if TYPE_CHECKING:
    from relcam_onnx.batch.run import Summary
    from relcam_onnx.batch.steps import Plan, Step

__all__ = ["Request", "explain_batch"]


def explain_batch(
    request: Request, shown: Callable[[Iterable[Step], Plan], Iterable[Step]] = lambda steps, plan: steps
) -> Summary:
    """Explain many pictures into a folder of Parquet files; goes on where an interrupted run of the same stopped.

    Parameters
    ----------
    request
        What is asked for.
    shown
        Gets what is done, step by step, and what is to be done, and gives the steps back: a place to show progress.

    Returns
    -------
    Summary
        How many pictures and shards, and how many failed.

    Raises
    ------
    RelcamError
        Nothing could be done: the model, an option, a source or the folder is at fault.
    """
    require("relcam batch needs", "batch", "pyarrow", "fsspec")
    from relcam_onnx.batch.run import run  # noqa: PLC0415 - the extra may be missing

    return run(request, shown)
