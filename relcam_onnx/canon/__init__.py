"""Rewrites that bring ``model.graph`` into the one form that ops know.

Each is one file, and none touches ``model.proto``.
"""

from __future__ import annotations

from relcam_onnx.canon.affine import merge_affine
from relcam_onnx.canon.batch_norm import fold_batch_norm
from relcam_onnx.canon.bias import attach_bias
from relcam_onnx.canon.gated import name_gated_activations
from relcam_onnx.canon.identity import drop_identities
from relcam_onnx.canon.sizes import infer_sizes
from relcam_onnx.canon.split import slice_splits
from relcam_onnx.canon.stacks import combine_stacks
from relcam_onnx.model import Model


def canonicalise(model: Model, *, batch_norm: bool) -> None:
    """Rewrite ``model.graph`` in place; ``batch_norm`` folds batch normalisation into the layers before it."""
    infer_sizes(model)
    drop_identities(model)
    combine_stacks(model)
    name_gated_activations(model)
    slice_splits(model)
    attach_bias(model)
    merge_affine(model)
    if batch_norm:
        fold_batch_norm(model)
    model.graph.cleanup(remove_unused_graph_inputs=False).toposort()


__all__ = ["canonicalise"]
