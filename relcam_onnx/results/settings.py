"""What an explanation was made with, kept with it and in ``results.json``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from relcam_onnx.lrp.maps import MapSource
from relcam_onnx.pictures.preprocess import Preprocess


@dataclass(frozen=True)
class Settings:
    """What an explanation was made with.

    Attributes
    ----------
    model
        The path as it was given, None for bytes and protos.
    sha256
        Hex digest of the model file, and of what it keeps beside it.
    layers
        Which maps, in order.
    method, preset, seed, output, backend
        As in `Explainer`, every None resolved.
    classes
        How many the model tells apart; None where only a run knows.
    head
        What the model does: "classifier", "segmenter" or "detector"; "embedding" where it is asked what is like.
    preprocess
        What was done to the pictures; None where arrays were given.
    """

    model: str | None
    sha256: str
    layers: tuple[MapSource, ...]
    method: str
    preset: str
    seed: str
    output: str
    backend: str
    classes: int | None
    head: str = "classifier"
    preprocess: Preprocess | None = None

    def told(self) -> dict[str, Any]:
        """As ``results.json`` tells it."""
        return {**asdict(self), "layers": [source.told() for source in self.layers]}
