"""What layers and norms take of a scale and a shift, into weight and bias or gain, by what their entries say."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.affine import Affine
from relcam_onnx.canon.edit import is_op
from relcam_onnx.model import Derived, Model
from relcam_onnx.ops import TABLE, key, lookup


def takes(node: gs.Node, affine: Affine, *, only_shift: bool) -> bool:
    """Whether a layer can take an affine of its output into its weight and bias."""
    if key(node) not in TABLE or (only_shift and not affine.is_shift) or node.outputs[0].shape is None:
        return False
    entry, rank = lookup(node), len(node.outputs[0].shape)
    if entry.role_of(node) == "norm":
        return not only_shift and norm_takes(node, affine)
    layer = entry.layer_of(node)
    if layer is None or entry.role_of(node) != "conv" or entry.refuses(node) is not None or layer.offset(node) is None:
        return False
    return affine.fits(layer.channels(node, rank), layer.counts(node)[1])


def reads(node: gs.Node, tensor: gs.Tensor, affine: Affine) -> bool:
    """Whether a layer can take an affine of its input into its weight and bias."""
    layer = lookup(node).layer_of(node)
    if layer is None or lookup(node).refuses(node) is not None or layer.offset(node) is None:
        return False
    axis, inputs = layer.reads(node, len(tensor.shape)), layer.counts(node)[0]
    if list(node.inputs).count(tensor) != 1 or not affine.fits(axis, inputs):
        return False
    wide = affine.over(inputs)
    return layer.per_input(node, wide.scale) is not None and (
        affine.is_scale or layer.carried(node, wide.shift) is not None
    )


def scale_layer(model: Model, node: gs.Node, affine: Affine, name: str) -> None:
    """Take scale and shift of a layer's output into its weight and bias."""
    layer = lookup(node).layer_of(node)
    assert layer is not None
    offset = layer.offset(node)
    assert offset is not None
    wide = affine.over(layer.counts(node)[1])
    reweigh(model, node, layer.per_output(node, wide.scale), offset * wide.scale + wide.shift, name)


def reweigh(model: Model, node: gs.Node, factor: np.ndarray, bias: np.ndarray, name: str) -> None:
    """Multiply a layer's weight by a factor that broadcasts to it, and give it a bias."""
    layer = lookup(node).layer_of(node)
    assert layer is not None
    old = node.inputs[layer.weight(node)]
    weight = old
    if not np.all(factor == 1):
        weight = gs.Constant(fresh_weight(model, name), (old.values * factor.astype(np.float32)).astype(np.float32))
        origin = model.derived.get(old.name, Derived(old.name, old.dtype, np.ones(1)))
        model.derived[weight.name] = origin._replace(factor=origin.factor * factor)
    layer.put(node, weight, gs.Constant(f"{name}/folded/bias", bias.astype(np.float32)))


def fresh_weight(model: Model, name: str) -> str:
    """A name for a weight that was made: one tensor may be folded into several times."""
    weight = f"{name}/folded/weight"
    while weight in model.derived:
        weight += "'"
    return weight


def norm_takes(node: gs.Node, affine: Affine) -> bool:
    """Whether a norm's gain and shift are constants that this can be taken into."""
    if is_op(node, "RMSNormalization") or not all(isinstance(t, gs.Constant) for t in node.inputs[1:3]):
        return False
    return is_op(node, "LayerNormalization") or affine.fits(1, node.inputs[1].values.size)


def scale_norm(node: gs.Node, affine: Affine) -> None:
    """Take scale and shift of a norm's output into its gain and shift."""
    name, rank = node.outputs[0].name, len(node.outputs[0].shape)
    gain, *shifts = (np.asarray(t.values, np.float64) for t in node.inputs[1:3])
    shift = shifts[0] if shifts else np.zeros(1)
    if is_op(node, "LayerNormalization"):
        scale, offset = (affine.shaped(v, rank) for v in (affine.scale, affine.shift))
    else:
        wide = affine.over(gain.size)
        scale, offset = wide.scale, wide.shift
    values = {"gain": gain * scale, "shift": shift * scale + offset}
    taken = [gs.Constant(f"{name}/{what}", trimmed(v).astype(np.float32)) for what, v in values.items()]
    node.inputs = [node.inputs[0], *taken]


def trimmed(value: np.ndarray) -> np.ndarray:
    """A value without the leading axes of length one that broadcasting brings anyway."""
    while value.ndim > 1 and value.shape[0] == 1:
        value = value[0]
    return value
