"""Which tensors are ≥ 0 whatever the picture, as far as the table tells."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from relcam_onnx.ops.table import TABLE, key, lookup


class Signs:
    """Answers for the tensors of one graph, each asked for once."""

    def __init__(self) -> None:
        self._answers: dict[str, bool] = {}

    def nonnegative(self, tensor: gs.Tensor) -> bool:
        """Whether a tensor is; a constant by its values, anything else by the op that makes it."""
        if tensor.name not in self._answers:
            self._settle(tensor)
        return self._answers[tensor.name]

    def _settle(self, tensor: gs.Tensor) -> None:
        """Answer for all that a tensor is made of, from the image on: a chain may be deeper than Python's stack."""
        waiting = [tensor]
        while waiting:
            last = waiting[-1]
            node = last.inputs[0] if last.inputs else None
            open_ = [] if node is None else [t for t in node.inputs if t.name not in self._answers and not t.is_empty()]
            if open_ and key(node) in TABLE and not isinstance(last, gs.Constant):
                waiting.extend(open_)
                continue
            waiting.pop()
            self._answers[last.name] = self._answer(last, node)

    def _answer(self, tensor: gs.Tensor, node: gs.Node | None) -> bool:
        if isinstance(tensor, gs.Constant):
            return bool((tensor.values >= 0).all())
        if node is None or key(node) not in TABLE:
            return False
        return lookup(node).nonnegative(node, self.nonnegative)
