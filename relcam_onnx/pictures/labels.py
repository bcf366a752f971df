"""The names of a model's classes: where they are written down, and which class a name means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from relcam_onnx.errors import OptionError, TargetError, nearest
from relcam_onnx.pictures import other_tools

MOST_SHOWN = 5
"""So many candidates an error lists."""


def find_labels(
    option: Sequence[str] | Mapping[Any, str] | str | Path | None,
    metadata: Mapping[str, str],
    folder: Path | None,
) -> list[str] | None:
    """Find the names of the classes.

    Parameters
    ----------
    option
        The user's: a list, a mapping from index to label, or the path of a .json file with either, or of a
        text file with one label a line.
    metadata
        The file's ``metadata_props``: ``relcam.labels`` counts first, then Ultralytics' ``names``.
    folder
        Where the model lies: Hugging Face's ``config.json`` is looked for there.

    Returns
    -------
    list or None
        One label per class, None where nothing names them.

    Raises
    ------
    OptionError
        What is written down is malformed, or the indices are not 0, 1, 2, ...; the message says where.
    """
    if isinstance(option, str | Path):
        return _from_file(Path(option))
    if option is not None:
        return _as_list(option, "labels")
    for key in ("relcam.labels", "names"):
        if key in metadata:
            return _as_list(other_tools.parse_literal(metadata[key], f"metadata {key}"), f"metadata {key}")
    config, source = other_tools.beside(folder, "config.json")
    if "id2label" in config:
        return _as_list(config["id2label"], f"{source}: id2label")
    return _timm(config, source)


def _from_file(path: Path) -> list[str]:
    if not path.is_file():
        raise OptionError(f"labels: {path} is no file; give a .txt file with one label a line, or a .json file")
    text = other_tools.read_text(path)
    if path.suffix.lower() == ".json":
        return _as_list(other_tools.parse_literal(text, str(path)), str(path))
    labels = [line.strip() for line in text.rstrip().splitlines()]
    if not labels:
        raise OptionError(f"labels: {path} is empty; write one label a line")
    return labels


def _timm(config: Mapping[str, Any], source: str) -> list[str] | None:
    """Read ``label_names``; where those are codes, ``label_descriptions`` says what they mean."""
    within = config.get("pretrained_cfg")
    places = [place for place in (config, within) if isinstance(place, dict) and "label_names" in place]
    if not places:
        return None
    labels = _as_list(places[0]["label_names"], f"{source}: label_names")
    meanings = places[0].get("label_descriptions")
    return [str(meanings.get(label, label)) for label in labels] if isinstance(meanings, dict) else labels


def _as_list(labels: object, source: str) -> list[str]:
    if isinstance(labels, Mapping):
        by_index = {str(index): label for index, label in labels.items()}
        if set(by_index) != set(map(str, range(len(by_index)))):
            raise OptionError(f"{source}: the indices of {len(by_index)} labels must be 0 to {len(by_index) - 1}")
        labels = [by_index[str(index)] for index in range(len(by_index))]
    if not isinstance(labels, list | tuple) or not labels:
        raise OptionError(f"{source}: labels must be a list or a mapping from index to label, and not empty")
    return [str(label) for label in labels]


def find_label(text: str, labels: Sequence[str] | None) -> list[int]:
    """Resolve what a user calls a class.

    Parameters
    ----------
    text
        A label in any letter case, or an index (negative: a rank, -1 the top class). A number is the whole label of
        the one class that has it, else an index. Anything else is a whole label, one of a label's comma-separated
        names, or else whole words of it, or what a word of it begins with, that only one label has.
    labels
        As `find_labels` gives them.

    Returns
    -------
    list of int
        One index; several only where several classes have exactly that label (ImageNet has two "crane").

    Raises
    ------
    TargetError
        No label fits, or a part fits several.
    """
    wanted = text.strip().lower()
    if (index := _as_index(wanted)) is not None:
        return [index] if (own := _numbered(wanted, labels)) is None else [own]
    if labels is None:
        raise TargetError(f"target {text!r} is no index and the model has no labels; give labels= (--labels)")
    if exact := called(text, labels):
        return exact
    names = names_of(labels)
    partial: list[int] = []
    for words in (rf"(?<!\w){re.escape(wanted)}(?!\w)", rf"(?<!\w){re.escape(wanted)}"):
        partial = partial or [index for index, each in enumerate(names) if wanted and re.search(words, each[0])]
    if len(partial) == 1:
        return partial
    if partial:
        shown = ", ".join(f"{index} {labels[index]!r}" for index in partial[:MOST_SHOWN])
        more = ", ..." if len(partial) > MOST_SHOWN else ""
        raise TargetError(f"target {text!r} fits {len(partial)} labels ({shown}{more}); name one, or its index")
    hint = nearest(wanted, {name: None for each in names for name in each[1:]}, MOST_SHOWN)
    raise TargetError(f"target {text!r} is no label of this model's {len(labels)}{hint}; an index works too")


def notes_on(targets: Iterable[object], labels: Sequence[str] | None) -> list[str]:
    """What is to be said of targets that could have meant another class."""
    texts = (target for target in targets if isinstance(target, str))
    return [taken for text in texts if (taken := which_was_taken(text, labels))]


def which_was_taken(text: str, labels: Sequence[str] | None) -> str | None:
    """What was made of a number that is one class's label and another one's index; None where it is not both."""
    index, own = _as_index(text), _numbered(text.strip().lower(), labels)
    if labels is None or index is None or own in (None, index) or not -len(labels) <= index < len(labels):
        return None
    other = (
        f"the class of index {index} is called {labels[index]!r}" if index >= 0 else f"rank {index} is not asked for"
    )
    return f"target {text.strip()!r} is the label of class {own}, which is taken; {other}"


def _as_index(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _numbered(wanted: str, labels: Sequence[str] | None) -> int | None:
    """The one class whose whole label a number is; not what stands between commas, as in "2,5 kg"."""
    found = [index for index, label in enumerate(labels or ()) if label.strip().lower() == wanted]
    return found[0] if len(found) == 1 else None


def called(text: str, labels: Sequence[str]) -> list[int]:
    """The classes that have exactly this label, in any letter case, else those with it among several between commas."""
    wanted, names = text.strip().lower(), names_of(labels)
    for candidates in ([each[:1] for each in names], names):
        if exact := [index for index, each in enumerate(candidates) if wanted in each]:
            return exact
    return []


def names_of(labels: Sequence[str]) -> list[list[str]]:
    """Of each class its label, and what stands between commas in it."""
    return [[label.lower(), *map(str.strip, label.lower().split(","))] for label in labels]


def one_label(text: str, labels: Sequence[str] | None) -> int:
    """The one class, or rank, that a user names; `TargetError` also where several have that label."""
    return only(text, find_label(text, labels))


def only(text: str, classes: Sequence[int]) -> int:
    """The one of the classes that are called so; `TargetError` where there are several."""
    if len(classes) > 1:
        several = ", ".join(map(str, classes))
        raise TargetError(f"target {text!r} is the label of {len(classes)} classes: {several}; give an index")
    return classes[0]
