"""The table of what is explained: ``python -m benchmarks.coverage [NAME...] [--again] [--write]``.

Each case runs in a process of its own and is kept in ``build/coverage.jsonl``, so that a run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from queue import Empty
from typing import Any

from benchmarks.coverage.cases import Case, cases
from benchmarks.coverage.page import PAGE, page

KEPT = Path(__file__).parents[2] / "build" / "coverage.jsonl"
SECONDS = 600


def tried(case: Case, told: multiprocessing.Queue[dict[str, Any]]) -> None:
    """In a process of its own: what came of a case, or why not."""
    import torch  # noqa: PLC0415 - in the child alone, whose memory goes with it

    from benchmarks.coverage.checks import check  # noqa: PLC0415
    from benchmarks.coverage.weights import calm  # noqa: PLC0415

    torch.set_num_threads(1)
    at = ["build"]
    try:
        x = case.pictures()
        found = check(calm(case.build(), x, 0), x, at.append)
        told.put({"found": found._asdict()})
    except Exception as error:  # every library fails in its own way, and a record says how
        reason = str(error.__cause__ or error).strip().splitlines() or [""]
        left = getattr(error, "__notes__", [])
        told.put({"failed": at[-1], "error": f"{type(error).__name__}: {reason[0][:300]}", "left": left})


def record(case: Case) -> dict[str, Any]:
    """A case's line."""
    context = multiprocessing.get_context("fork")
    told: Any = context.Queue()
    began = time.time()
    process = context.Process(target=tried, args=(case, told))
    process.start()
    try:
        line: dict[str, Any] = told.get(timeout=SECONDS)
    except Empty:
        line = {"failed": "time", "error": f"longer than {SECONDS} s"}
    process.terminate()
    process.join()
    return {"name": case.name, "family": case.family, "size": case.size, "seconds": round(time.time() - began), **line}


def kept() -> dict[str, dict[str, Any]]:
    """Name -> line, the last of each."""
    lines = KEPT.read_text(encoding="utf-8").splitlines() if KEPT.exists() else []
    return {line["name"]: line for line in map(json.loads, lines)}


def chosen(names: Sequence[str]) -> list[Case]:
    """The cases of these names, which may have wildcards; all where none is given."""
    return [case for case in cases() if not names or any(fnmatchcase(case.name, name) for name in names)]


def main() -> None:
    """Run what has not run, and write the page if asked to."""
    parser = argparse.ArgumentParser(description="What is explained, network by network.")
    parser.add_argument("names", nargs="*", help="networks, wildcards allowed; all of them where none is named")
    parser.add_argument("--again", action="store_true", help="also those that were run before")
    parser.add_argument("--failed", action="store_true", help="also those that failed before")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    done = kept()
    for case in chosen(options.names):
        before = done.get(case.name)
        if before is not None and not options.again and not (options.failed and "failed" in before):
            continue
        line = record(case)
        with KEPT.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(line)}\n")
        print(json.dumps(line)[:200], file=sys.stderr, flush=True)
    if options.write:
        PAGE.write_text(page(list(kept().values())), encoding="utf-8")


if __name__ == "__main__":
    main()
