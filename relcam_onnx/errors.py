"""The errors that users see. Each says what was given, what is possible and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any


class RelcamError(ValueError):
    """The base of every error that relcam-onnx raises on purpose."""


class ModelFileError(RelcamError):
    """The model cannot be read: missing, truncated, no ONNX, or its external data is out of reach."""


class UnsupportedModelError(RelcamError):
    """The model holds what relevance cannot pass; the message tells each cause and counts its nodes.

    Attributes
    ----------
    nodes
        Every node that stands in the way, with the reason; empty where it is no node.
    """

    def __init__(self, message: str, *, nodes: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.nodes = nodes


class LayerError(RelcamError):
    """A layer was named that the model does not have, or that has no map under this method."""


class TargetError(RelcamError):
    """A target is no class of the model, or the targets do not fit the batch."""


class InputError(RelcamError):
    """An input has the wrong name, dtype, shape or values, or a picture cannot be read."""


class OptionError(RelcamError):
    """An option (preset, method, seed, provider, ...) has a value that does not exist or does not fit."""


@contextmanager
def all_told(doing: str) -> Iterator[None]:
    """Whatever fails within is a `RelcamError`, its cause kept: a damaged file may fail where no check foresaw it.

    For ``with``: a decorator would stand between a warning and the line of the caller that it names.

    Raises
    ------
    UnsupportedModelError
        For every other exception; warnings that are made errors stay what they are.
    """
    try:
        yield
    except (RelcamError, Warning):
        raise
    except MemoryError as error:
        raise UnsupportedModelError(
            f"{doing} needs more memory than there is ({error}): ask for fewer samples=, or with max_batch= and "
            "max_targets= for less at a time; a damaged file may ask for too much, too"
        ) from error
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        raise UnsupportedModelError(
            f"{doing} failed ({type(error).__name__}: {reason}); the file may be damaged: onnx.checker.check_model "
            "tells. If it is not, an op or rule of your own may be wrong, or relcam-onnx lacks something: report that "
            "with the whole traceback"
        ) from error


def check_counts(**counts: Any) -> None:
    """Hold options that count something, by name, to whole numbers from 1 on; None is left to whoever decides.

    Raises
    ------
    OptionError
        One is anything else.
    """
    for name, count in counts.items():
        if count is not None and (not isinstance(count, Integral) or count < 1):
            raise OptionError(f"{name} must be a whole number, at least 1, not {count!r}")


def as_texts(what: str, given: Any) -> tuple[str, ...]:
    """An option that takes one text or several; `OptionError` where it is anything else."""
    several = (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    if not all(isinstance(text, str) for text in several):
        raise OptionError(f"{what} must be a text, or a list of texts, not {given!r}")
    return several


def index_among(what: str, index: Any, count: int) -> int:
    """The place, from 0 on, of one of so many; negative ones are counted from the end.

    Raises
    ------
    InputError
        There is none.
    """
    if not isinstance(index, Integral) or not -count <= int(index) < count:
        raise InputError(f"there is no {what} {index!r}: {count} were explained, counted from 0")
    return int(index) % count


def nearest(name: str, names: Iterable[str], most: int = 3) -> str:
    """``" (did you mean 'a' or 'b'?)"`` for the names closest to ``name``, or an empty string."""
    close = difflib.get_close_matches(str(name), list(dict.fromkeys(names)), n=most, cutoff=0.5)
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
