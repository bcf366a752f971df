"""The batch stands first: checks of what scores and layers have for each image, or for each clip of several frames."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_graphsurgeon as gs

from relcam_onnx.analysis.frames import rows_over
from relcam_onnx.analysis.scores import shape_text
from relcam_onnx.errors import UnsupportedModelError
from relcam_onnx.model import static_shape


def check_batch(scores: gs.Tensor, images: Sequence[gs.Tensor]) -> None:
    """The first axis of each image and of the scores is the batch, or frames of it, as far as the file tells."""
    (rows, *_) = static_shape(scores) or (None,)
    for image in images:
        (batch, *_) = static_shape(image) or (None,)
        if batch and rows and rows % batch and batch % rows:
            raise UnsupportedModelError(
                f"input {image.name!r} {shape_text(image)} and the scores {shape_text(scores)} differ in their "
                "first axis, the batch: export the model with one, (N, ...), that all of it keeps"
            )


def check_frames(name: str, tensor: gs.Tensor, image: gs.Tensor, frames: int) -> None:
    """A map, here of layer ``name``, belongs to an image or a frame, not to a part that is folded into the batch."""
    rows = rows_over(tensor, image)
    if rows > 1 and rows != frames:
        raise UnsupportedModelError(
            f"layer {name!r} has {rows} rows for each image, {shape_text(image)} became {shape_text(tensor)}: maps "
            "of tiles or windows that are folded into the batch are not supported. Name layers outside of that "
            "part, such as 'input'"
        )
