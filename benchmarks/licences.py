"""The packages that relcam-onnx brings along, and their licences, as those tell them.

python -m benchmarks.licences            # the table of docs/licences.md
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement

ASKED = "relcam-onnx[cpu]"
PREFIX = "License :: "


def brought(asked: str = ASKED) -> set[str]:
    """The names of all that an installation brings on this machine, by its requirements, without itself."""
    found: set[tuple[str, str]] = set()
    todo = [Requirement(asked)]
    while todo:
        requirement = todo.pop()
        for extra in {"", *requirement.extras}:
            key = (re.sub(r"[-_.]+", "-", requirement.name).lower(), extra)
            if key not in found:
                found.add(key)
                todo += [one for one in needed(requirement.name) if applies(one, extra)]
    return {name for name, _ in found} - {"relcam-onnx"}


def needed(name: str) -> Iterator[Requirement]:
    """What one package requires; none where it is not installed, as other systems' packages are."""
    try:
        requires = distribution(name).requires or []
    except PackageNotFoundError:
        requires = []
    yield from map(Requirement, requires)


def applies(requirement: Requirement, extra: str) -> bool:
    """Whether a requirement holds here, with an extra or without."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def licence(name: str) -> str:
    """A package's licence as it tells it: its expression, else its classifier, else the first line of its text."""
    about = distribution(name).metadata
    classifiers = [c.rpartition(" :: ")[2] for c in about.get_all("Classifier") or [] if c.startswith(PREFIX)]
    text = str(about.get("License") or "").strip().splitlines()
    told = [about.get("License-Expression"), " and ".join(classifiers), *text[:1]]
    return str(next((one for one in told if one), "not told"))


def main() -> int:
    print("| package | licence |\n| --- | --- |")
    for name in sorted(brought()):
        print(f"| {name} | {licence(name)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
