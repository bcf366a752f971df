"""A preset from what a user gives: a name, a `Preset`, or a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from relcam_onnx.errors import OptionError, nearest
from relcam_onnx.lrp.methods import METHODS
from relcam_onnx.lrp.presets import Preset, preset
from relcam_onnx.rules import RULES, Rule

_KINDS = {"name": str, "seed": str, "method": str, "fold_batch_norm": bool}
"""What a preset's file may set besides its rules."""


def resolve(asked: str | Path | Preset | None, method: str | None) -> Preset:
    """What `Explainer` was given as a preset: a name, a TOML file, a `Preset`, or None for the method's own."""
    if isinstance(asked, Preset):
        return asked
    if asked is None:
        return preset("gradient" if method in METHODS and METHODS[method].needs_gradient else "default")
    if isinstance(asked, Path) or str(asked).endswith(".toml"):
        return read_toml(Path(asked))
    return preset(asked)


def read_toml(path: Path) -> Preset:
    """A preset from a TOML file; docs/methods.md has an example.

    Raises
    ------
    OptionError
        The file cannot be read, a key, rule or parameter in it does not exist, or a parameter has another range.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OptionError(f"preset file {str(path)!r} cannot be read: {error}") from error
    allowed = {*_KINDS, "rules"}
    if unknown := sorted(set(table) - allowed):
        raise OptionError(
            f"preset file {str(path)!r}: no key {', '.join(unknown)}; there are {', '.join(sorted(allowed))}"
        )
    for key, kind in _KINDS.items():
        if not isinstance(table.get(key, kind()), kind):
            raise OptionError(f"preset file {str(path)!r}: {key} must be a {kind.__name__}, not {table[key]!r}")
    entries = table.pop("rules", [])
    if not isinstance(entries, list) or not entries:
        raise OptionError(f"preset file {str(path)!r}: no [[rules]]; each needs match = and rule =")
    rules = tuple(_entry(path, number, entry) for number, entry in enumerate(entries, 1))
    return Preset(**{"name": path.stem, **table, "rules": rules})


def _entry(path: Path, number: int, entry: Mapping[str, Any]) -> tuple[str, Rule]:
    """One [[rules]] table."""
    where = f"preset file {str(path)!r}, rule {number}"
    parameters = dict(entry)
    match, name = parameters.pop("match", None), parameters.pop("rule", None)
    if not isinstance(match, str) or not isinstance(name, str):
        raise OptionError(f"{where}: match = and rule = must both be texts")
    if name not in RULES:
        raise OptionError(f"{where}: no rule is called {name!r}{nearest(name, RULES)}; there are {', '.join(RULES)}")
    takes = [field.name for field in fields(RULES[name])]  # type: ignore[arg-type]
    if unknown := sorted(set(parameters) - set(takes)):
        raise OptionError(f"{where}: rule {name!r} has no parameter {', '.join(unknown)}; it takes {', '.join(takes)}")
    try:
        return match, RULES[name](**{k: tuple(v) if isinstance(v, list) else v for k, v in parameters.items()})
    except OptionError as error:
        raise OptionError(f"{where}: {error}") from error
