"""What was measured, line by line, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeAlias

Values: TypeAlias = Mapping[str, float]
"""Measure -> value, of one row, layer and item."""
Found: TypeAlias = dict[str, dict[str, dict[str, float]]]
"""Row -> layer -> measure -> value."""


class Store:
    """A file of JSON lines: ``[experiment, source, item, {row: {layer: {measure: value}}}]``.

    Parameters
    ----------
    file
        Lines of an earlier run stay; the last one is dropped where it was cut off.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.lines: list[tuple[str, str, str, Found]] = []
        if file.exists():
            text = file.read_text(encoding="utf-8")
            for line in text.splitlines():
                try:
                    experiment, source, item, found = json.loads(line)
                except ValueError:
                    break
                self.lines.append((experiment, source, item, found))
            file.write_text("".join(f"{json.dumps(line)}\n" for line in self.lines), encoding="utf-8")
        self._done = {line[:3] for line in self.lines}

    def has(self, experiment: str, source: str, item: str) -> bool:
        """Whether something was measured already."""
        return (experiment, source, item) in self._done

    def add(self, experiment: str, source: str, item: str, found: Mapping[str, Mapping[str, Values]]) -> None:
        """Keep what was measured."""
        line = (experiment, source, item, {r: {k: dict(v) for k, v in row.items()} for r, row in found.items()})
        self.lines.append(line)
        self._done.add(line[:3])
        with self._file.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(line)}\n")

    def forget(self, items: Collection[str]) -> None:
        """Leave out what was measured of some; the file keeps it."""
        self.lines = [line for line in self.lines if line[2] not in items]

    def values(self, experiment: str, measure: str) -> dict[str, dict[str, dict[str, float]]]:
        """Row -> layer -> item -> value."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for name, _, item, rows in self.lines:
            for row, layers in rows.items() if name == experiment else ():
                for layer, values in layers.items():
                    if measure in values:
                        found.setdefault(row, {}).setdefault(layer, {})[item] = values[measure]
        return found
