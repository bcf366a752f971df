"""Ops that compute in integers stand for float ops over what the integers mean, and are written so.

A file quantised as operators (QLinearConv, QLinearAdd, QGemm, ...; ConvInteger and MatMulInteger behind
DynamicQuantizeLinear) runs as it is; what relevance is shared by are its weights, and its activations as they really
were, dequantised. Sources: ONNX's operators of opset 10 and 11; onnxruntime's of domain ``com.microsoft``, as its
ContribOperators.md has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from relcam_onnx.canon.axes import RESHAPES
from relcam_onnx.canon.constants import dequantise
from relcam_onnx.canon.edit import detach, is_op, sweep
from relcam_onnx.canon.integers import FORMS, Form, Meaning, meaning
from relcam_onnx.model import Model, View, producer

MICROSOFT = "com.microsoft"
KEPT = ("Flatten", "Gather", "Identity", "MaxPool", "Pad", "Reshape", "Resize", "Slice", "Split", "Squeeze",
        "Transpose", "Unsqueeze")  # fmt: skip
"""Ops that work on integers as on floats: what they make means the same as what they read."""


def name_quantised(model: Model) -> None:
    """Write every op over integers as DequantizeLinear of what it reads, its float op, and QuantizeLinear."""
    for node in model.graph.nodes:
        if node.domain == MICROSOFT and node.op in ("QuantizeLinear", "DequantizeLinear"):
            node.domain = None  # of 16 bits, which ONNX's own take from opset 21 on
            told = node.inputs[2] if node.op == "QuantizeLinear" else node.inputs[1]
            node.outputs[0].dtype = node.outputs[0].dtype or told.dtype
    if any(computes(node) for node in model.graph.nodes):
        writing = Quantised(model)
        for node in list(model.graph.nodes):
            writing.visit(node)
        dequantise(model)
        sweep(model)


def computes(node: gs.Node) -> bool:
    """Whether a node computes in integers, makes them for a run, or moves them on to where they are floats again."""
    if is_op(node, *KEPT):
        return bool(node.inputs) and is_op(producer(before(node.inputs[0], *KEPT)), "QuantizeLinear")
    return node.op.startswith("QLinear") or "Integer" in node.op or node.op in ("QGemm", "DynamicQuantizeLinear")


def padding(node: gs.Node, held: Meaning) -> list[gs.Tensor]:
    """What a Pad of integers reads beside them, with what the integer that it puts in means; 0 where none is told."""
    amounts, *rest = node.inputs[1:]
    told = rest[0].values if rest and isinstance(rest[0], gs.Constant) else 0
    zero = held.zero.values if isinstance(held.zero, gs.Constant) else 0
    value = (np.asarray(told, np.float32) - zero) * np.asarray(held.scale.values, np.float32)
    return [amounts, gs.Constant(f"{node.outputs[0].name}/value", np.asarray(value, np.float32).reshape(())), *rest[1:]]


def biased(node: gs.Node | None) -> list[Any]:
    """A convolution of integers, and the bias that is added to it where that is rounded to each run's scale."""
    if not is_op(node, "Add"):
        return [node]
    for whole, other in (node.inputs, node.inputs[::-1]):
        scaled = producer(before(whole, *RESHAPES, "Cast", "Floor", "Round"))
        told = before(scaled.inputs[0], *RESHAPES) if is_op(scaled, "Div") else None
        if isinstance(told, gs.Constant) and is_op(producer(other), "ConvInteger"):
            return [producer(other), gs.Constant(f"{node.outputs[0].name}/bias", np.asarray(told.values).reshape(-1))]
    return [node]


def before(tensor: gs.Tensor, *ops: str) -> gs.Tensor:
    """What a tensor was before nodes of some ops, of which the first input counts."""
    while (node := producer(tensor)) is not None and is_op(node, *ops):
        tensor = node.inputs[0]
    return tensor


class Quantised:
    """One pass over a graph in order, which knows what the integers in it mean."""

    def __init__(self, model: Model) -> None:
        self.model, self.taken = model, set(model.graph.tensors())
        self.meanings: dict[str, Meaning] = {}
        self.floats: dict[str, gs.Tensor] = {}

    def visit(self, node: gs.Node) -> None:
        """Rewrite a node, or learn from it."""
        integers = node.inputs[0].name if node.inputs else ""
        if node.op in FORMS and not node.attrs.get("channels_last"):
            self.write(node, FORMS[node.op])
        elif node.op == "QLinearConcat":
            self.write(node, Form("Concat", [(i, i + 1, i + 2) for i in range(2, len(node.inputs), 3)], (0, 1)))
        elif is_op(node, "QuantizeLinear"):
            self.meanings[node.outputs[0].name] = meaning(node, 1, 2, int(node.attrs.get("axis", 1)))
        elif is_op(node, "DynamicQuantizeLinear") and isinstance(node.inputs[0], gs.Variable):
            result, scale, zero = node.outputs
            node.op, node.inputs, node.outputs = "QuantizeLinear", [node.inputs[0], scale, zero], [result]
            self.meanings[result.name] = Meaning(scale, zero)
        elif is_op(node, "DequantizeLinear") and isinstance(node.inputs[0], gs.Variable):
            if integers in self.floats:
                node.op, node.attrs, node.inputs = "Identity", {}, [self.floats[integers]]
            else:
                self.floats[integers] = node.outputs[0]
        elif is_op(node, *KEPT) and integers in self.meanings:
            held = self.meanings[integers]
            more = node.inputs[1:] if node.op != "Pad" else padding(node, held)
            self.put(node, node.op, [self.read(node.inputs[0], held), *more], dict(node.attrs), held)
        elif is_op(node, "ArgMax") and integers in self.meanings:
            node.inputs[0] = self.read(node.inputs[0], self.meanings[integers])
        elif is_op(node, "Mul"):
            self.write_integers(node)
        elif node.op in ("MatMulIntegerToFloat", "DynamicQuantizeMatMul"):
            self.write_matmul(node)

    def write(self, node: gs.Node, form: Form) -> None:
        """A quantised op as its float op."""
        inputs = list(node.inputs[: form.plain])
        for number, (value, scale, zero) in enumerate(form.operands):
            rows = number == 1 and (form.op == "Conv" or bool(node.attrs.get("transB")))
            inputs.append(self.read(node.inputs[value], meaning(node, scale, zero, 0 if rows else -1)))
        if form.bias is not None and len(node.inputs) > form.bias and not node.inputs[form.bias].is_empty():
            first, second = (np.asarray(node.inputs[scale].values, np.float32) for _, scale, _ in form.operands)
            held = node.inputs[form.bias]
            name = f"{node.outputs[0].name}/bias"  # of two layers' scales one bias means two things
            inputs.append(gs.Constant(name, (held.values * (first * second)).astype(np.float32)))
        attrs = {name: value for name, value in node.attrs.items() if name not in ("channels_last", "opset")}
        if form.op == "ReduceMean":
            inputs.append(gs.Constant(f"{node.outputs[0].name}/axes", np.array(attrs.pop("axes"), np.int64)))
        floats = len(node.inputs) <= form.result[0] or node.inputs[form.result[0]].is_empty()
        self.put(node, form.op, inputs, attrs, None if floats else meaning(node, *form.result))

    def write_integers(self, node: gs.Node) -> None:
        """A Mul that scales a product of integers, cast, by both scales -> the product of what they mean."""
        for index, tensor in enumerate(node.inputs):
            cast, scaling = producer(tensor), producer(node.inputs[1 - index])
            product, *bias = biased(producer(cast.inputs[0])) if is_op(cast, "Cast") else [None]
            if not is_op(product, "ConvInteger", "MatMulInteger") or not is_op(scaling, "Mul"):
                continue
            held = self.meanings.get(product.inputs[0].name)
            scales = [place for place, t in enumerate(scaling.inputs) if isinstance(t, gs.Constant)]
            if held is not None and len(scales) == 1 and scaling.inputs[1 - scales[0]] is held.scale:
                zero = product.inputs[3] if len(product.inputs) > 3 else None
                op, axis = ("Conv", 0) if product.op == "ConvInteger" else ("MatMul", -1)
                weight = self.read(product.inputs[1], Meaning(scaling.inputs[scales[0]], zero, axis))
                self.put(node, op, [self.read(product.inputs[0], held), weight, *bias], dict(product.attrs), None)
                return

    def write_matmul(self, node: gs.Node) -> None:
        """The products of onnxruntime's that quantise or scale by themselves."""
        result, x = node.outputs[0], node.inputs[0]
        if node.op == "DynamicQuantizeMatMul":
            weight, places = meaning(node, 2, 3), 4
        else:
            x, weight, places = self.read(x, meaning(node, 2, 4)), meaning(node, 3, 5), 6
        bias = node.inputs[places] if len(node.inputs) > places and not node.inputs[places].is_empty() else None
        factors = [x, self.read(node.inputs[1], weight)]
        if bias is None:
            self.put(node, "MatMul", factors, {}, None)
            return
        product = gs.Variable(f"{result.name}/product", np.float32, result.shape)
        self.model.views[product.name] = View("Sub", (result, bias.values), {})
        self.model.graph.nodes.append(gs.Node("MatMul", product.name, {}, factors, [product]))
        self.put(node, "Add", [product, bias], {}, None)

    def read(self, tensor: gs.Tensor, held: Meaning) -> gs.Tensor:
        """What integers mean; onnxruntime's quantiser names them after the tensor that they stand for."""
        known = tensor.name if isinstance(tensor, gs.Variable) else f"{tensor.name}/{held.scale.name}"
        if known not in self.floats:
            names = (tensor.name.removesuffix("_quantized"), f"{tensor.name}/float", f"{known}/float")
            name = next((name for name in names if name not in self.taken), names[-1])
            self.taken.add(name)
            result = gs.Variable(name, np.float32, tensor.shape)
            per_channel = isinstance(held.scale, gs.Constant) and held.scale.values.size > 1
            attrs = {"axis": held.axis % len(tensor.shape)} if per_channel else {}
            inputs = [tensor, held.scale, *([] if held.zero is None else [held.zero])]
            self.model.graph.nodes.append(gs.Node("DequantizeLinear", result.name, attrs, inputs, [result]))
            if isinstance(tensor, gs.Variable):
                self.view(tensor, result, held)
            self.floats[known] = result
        return self.floats[known]

    def view(self, tensor: gs.Variable, result: gs.Variable, held: Meaning) -> None:
        """How a run tells what integers mean, in plain arithmetic: a pair of Q and DQ is onnxruntime's to rewrite."""

        def cast(part: gs.Tensor, name: str) -> gs.Variable | np.ndarray:
            if isinstance(part, gs.Constant):
                return np.asarray(part.values, np.float32)
            self.model.views[name] = View("Cast", (part,), {"to": onnx.TensorProto.FLOAT})
            return gs.Variable(name, np.float32, part.shape)

        whole = cast(tensor, f"{result.name}/whole")
        if held.zero is not None:
            difference = gs.Variable(f"{result.name}/difference", np.float32, tensor.shape)
            self.model.views[difference.name] = View("Sub", (whole, cast(held.zero, f"{result.name}/zero")), {})
            whole = difference
        scale = held.scale.values if isinstance(held.scale, gs.Constant) else held.scale
        self.model.views[result.name] = View("Mul", (whole, scale), {})

    def put(
        self, node: gs.Node, op: str, inputs: Sequence[gs.Tensor], attrs: dict[str, Any], held: Meaning | None
    ) -> None:
        """The float op in a node's place; behind it, where its result are integers, QuantizeLinear."""
        made, name = list(node.outputs), node.name
        detach(node)
        if held is not None:
            made = [self.rounded(result, held) for result in made]
        self.model.graph.nodes.append(gs.Node(op, name, attrs, list(inputs), made))

    def rounded(self, result: gs.Variable, held: Meaning) -> gs.Variable:
        """What integers are made of, and they of it."""
        result.dtype = result.dtype or (held.zero.dtype if held.zero is not None else np.uint8)
        self.meanings[result.name] = held
        self.model.replaced[result.name] = self.read(result, held).name
        exact = gs.Variable(f"{result.name}/exact", np.float32, result.shape)
        inputs = [exact, held.scale, *([] if held.zero is None else [held.zero])]
        self.model.graph.nodes.append(gs.Node("QuantizeLinear", exact.name, {}, inputs, [result]))
        return exact
