"""What an op with weights says of them: where they stand, along which axes they run, and how a scale goes into them.

`relcam_onnx.canon` folds scales and shifts by these facts, and plans tell dense layers from convolutions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from relcam_onnx.model import static_shape

Vector = NDArray[np.float64]


class Layer(ABC):
    """The weights of an op; one subclass stands beside each op that has some.

    Axes count from 0, the batch. Vectors hold one number per channel, float64.
    """

    bias: ClassVar[int] = 2
    """Which input holds the bias, or would."""

    def weight(self, node: gs.Node) -> int:
        """Which input holds the weight."""
        return 1

    def values(self, node: gs.Node) -> Vector:
        """The weight itself."""
        return np.asarray(node.inputs[self.weight(node)].values, np.float64)

    def sizes(self, node: gs.Node) -> tuple[int, ...]:
        """The weight's shape; asking does not read it."""
        return tuple(node.inputs[self.weight(node)].shape)

    def channels(self, node: gs.Node, rank: int) -> int | None:
        """The axis of an output of ``rank`` axes that the bias runs along; None where no single one does."""
        return 1

    def reads(self, node: gs.Node, rank: int) -> int | None:
        """The axis of an input of ``rank`` axes whose channels are summed over; None where no single one is."""
        return 1

    def positions(self, node: gs.Node, rank: int) -> tuple[int, ...]:
        """The axes of an output of ``rank`` axes that are neither batch nor channels."""
        return tuple(axis for axis in range(1, rank) if axis != self.channels(node, rank))

    @abstractmethod
    def counts(self, node: gs.Node) -> tuple[int, int]:
        """How many channels it reads and how many it makes."""

    @abstractmethod
    def per_output(self, node: gs.Node, factor: Vector) -> Vector:
        """A factor for each output channel, as it multiplies the weight."""

    @abstractmethod
    def per_input(self, node: gs.Node, factor: Vector) -> Vector | None:
        """A factor for each input channel, as it multiplies the weight; None where that is not all that changes."""

    @abstractmethod
    def carried(self, node: gs.Node, shift: Vector) -> Vector | None:
        """What a number added to each input channel adds to each output channel; None where positions differ."""

    def offset(self, node: gs.Node) -> Vector | None:
        """What the bias adds to each output channel, 0 without one; None where it is computed or no such vector."""
        held = node.inputs[self.bias] if len(node.inputs) > self.bias else None
        if held is None or held.is_empty():
            return np.zeros(self.counts(node)[1])
        if not isinstance(held, gs.Constant):
            return None
        value = np.asarray(held.values, np.float64)
        outputs = self.counts(node)[1]
        if value.size == 1:
            return np.full(outputs, value.reshape(-1)[0])
        return value.reshape(-1) if value.size == outputs == value.shape[-1] else None

    def put(self, node: gs.Node, weight: gs.Constant, bias: gs.Constant) -> None:
        """Give a node this weight, and a bias (outputs,) that is added as it is."""
        node.inputs[self.weight(node)] = weight
        while len(node.inputs) <= self.bias:
            node.inputs.append(gs.Variable.empty())
        node.inputs[self.bias] = bias

    def is_dense(self, node: gs.Node) -> bool:
        """Whether it has one output position, as far as the file tells."""
        shape = static_shape(node.outputs[0])
        rank = len(self.sizes(node)) if shape is None else len(shape)
        return all(shape is not None and shape[axis] == 1 for axis in self.positions(node, rank))
