"""What a figure must not fall under or rise over, from options and TOML, and whether it does."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relcam_onnx.audit.figures import Figure
from relcam_onnx.audit.measures import MEASURES
from relcam_onnx.audit.rows import AUDITED
from relcam_onnx.errors import OptionError, nearest

SIDES = ("under", "over")


@dataclass(frozen=True)
class Threshold:
    """A limit for one measure of the audited method, at one layer or at each."""

    name: str
    side: str
    limit: float
    layer: str | None = None

    def fails(self, mean: float) -> bool:
        """Whether a mean is on the wrong side."""
        return mean < self.limit if self.side == "under" else mean > self.limit

    @property
    def said(self) -> str:
        """As on the command line."""
        return f"--fail-{self.side} {self.name}{f'@{self.layer}' if self.layer else ''}={self.limit:g}"


@dataclass(frozen=True)
class Outcome:
    """What came of a threshold: the figures that it is about, and those that it fails."""

    threshold: Threshold
    checked: tuple[Figure, ...]
    failed: tuple[Figure, ...]

    @property
    def passed(self) -> bool:
        """Whether none fails. A threshold that nothing was measured for does not pass: a gate must not open unseen."""
        return bool(self.checked) and not self.failed


def read_thresholds(under: Iterable[str], over: Iterable[str], file: Path | None) -> list[Threshold]:
    """What options and a TOML file say.

    Parameters
    ----------
    under, over
        ``NAME=NUMBER`` or ``NAME@LAYER=NUMBER``; the name of `MEASURES`, or its last part where only one has it.
    file
        TOML: tables ``fail-under`` and ``fail-over``, names to numbers.

    Raises
    ------
    OptionError
        A name is no measure's, or of several; a limit is no number; the file cannot be read, or holds none.
    """
    given = [(side, text) for side, texts in zip(SIDES, (under, over), strict=True) for text in texts]
    found = [parsed(side, *split(text)) for side, text in given]
    if file is None:
        return found
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OptionError(f"thresholds cannot be read from {str(file)!r}: {error}") from error
    known = {f"fail-{side}": side for side in SIDES}
    if strange := sorted(set(tables) - set(known)):
        raise OptionError(f"{str(file)!r}: no table is called {strange[0]!r}; there are {', '.join(known)}")
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise OptionError(f"{str(file)!r}: {name} must be a table of measures and numbers, not {table!r}")
    told = [parsed(side, name, limit) for table, side in known.items() for name, limit in flat(tables.get(table, {}))]
    if not told:  # a gate that nothing can close
        raise OptionError(
            f"{str(file)!r} holds no threshold; write names = numbers in the tables {' and '.join(known)}"
        )
    return found + told


def flat(table: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """Names with dots are tables in TOML unless they are quoted: both mean the same here."""
    found: list[tuple[str, Any]] = []
    for name, value in table.items():
        found += flat(value, f"{before}{name}.") if isinstance(value, dict) else [(before + name, value)]
    return found


def split(text: str) -> tuple[str, str]:
    """``NAME=NUMBER``."""
    name, equals, limit = text.partition("=")
    if not equals:
        raise OptionError(f"a threshold is NAME=NUMBER, such as drift.iou=0.8, not {text!r}")
    return name.strip(), limit.strip()


def parsed(side: str, name: str, limit: Any) -> Threshold:
    """One threshold."""
    measure, _, layer = name.partition("@")
    full = [known for known in MEASURES if measure in (known, known.partition(".")[2])]
    if len(full) != 1:
        several = f"; {' and '.join(full)} are called so" if full else nearest(measure, MEASURES)
        raise OptionError(f"no measure is called {measure!r}{several}; there are {', '.join(MEASURES)}")
    try:
        number = math.nan if isinstance(limit, bool) else float(limit)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):  # which no figure would be on the wrong side of
        raise OptionError(f"threshold {name}={limit!r} is no number")
    return Threshold(full[0], side, number, layer or None)


def check(thresholds: Sequence[Threshold], figures: Sequence[Figure]) -> list[Outcome]:
    """What comes of each threshold: the audited method's means count, at every layer unless one is named."""
    outcomes = []
    for threshold in thresholds:
        own = [f for f in figures if f.name == threshold.name and f.row == AUDITED and f.estimate.size]
        about = tuple(f for f in own if threshold.layer in (None, f.layer))
        outcomes.append(Outcome(threshold, about, tuple(f for f in about if threshold.fails(f.estimate.mean))))
    return outcomes
