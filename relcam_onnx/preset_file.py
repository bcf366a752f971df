"""A preset from what a user gives: a name, a `Preset`, or a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from relcam_onnx.errors import OptionError, nearest
from relcam_onnx.presets import Preset, preset
from relcam_onnx.rules import RULES, Rule


def resolve(given: str | Path | Preset | None, method: str | None) -> Preset:
    """What `Explainer` was given as a preset: a name, a TOML file, a `Preset`, or None for the method's own."""
    if isinstance(given, Preset):
        return given
    if given is None:
        return preset("gradient" if method == "grad-cam" else "default")
    if isinstance(given, Path) or str(given).endswith(".toml"):
        return read_toml(Path(given))
    return preset(given)


def read_toml(path: Path) -> Preset:
    """A preset from a TOML file; docs/methods.md has an example.

    Raises
    ------
    OptionError
        The file cannot be read, or a key, rule or parameter in it does not exist.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OptionError(f"preset file {str(path)!r} cannot be read: {error}") from error
    known = {"name", "seed", "method", "fold_batch_norm", "rules"}
    if unknown := sorted(set(table) - known):
        raise OptionError(
            f"preset file {str(path)!r}: no key {', '.join(unknown)}; there are {', '.join(sorted(known))}"
        )
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
    takes = [f.name for f in fields(RULES[name])]  # type: ignore[arg-type]
    if unknown := sorted(set(parameters) - set(takes)):
        raise OptionError(f"{where}: rule {name!r} has no parameter {', '.join(unknown)}; it takes {', '.join(takes)}")
    lists = {k: tuple(v) if isinstance(v, list) else v for k, v in parameters.items()}
    return match, RULES[name](**lists)
