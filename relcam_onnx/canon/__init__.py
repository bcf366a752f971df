"""Rewrites that bring ``model.graph`` into one form for all spellings of a function.

Each is one file, and none touches ``model.proto``.
"""

from __future__ import annotations

from relcam_onnx.canon.activations import name_activations
from relcam_onnx.canon.averages import join_pools, join_reductions
from relcam_onnx.canon.blocks import name_blocks
from relcam_onnx.canon.contractions import name_contractions
from relcam_onnx.canon.dilated import name_dilated
from relcam_onnx.canon.dividing import divide_first
from relcam_onnx.canon.einsums import name_einsums, name_products
from relcam_onnx.canon.elus import name_elus
from relcam_onnx.canon.exponentials import name_log_sums, name_softmaxes
from relcam_onnx.canon.fixed import name_fixed
from relcam_onnx.canon.folding import fold_affine
from relcam_onnx.canon.fronting import front_batch
from relcam_onnx.canon.groups import name_groups
from relcam_onnx.canon.identity import drop_identities, merge_twins
from relcam_onnx.canon.inner import drop_inner_outputs
from relcam_onnx.canon.leading import batch_first
from relcam_onnx.canon.lifting import lift_constants
from relcam_onnx.canon.masks import name_masks
from relcam_onnx.canon.norms import name_norms
from relcam_onnx.canon.padding import absorb_padding, name_padding
from relcam_onnx.canon.pairs import name_pairs
from relcam_onnx.canon.parallel import merge_parallel
from relcam_onnx.canon.patches import name_patches
from relcam_onnx.canon.pools import bend_first
from relcam_onnx.canon.prototypes import name_prototypes
from relcam_onnx.canon.qoperators import name_quantised
from relcam_onnx.canon.quantised import step_over_rounding
from relcam_onnx.canon.quotients import name_reciprocals
from relcam_onnx.canon.rearranged import name_rearranged
from relcam_onnx.canon.repeated import trim_repeated
from relcam_onnx.canon.resizes import join_resizes
from relcam_onnx.canon.rows import unfold_rows
from relcam_onnx.canon.scales import name_scales
from relcam_onnx.canon.scaling import image_scalings
from relcam_onnx.canon.signals import narrow_signals
from relcam_onnx.canon.similarities import hold_texts
from relcam_onnx.canon.sizes import infer_sizes, tell_targets
from relcam_onnx.canon.split import slice_splits
from relcam_onnx.canon.stacks import combine_stacks
from relcam_onnx.canon.strided import name_strided
from relcam_onnx.canon.sums import flatten_sums, unfold_means
from relcam_onnx.canon.terms import gather_terms
from relcam_onnx.canon.thinned import drop_steps, name_single_pools, stride_instead
from relcam_onnx.canon.unstacking import unstack
from relcam_onnx.canon.weighted import name_weighted_sums, share_weights
from relcam_onnx.model import Model


def canonicalise(model: Model, *, batch_norm: bool, output: str | None = None) -> None:
    """Rewrite ``model.graph`` in place.

    ``batch_norm`` folds batch normalisation into the layers around it, and with it all that makes one function of many
    spellings; without it layers stay as the file has them, but for biases. ``output`` is the one that was asked for.
    """
    drop_inner_outputs(model, output)
    settle_axes(model)
    if batch_norm:
        unfold_means(model)
        gather_terms(model)
        narrow_signals(model)
        lift_constants(model)
    drop_identities(model)
    merge_twins(model)
    name_ops(model, batch_norm=batch_norm)
    drop_identities(model)
    model.scalings = image_scalings(model.graph)  # before it is folded into the first layer
    fold_into_layers(model, batch_norm=batch_norm)


def settle_axes(model: Model) -> None:
    """Float ops over tensors whose first axis is the batch, and whose sizes are told as far as the file tells them."""
    name_quantised(model)
    infer_sizes(model)
    drop_steps(model)
    name_contractions(model)
    name_einsums(model)
    name_strided(model)
    name_dilated(model)
    slice_splits(model)
    step_over_rounding(model)
    unstack(model)
    combine_stacks(model)
    unfold_rows(model)
    front_batch(model)
    batch_first(model)
    trim_repeated(model)
    tell_targets(model)
    name_products(model)


def name_ops(model: Model, *, batch_norm: bool) -> None:
    """Let what is spelled out be the op that it is."""
    hold_texts(model)
    name_prototypes(model)
    share_weights(model)
    divide_first(model)
    name_activations(model)
    name_elus(model)
    name_masks(model)
    name_pairs(model)
    name_reciprocals(model)
    if batch_norm:
        join_reductions(model)
    name_norms(model)
    name_softmaxes(model)
    name_weighted_sums(model)  # by shares, which have their names now
    name_groups(model)
    if batch_norm:
        name_log_sums(model)
        name_single_pools(model)
        name_scales(model)
        name_fixed(model)
        join_resizes(model)
        name_patches(model)
        lift_constants(model)  # before the moves that this left
        name_blocks(model)
        unfold_rows(model)
        name_rearranged(model)
        name_padding(model)


def fold_into_layers(model: Model, *, batch_norm: bool) -> None:
    """Join what follows each other, and let layers take what they can."""
    if batch_norm:
        join_pools(model)  # where nothing stands between them any more
        flatten_sums(model)
        drop_identities(model)  # moves that cancel where nothing stands between them any more
        absorb_padding(model)
    fold_affine(model, into_layers=batch_norm)
    drop_identities(model)
    if batch_norm:
        join_pools(model)  # where factors stood between them that cancel, or are a layer's now
    while batch_norm and (stride_instead(model) or merge_parallel(model)):
        fold_affine(model, into_layers=True)  # a scale of the result goes into the layer that makes it now
        drop_identities(model)
    if batch_norm:
        bend_first(model)


__all__ = ["canonicalise"]
