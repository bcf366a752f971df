"""A clip with its map, frame by frame, as one animated picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from relcam_onnx.errors import OptionError

if TYPE_CHECKING:
    from relcam_onnx.results.explanation import Explanation

ANIMATED = {"anim": "WEBP", "anim.gif": "GIF"}
"""Format -> how Pillow calls it; in small letters the suffix of its files."""
PACE = 200
"""Milliseconds a frame."""
LONGEST = 640
"""Pixels on a side: films of photographs are for looking at."""


def check_moving(formats: Sequence[str], frames: int | None) -> None:
    """Hold formats to what a model reads, ``frames`` for each target; None where only a run tells.

    Raises
    ------
    OptionError
        One of them moves, and the pictures are single.
    """
    if frames == 1 and (moving := [form for form in formats if form in ANIMATED]):
        raise OptionError(
            f"format {moving[0]!r} is for clips, pictures that a model reads as frames of one; take 'png'"
        )


def animated(explanation: Explanation, target: int, form: str) -> bytes:
    """The overlays of one clip, N = 1, for one of its targets: the fused map, else the last one.

    Parameters
    ----------
    explanation
        Of a clip, of pictures.
    target
        Which target, by place.
    form
        One of `ANIMATED`.

    Raises
    ------
    OptionError
        Single pictures were explained, or arrays.
    """
    check_moving([form], explanation.frames if explanation.pictures else 1)
    shown = [explanation.overlay(index=frame, target=target) for frame in range(explanation.frames)]
    for image in shown:
        image.thumbnail((LONGEST, LONGEST))
    shown = [image if image.size == shown[0].size else image.resize(shown[0].size) for image in shown]
    file = io.BytesIO()
    shown[0].save(file, ANIMATED[form], save_all=True, append_images=shown[1:], duration=PACE, loop=0)
    return file.getvalue()
