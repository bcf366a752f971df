"""Sessions that return tensors of a model as they are: no walk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import onnxruntime

from relcam_onnx.analysis.layers import Layer
from relcam_onnx.backends.eager import Eager
from relcam_onnx.lrp.plan import Plan, reading_plan
from relcam_onnx.lrp.walk import activations
from relcam_onnx.model import Model
from relcam_onnx.prepare import Prepared
from relcam_onnx.runners.restoring import replace_layer
from relcam_onnx.runners.session import SessionSettings, open_session, run_session, with_outputs


@dataclass(frozen=True)
class Reading:
    """A session that returns the tensors which the values of a plan are made of."""

    session: onnxruntime.InferenceSession
    plan: Plan
    names: tuple[str, ...]

    @classmethod
    def of(
        cls,
        model: Model,
        plan: Plan,
        settings: SessionSettings,
        more: Sequence[str] = (),
        replaced: Layer | None = None,
        *,
        spinning: bool = True,
    ) -> Self:
        """Open one; it returns ``more`` too, and ``replaced`` is an input of it."""
        inputs = {value.name for value in model.proto.graph.input}
        names = tuple(dict.fromkeys([*more, *(name for name in plan.exposed if name not in inputs)]))
        proto = with_outputs(model.proto, names)
        if replaced is not None:
            replace_layer(proto, model, replaced)
        return cls(open_session(proto, settings, model.weights, spinning=spinning), plan, names)

    @classmethod
    def of_scores(
        cls,
        prepared: Prepared,
        settings: SessionSettings,
        more: Sequence[str] = (),
        inside: Sequence[str] = (),
        *,
        spinning: bool = True,
    ) -> Self:
        """One that returns where relevance starts, ``more`` of the file's tensors, and values of others ``inside``."""
        plan = reading_plan(prepared.paths, (), inside)
        return cls.of(prepared.model, plan, settings, more, spinning=spinning)

    def run(self, inputs: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What the session returns, and the plan's values, float32."""
        wanted = {value.name for value in self.session.get_inputs()}
        feeds = {name: np.ascontiguousarray(value) for name, value in inputs.items() if name in wanted}
        returned = dict(zip(self.names, run_session(self.session, self.names, feeds), strict=True))
        file = {**inputs, **returned}
        return returned, activations(Eager(), self.plan, lambda name: np.asarray(file[name], np.float32))
