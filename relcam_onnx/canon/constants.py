"""What only the file decides becomes a constant.

That is Shape of static sizes, Gather and Concat chains, ConstantOfShape, dequantised weights.
"""

from __future__ import annotations

import warnings

from onnx_graphsurgeon.logger import G_LOGGER

from relcam_onnx.graph import Model


def fold_constants(model: Model) -> None:
    """onnx-graphsurgeon evaluates constant subgraphs with onnxruntime."""
    with G_LOGGER.suppress(G_LOGGER.CRITICAL), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.graph.fold_constants()
    model.graph.cleanup(remove_unused_graph_inputs=False)
