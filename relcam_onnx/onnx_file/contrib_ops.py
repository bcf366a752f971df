"""What onnxruntime's optimiser fuses into ops of its own is written back in standard ones.

A fused op hides the tensors that relevance passes: a convolution's sum before its activation, a sum before its norm.
The ops are those of onnxruntime's ContribOperators.md, domain ``com.microsoft``; two norms stand in ONNX's own domain,
also in files of opsets that do not have them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import onnx
from onnx import helper

from relcam_onnx.onnx_file import learned_ops
from relcam_onnx.onnx_file.attention_ops import attention, fused_attention, multi_head
from relcam_onnx.onnx_file.packed_ops import matmul_bits
from relcam_onnx.onnx_file.protos import graphs
from relcam_onnx.onnx_file.writing import Writer

DOMAIN = "com.microsoft"
BLOCKED = f"{DOMAIN}.nchwc"
"""The domain of ops over channels in blocks, which onnxruntime writes for the processor that it runs on."""
EINSUM = 12
"""The opset from which on there is one."""
TRUTH = frozenset({"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Not", "Xor", "IsNaN"})
"""Ops that make truth values."""


def activate(w: Writer, x: str) -> None:
    """The activation that ends a FusedConv or FusedGemm; the names and the order of its parameters are ONNX's."""
    name, parameters = w.attribute("activation", ""), w.attribute("activation_params", [])
    if not name:
        w("Identity", x, last=True)
    elif name == "Clip":
        low, high = (w.constant(value) for value in parameters)
        w("Clip", x, low, high, last=True)
    else:
        names = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta")}.get(name, ())
        settings = parameters or [w.attribute(f"activation_{each}", None) for each in names]
        w(name, x, last=True, **{k: v for k, v in zip(names, settings, strict=False) if v is not None})


def fused_conv(w: Writer) -> None:
    """FusedConv: Conv, perhaps the sum with a fourth input, and an activation."""
    own = w.kept("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
    bias = [w.input(2)] if w.input(2) else []
    y = w("Conv", w.input(0), w.input(1), *bias, **own)
    activate(w, w("Add", y, w.input(3)) if w.input(3) else y)


def fused_gemm(w: Writer) -> None:
    """FusedGemm: Gemm and an activation."""
    bias = [w.input(2)] if w.input(2) else []
    activate(w, w("Gemm", w.input(0), w.input(1), *bias, **w.kept("alpha", "beta", "transA", "transB")))


def fused_matmul(w: Writer) -> None:
    """FusedMatMul: the last two axes turned, or the first one brought behind the others before the last; a factor."""
    if w.opset < EINSUM and any(w.attribute(name, 0) for name in ("transA", "transB", "transBatchA", "transBatchB")):
        w.keep()
        return

    def turned(name: str, last: str, batch: str) -> str:
        # Einsum turns axes whatever the rank: dots stand for the others.
        before = "i...j" if w.attribute(batch, 0) else "...ij"
        after = "...ji" if w.attribute(last, 0) else "...ij"
        return name if before == after else w("Einsum", name, equation=f"{before}->{after}")

    a, b = turned(w.input(0), "transA", "transBatchA"), turned(w.input(1), "transB", "transBatchB")
    alpha = w.attribute("alpha", 1.0)
    y = w("MatMul", a, b, last=alpha == 1.0)
    if alpha != 1.0:
        w("Mul", y, w.constant(alpha), last=True)


def gelu(w: Writer) -> None:
    """Gelu and BiasGelu: x · (1 + erf(x / √2)) / 2."""
    x = w("Add", w.input(0), w.input(1)) if w.input(1) else w.input(0)
    area = w("Add", w("Erf", w("Mul", x, w.constant(math.sqrt(0.5)))), w.constant(1.0))
    w("Mul", w("Mul", x, area), w.constant(0.5), last=True)


def fast_gelu(w: Writer) -> None:
    """FastGelu: the approximation by tanh."""
    x = w("Add", w.input(0), w.input(1)) if w.input(1) else w.input(0)
    cube = w("Mul", w("Mul", w("Mul", x, x), x), w.constant(0.044715))
    bend = w("Tanh", w("Mul", w("Add", x, cube), w.constant(math.sqrt(2 / math.pi))))
    w("Mul", w("Mul", x, w("Add", bend, w.constant(1.0))), w.constant(0.5), last=True)


def quick_gelu(w: Writer) -> None:
    """QuickGelu: x · sigmoid(alpha · x), SiLU where alpha is 1."""
    x, alpha = w.input(0), w.attribute("alpha", 1.702)
    w("Mul", x, w("Sigmoid", x if alpha == 1.0 else w("Mul", x, w.constant(alpha))), last=True)


def skip_layer_norm(w: Writer) -> None:
    """SkipLayerNormalization: the layer norm of a sum of two tensors and a bias; the sum is its fourth output."""
    total = w("Add", w.input(0), w.input(1))
    if w.input(4):
        total = w("Add", total, w.input(4))
    if len(w.node.output) > 3 and w.node.output[3]:
        given = w.like_first(total) if w.raised else total
        w.nodes.append(helper.make_node("Identity", [given], [w.node.output[3]]))
        total = total if w.raised else w.node.output[3]
    divided(w, centred(w, total), w.input(2), w.input(3), w.attribute("epsilon", 1e-12))


def mean(w: Writer, x: str) -> str:
    """The mean over the axes from ``axis`` on, which is counted from the end."""
    axes = list(range(w.attribute("axis", -1), 0))
    if w.opset < 18:
        return w("ReduceMean", x, axes=axes, keepdims=1)
    return w("ReduceMean", x, w.integers(*axes), keepdims=1)


def centred(w: Writer, x: str) -> str:
    """What is left of x without its mean."""
    return w("Sub", x, mean(w, x))


def divided(w: Writer, x: str, gain: str, shift: str, epsilon: float) -> None:
    """X / √(mean of x² + ε) · gain + shift."""
    root = w("Sqrt", w("Add", mean(w, w("Mul", x, x)), w.constant(epsilon)))
    y = w("Mul", w("Div", x, root), gain, last=not shift)
    if shift:
        w("Add", y, shift, last=True)


def layer_norm(w: Writer) -> None:
    """LayerNormalization before opset 17."""
    divided(w, centred(w, w.input(0)), w.input(1), w.input(2), w.attribute("epsilon", 1e-5))


def rms_norm(w: Writer) -> None:
    """SimplifiedLayerNormalization: no mean, no shift."""
    divided(w, w.input(0), w.input(1), "", w.attribute("epsilon", 1e-5))


SPELLINGS: dict[str, Callable[[Writer], None]] = {
    "FusedConv": fused_conv,
    "FusedGemm": fused_gemm,
    "FusedMatMul": fused_matmul,
    "Gelu": gelu,
    "BiasGelu": gelu,
    "FastGelu": fast_gelu,
    "QuickGelu": quick_gelu,
    "SkipLayerNormalization": skip_layer_norm,
    "Attention": fused_attention,
    "MultiHeadAttention": multi_head,
    "MatMulNBits": matmul_bits,
}
"""The fused ops that have a standard spelling."""
RAISED = frozenset({
    "Gelu", "BiasGelu", "FastGelu", "QuickGelu", "SkipLayerNormalization", "LayerNormalization",
    "SimplifiedLayerNormalization", "MatMulNBits",
})  # fmt: skip
"""Those that compute in float32 in a file of half precision; the others' weights stay as they are stored."""


def unblock(proto: onnx.ModelProto) -> None:
    """Take channels out of blocks where all that works on blocks mixes none of them: convolutions' weights do."""
    blocked = [node for node in proto.graph.node if node.domain == BLOCKED]
    for node in blocked if all(map(mixes_none, blocked)) else ():
        node.domain = ""
        if node.op_type in REORDERS:
            node.op_type = "Identity"
            del node.attribute[:]


REORDERS = ("ReorderInput", "ReorderOutput")


def mixes_none(node: onnx.NodeProto) -> bool:
    """Whether an op over channels in blocks does the same without them."""
    channels_last = any(item.name == "channels_last" and item.i for item in node.attribute)
    pools = ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool")
    return node.op_type in (*pools, *REORDERS) and not channels_last


def write_back(proto: onnx.ModelProto) -> bool:
    """Spell the fused ops of a model in standard ones, in place; whether there were any."""
    unblock(proto)
    found = False
    opset = next((entry.version for entry in proto.opset_import if not entry.domain), 0)
    half = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in proto.graph.initializer)
    for graph in graphs(proto.graph):
        if any(spelling(node, opset) for node in graph.node):
            found = True
            truths = truth_values(graph)
            packed = frozenset(t.name for t in graph.initializer if t.data_type == onnx.TensorProto.UINT8)
            nodes = [part for node in graph.node for part in spelled(node, opset, truths, packed, half=half)]
            del graph.node[:]
            graph.node.extend(nodes)
    return found


def spelling(node: onnx.NodeProto, opset: int) -> Callable[[Writer], None] | None:
    """How a node is spelled in standard ops; None for one that stays."""
    if node.domain in (DOMAIN, learned_ops.DOMAIN):
        return (SPELLINGS if node.domain == DOMAIN else learned_ops.SPELLINGS).get(node.op_type)
    from_the_end = all(item.i < 0 for item in node.attribute if item.name == "axis")
    if node.domain or not node.output or not from_the_end:
        return None
    if node.op_type == "Attention":
        return attention
    if node.op_type == "LayerNormalization" and opset < 17:
        return layer_norm
    return rms_norm if node.op_type == "SimplifiedLayerNormalization" else None


def truth_values(graph: onnx.GraphProto) -> frozenset[str]:
    """The tensors of a graph that are told to be truth values."""
    stored = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.BOOL}
    told = (
        value
        for value in (*graph.value_info, *graph.input)
        if value.type.tensor_type.elem_type == onnx.TensorProto.BOOL
    )
    made = (name for node in graph.node if node.op_type in TRUTH for name in node.output)
    return frozenset({*stored, *(value.name for value in told), *made})


def spelled(
    node: onnx.NodeProto, opset: int, truths: frozenset[str], packed: frozenset[str], *, half: bool
) -> Iterator[onnx.NodeProto]:
    """A node, or what it is made of."""
    spell = spelling(node, opset) if node.output else None
    if spell is None:
        yield node
        return
    writer = Writer(node, opset, truths, packed, half=half, raised=node.op_type in RAISED)
    spell(writer)
    yield from writer.nodes
