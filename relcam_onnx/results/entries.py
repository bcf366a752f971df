"""The entries of ``results.json`` for one image; docs/output.md shows them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from relcam_onnx.pictures.pixels import Picture
    from relcam_onnx.results.detections import Detection
    from relcam_onnx.results.explanation import Explanation


def picture(explanation: Explanation) -> dict[str, Any]:
    """The picture and its targets; where a model reads several, each of them by its input."""
    shown = explanation.pictures[0] if explanation.pictures else None
    several = {name: described(pictures[0]) for name, pictures in explanation.beside.items()}
    more: dict[str, Any] = {"inputs": several} if several else {}
    if explanation.frames > 1:
        more["frames"] = [picture.file for picture in explanation.pictures]
    return {**(described(shown) if shown else {"file": None}), **more, "targets": targets(explanation)}


def described(shown: Picture) -> dict[str, Any]:
    """Where a picture comes from, and its size."""
    return {"file": shown.file, "width": shown.size[1], "height": shown.size[0]}


def targets(explanation: Explanation) -> list[dict[str, Any]]:
    """Each target: what it is, what the model says, and whether there is evidence."""
    probabilities, margins, found = explanation.probability[0], explanation.margin[0], explanation.detections
    return [
        {
            **(detection(found[0][place]) if found else {}),
            "index": index,
            "label": explanation.label(index),
            "probability": number(probabilities[place]),
            "margin": number(margins[place]),
            "doubt": explanation.doubt(0, place),
        }
        for place, index in enumerate(explanation.classes[0, : explanation.count()].tolist())
    ]


def score(explanation: Explanation, place: int) -> np.floating[Any]:
    """Where relevance of a target started; of the negative class of two that share a score, its negative."""
    scores, index = explanation.rows[0, place], int(explanation.classes[0, place])
    if len(scores) == 1 and explanation.settings.classes == 2:
        return np.float32(scores[0] if index else -scores[0])
    return np.float32(scores[index])


def detection(found: Detection) -> dict[str, Any]:
    """Where a detector sees a target."""
    return {"place": found.place, "box": None if found.box is None else [round(side, 1) for side in found.box]}


def layers(explanation: Explanation, file: str | None) -> dict[str, list[dict[str, Any]]]:
    """The map of each target, by layer, in the NPZ ``file``; what is drawn of it is to be filled in.

    Of a clip one for each frame of each target.
    """
    kept, classes = explanation.relevance_kept, explanation.classes[0, : explanation.count()].tolist()
    tokens = explanation.tokens_kept
    return {
        layer: [
            {
                "target": index,
                **({"frame": frame} if explanation.frames > 1 else {}),
                "file": file,
                "key": layer,
                **figures(explanation.planes(layer, frame, place)),
                "relevance_kept": number(kept[layer][0, place]) if layer in kept else None,
                "tokens_kept": list(map(number, tokens[layer][0, place])) if layer in tokens else None,
                "png": None,
                "mask": None,
            }
            for place, index in enumerate(classes)
            for frame in range(explanation.frames)
        ]
        for layer in explanation.maps
    }


def figures(values: NDArray[Any]) -> dict[str, float | None]:
    """The least, the largest and all of a map."""
    return {
        "minimum": number(values.min()),
        "maximum": number(values.max()),
        "sum": number(values.sum(dtype=np.float64)),
    }


def number(value: np.floating[Any]) -> float | None:
    """A number as JSON has it; None for NaN and infinity."""
    return float(value) if math.isfinite(value) else None
