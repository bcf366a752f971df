"""Small networks with seeded weights, built node by node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from relcam_onnx.canon import canonicalise
from relcam_onnx.model import Model
from relcam_onnx.onnx_file.load import load
from relcam_onnx.runners.session import SessionSettings, open_session

Dim = int | str


class Net:
    """Builds a model: calling it adds a node and returns the name of the tensor that it makes.

    Weights are He-scaled and seeded, so that the same calls build the same network.
    """

    def __init__(self, *shape: Dim, opset: int = 18, seed: int = 0, name: str = "x") -> None:
        self.opset, self.rng = opset, np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.x = self.input(name, *(shape or ("N", 3, 32, 32)))

    def input(self, name: str, *shape: Dim) -> str:
        """Another input, float32."""
        self.inputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
        return name

    def constant(self, value: Any, name: str | None = None) -> str:
        """A value of the file: float32, or as it is where it is an array of whole numbers."""
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
        name = name or f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def __call__(self, op: str, *inputs: Any, name: str | None = None, domain: str = "", **attrs: Any) -> str:
        """A node; inputs are tensor names, values of the file, or None. ``name`` is its and its tensor's."""
        names = ["" if i is None else i if isinstance(i, str) else self.constant(i) for i in inputs]
        name = name or f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, names, [name], name, domain=domain, **attrs))
        return name

    def normal(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        """Seeded normal values."""
        return (self.rng.standard_normal(shape) * scale).astype(np.float32)

    def conv(
        self, x: str, before: int, after: int, kernel: int = 3, stride: int = 1, *, group: int = 1,
        bias: bool = True, name: str | None = None,
    ) -> str:  # fmt: skip
        """A convolution that keeps the size but for its stride."""
        fan_in = before // group * kernel**2
        weight = self.normal(after, before // group, kernel, kernel, scale=(2 / fan_in) ** 0.5)
        biases = [self.normal(after, scale=0.05)] if bias else []
        pads = [kernel // 2] * 4
        attrs: dict[str, Any] = {"strides": [stride] * 2, "pads": pads, "group": group}
        return self("Conv", x, weight, *biases, name=name, **attrs)

    def batch_norm(self, x: str, channels: int, *, name: str | None = None) -> str:
        """Batch normalisation with statistics that matter, some scales negative."""
        scale = self.rng.uniform(0.5, 1.5, channels) * np.where(self.rng.uniform(size=channels) < 0.2, -1, 1)
        mean, shift = self.normal(channels, scale=0.1), self.normal(channels, scale=0.05)
        return self("BatchNormalization", x, scale, shift, mean, self.rng.uniform(0.5, 1.5, channels), name=name)

    def dense(self, x: str, before: int, after: int, *, bias: bool = True, name: str | None = None) -> str:
        """A fully connected layer."""
        weight = self.normal(after, before, scale=(1 / before) ** 0.5)
        biases = [self.normal(after, scale=0.05)] if bias else []
        return self("Gemm", x, weight, *biases, transB=1, name=name)

    def head(self, x: str, channels: int, classes: int = 5, *, bias: bool = True, name: str = "scores") -> str:
        """Global average pool, Flatten and a dense layer."""
        return self.dense(self("Flatten", self("GlobalAveragePool", x)), channels, classes, bias=bias, name=name)

    def model(self, *outputs: str, domains: Sequence[str] = (), **metadata: str) -> onnx.ModelProto:
        """The model with these outputs, shapes inferred."""
        graph = helper.make_graph(
            self.nodes, "net", self.inputs, [onnx.ValueInfoProto(name=name) for name in outputs], self.weights
        )
        opsets = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(d, 1) for d in domains)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8 if self.opset < 21 else 10)
        helper.set_model_props(model, metadata)
        return onnx.shape_inference.infer_shapes(model)


def plain(*, bias: bool = True, size: Dim = 32, batch: Dim = "N", opset: int = 18, final: str = "") -> onnx.ModelProto:
    """VGG-like: three convolutions with Relu, strides 1, 2 (max pool) and 4, five classes; perhaps a last op."""
    net = Net(batch, 3, size, size, opset=opset)
    x = net("Relu", net.conv(net.x, 3, 8, bias=bias), name="stage1")
    x = net("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net("Relu", net.conv(x, 8, 12, bias=bias), name="stage2")
    x = net("Relu", net.conv(x, 12, 16, stride=2, bias=bias), name="stage4")
    scores = net.head(x, 16, bias=bias)
    return net.model(net(final, scores, name="final", axis=1) if final == "Softmax"
                     else net(final, scores, name="final") if final else scores)  # fmt: skip


def residual(*, batch_norm: bool = True, size: Dim = 32) -> onnx.ModelProto:
    """ResNet-like: a stem, and blocks of widths 8 and 16 with a projection; stages at strides 1, 2 and 4."""
    net = Net("N", 3, size, size)

    def norm(x: str, channels: int) -> str:
        return net.batch_norm(x, channels) if batch_norm else x

    x = net("Relu", norm(net.conv(net.x, 3, 8), 8), name="stem")
    before = 8
    for number, width in enumerate((8, 16), 1):
        branch = net("Relu", norm(net.conv(x, before, width, stride=2), width))
        branch = norm(net.conv(branch, width, width), width)
        skip = norm(net.conv(x, before, width, 1, 2), width)
        x = net("Relu", net("Add", branch, skip, name=f"sum{number}"), name=f"block{number}")
        inner = norm(net.conv(x, width, width), width)
        x = net("Relu", net("Add", inner, x, name=f"sum{number}b"), name=f"block{number}b")
        before = width
    return net.model(net.head(x, 16))


def inverted(*, size: Dim = 32) -> onnx.ModelProto:
    """MobileNet-like: inverted residuals with squeeze-and-excitation and linear bottlenecks; strides 2, 4 and 8."""
    net = Net("N", 3, size, size)

    def act(x: str, name: str | None = None) -> str:
        return net("Clip", x, 0.0, 6.0, name=name)

    def block(x: str, before: int, after: int, stride: int, number: int) -> str:
        wide = 3 * before
        y = act(net.conv(x, before, wide, 1), f"expand{number}")
        y = act(net.conv(y, wide, wide, 3, stride, group=wide), f"depthwise{number}")
        gate = net.conv(net("GlobalAveragePool", y), wide, wide, 1)
        y = net("Mul", y, net("Sigmoid", gate), name=f"gated{number}")
        y = net.conv(y, wide, after, 1, name=f"bottleneck{number}")
        return net("Add", y, x, name=f"sum{number}") if stride == 1 and before == after else y

    x = act(net.conv(net.x, 3, 4, 3, 2), "stem")
    x = block(x, 4, 6, 2, 1)
    x = block(x, 6, 6, 1, 2)
    x = block(x, 6, 8, 2, 3)
    x = act(net.conv(x, 8, 16, 1), "head")
    return net.model(net.head(x, 16))


def canonical(model: onnx.ModelProto, *, batch_norm: bool = True) -> Model:
    """A model loaded and rewritten, as the engine has it."""
    loaded = load(model)
    canonicalise(loaded, batch_norm=batch_norm)
    return loaded


def ops(model: Model) -> list[str]:
    """The ops of the analysis graph, in order."""
    return [node.op for node in model.graph.nodes]


def picture(*shape: int, seed: int = 0) -> np.ndarray:
    """Seeded float32 values around 0."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape, np.float32)


def run(model: onnx.ModelProto, *outputs: str, **inputs: np.ndarray) -> list[np.ndarray]:
    """What onnxruntime makes of the plain model; 8-bit products do not saturate, as on some processors they would."""
    session = open_session(model, SessionSettings(providers="cpu"))
    return [np.asarray(value) for value in session.run(list(outputs) or None, inputs)]
