"""Tiny networks: cases by hand, and captum's numbers by rules of one's own.

captum's γ and α1β0 differ from ours (``golden/README.md``), so they are written here as a user would write a rule, and
given to nodes by name in a preset of one's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from nets import Net

from relcam_onnx.explainer import Explainer
from relcam_onnx.lrp.presets import Preset
from relcam_onnx.ops import Backend, Linear, Message
from relcam_onnx.rules import AlphaBeta, Epsilon, Gamma, Messages, Pass, Rule
from relcam_onnx.rules.contributions import quotient, total

GOLDEN = Path(__file__).parent / "golden"
TWO = [[2.0] * 3] * 3
TURNED = [[-2.0, 2.0, 2.0], [2.0] * 3, [2.0] * 3]


@pytest.mark.parametrize(
    ("weight", "first", "wanted"),
    [
        (TWO, Epsilon(1e-9), [18, 36, 54]),
        (TURNED, AlphaBeta(1.0, 0.0), [12, 33.6, 50.4]),
        (TURNED, Gamma(1.0), [28 / 3, 104 / 3, 52]),
        (TURNED, Pass(), [24, 36, 36]),
    ],
    ids=["epsilon", "alpha1-beta0", "gamma", "pass"],
)
def test_cases_by_hand(weight: list[list[float]], first: Rule, wanted: list[float]) -> None:
    """Linear 3→3, Relu, Linear 3→1 of weights 3, x = 1, 2, 3: float32 and the stabilisers leave 1e-5."""
    net = Net("N", 3)
    hidden = net("Relu", net("Gemm", net.x, np.array(weight), name="first", transB=1))
    model = net.model(net("Gemm", hidden, np.full((1, 3), 3.0), name="second", transB=1))
    preset = Preset("by hand", (("first", first), ("second", Epsilon(1e-9))), seed="logit", method="lrp")
    with Explainer(model, layers="input", preset=preset) as explainer:
        result = explainer(np.array([[1, 2, 3]], np.float32), targets=0)
    np.testing.assert_allclose(result.maps["input"][0, 0], wanted, rtol=1e-5)


@dataclass(frozen=True)
class Reweighed(Rule):
    """R_i = x_i Σ_j v_ij R_j / stab(Σ_i x_i v_ij + b_j) with v = keep · w + extra · w⁺: captum's γ and α1β0."""

    keep: float
    extra: float
    zero_bias: bool = False

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        weights = [f.Add(f.Mul(t.weight, self.keep), f.Mul(f.Max(t.weight, 0.0), self.extra)) for t in op.terms]
        parts = [t.apply(t.x, w) for t, w in zip(op.terms, weights, strict=True)]
        if op.bias is not None and not self.zero_bias:
            parts.append(op.bias)
        s = quotient(f, message, total(parts), 1e-9)
        return {t.index: Message(t.adjoint(s, w), t.x) for t, w in zip(op.terms, weights, strict=True)}


def captum_rule(given: Mapping[str, Any]) -> Rule:
    """A rule of the golden files."""
    zero_bias = given.get("zero_bias", False)
    match given["rule"]:
        case "epsilon":
            return Epsilon(given["epsilon"], bias=not zero_bias)
        case "gamma":
            return Reweighed(1.0, given["gamma"], zero_bias)
        case "alpha1-beta0":
            return Reweighed(0.0, 1.0, zero_bias)
        case _:
            return Pass()


def captum_preset(rules: Mapping[str, Mapping[str, Any]]) -> Preset:
    """Rules by node name; what has none gets ε, as captum does it."""
    named = tuple((name, captum_rule(rule)) for name, rule in rules.items())
    return Preset("captum", (*named, ("*", Epsilon(1e-9))), "logit", "lrp", fold_batch_norm=False)


def network(nodes: list[dict[str, Any]], x: np.ndarray, arrays: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """A net of the golden files; a string in the place of an array is its key."""
    net = Net("N", *x.shape[1:])
    for given in nodes:
        node = dict(given)
        op, name, inputs = node.pop("op"), node.pop("name"), node.pop("inputs")
        node.pop("output")
        order = ["weight", "bias"] if op != "BatchNormalization" else ["scale", "bias", "mean", "var"]
        held = [node.pop(key) for key in order if key in node]
        constants = [np.asarray(arrays[v] if isinstance(v, str) else v, np.float64) for v in held if v is not None]
        attrs: dict[str, Any] = {"transB": 1} if op == "Gemm" else {}
        net(op, *inputs, *constants, name=name, **node, **attrs)
    return net.model(nodes[-1]["name"])


def check(model: onnx.ModelProto, preset: Preset, x: np.ndarray, targets: Any, wanted: np.ndarray) -> None:
    """To 1e-4 of the largest value: float32, where these numbers are float64's."""
    with Explainer(model, layers="input", preset=preset) as explainer:
        got = explainer(x, targets).maps["input"][:, 0]
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


HAND = json.loads((GOLDEN / "captum-hand.json").read_text(encoding="utf-8"))["cases"]


@pytest.mark.parametrize("name", HAND)
def test_captum_by_hand(name: str) -> None:
    given = HAND[name]
    x = np.asarray(given["input"], np.float32)
    target = given["target"] if isinstance(given["target"], int) else given["target"][0]
    model = network(given["nodes"], x, {})
    check(model, captum_preset(given["rules"]), x, target, np.asarray(given["relevance"]))


with np.load(GOLDEN / "captum-small.npz") as stored:
    SMALL = dict(stored)
NETS = json.loads(str(SMALL["about"]))["nets"]


@pytest.mark.parametrize(("net", "rules"), [(net, rules) for net in NETS for rules in NETS[net]["rules"]])
def test_captum_small(net: str, rules: str) -> None:
    x = SMALL[f"{net}/input"].astype(np.float32)
    model, preset = network(NETS[net]["nodes"], x, SMALL), captum_preset(NETS[net]["rules"][rules])
    for label in ("argmax", "0-3"):
        targets = SMALL[f"{net}/targets/{label}"].reshape(-1)
        check(model, preset, x, targets, SMALL[f"{net}/relevance/{rules}/{label}"])
