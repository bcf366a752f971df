"""What an earlier run left in the folder of results."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

ABOUT_ALL = {"html": "index.html", "coco": "regions.json"}
"""Format -> its file about all pictures of a run."""


def remove_earlier(folder: Path, formats: Collection[str]) -> None:
    """Remove files about all pictures of an earlier run that this one does not write anew: they tell of others.

    What the ``results.json`` that is there does not name as its own stays.

    Raises
    ------
    OSError
        One cannot be removed.
    """
    try:
        before = json.loads((folder / "results.json").read_text(encoding="utf-8"))["options"]["formats"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    for form, name in ABOUT_ALL.items():
        if form in before and form not in formats:
            (folder / name).unlink(missing_ok=True)
