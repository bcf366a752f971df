"""The batch stands first, and a map belongs to one image: checks of what scores and layers have for each."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_graphsurgeon as gs

from relcam_onnx.analysis.scores import shape_text
from relcam_onnx.errors import UnsupportedModelError
from relcam_onnx.model import rows_per_image, static_shape


def check_batch(scores: gs.Tensor, images: Sequence[gs.Tensor]) -> None:
    """The first axis of each image and of the scores is the batch, as far as the file tells."""
    (rows, *_) = static_shape(scores) or (None,)
    for image in images:
        (batch, *_) = static_shape(image) or (None,)
        if batch and rows and rows % batch:
            raise UnsupportedModelError(
                f"input {image.name!r} {shape_text(image)} and the scores {shape_text(scores)} differ in their "
                "first axis, the batch: export the model with one, (N, ...), that all of it keeps"
            )


def check_frames(name: str, tensor: gs.Tensor, images: Sequence[gs.Tensor]) -> None:
    """A map, here of layer ``name``, belongs to an image, not to a part of it that is folded into the batch."""
    for image in images[:1]:
        if (rows := rows_per_image(tensor, image)) > 1:
            raise UnsupportedModelError(
                f"layer {name!r} has {rows} rows for each image, {shape_text(image)} became {shape_text(tensor)}: maps "
                "of frames or tiles that are folded into the batch are not supported. Name layers outside of that "
                "part, such as 'input', or export the model for one frame"
            )
