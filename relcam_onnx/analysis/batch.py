"""How many rows tensors have for each image: more than one where frames or tiles are folded into the batch."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from relcam_onnx.model import static_shape


def rows_per_image(tensor: gs.Tensor, image: gs.Tensor) -> int:
    """By what the leading size of a tensor exceeds the image input's: 1 as a rule, and where nothing tells."""
    if not tensor.shape or not image.shape:
        return 1
    batch, rows = image.shape[0], tensor.shape[0]
    if isinstance(batch, str) and isinstance(rows, str):
        # How `relcam_onnx.canon.size_rules` writes what a Reshape makes of a free batch.
        return int(rows.removesuffix(f"*{batch}")) if rows.endswith(f"*{batch}") else 1
    (fixed, *_), (leading, *_) = static_shape(image) or (None,), static_shape(tensor) or (None,)
    return leading // fixed if fixed and leading and leading % fixed == 0 else 1
