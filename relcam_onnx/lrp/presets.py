"""Presets: which rule each op gets, what relevance starts as, and how maps are made of it.

A preset is an ordered list of (match, rule) pairs; the first match wins. A match is a role, an op type, a glob over
module paths or node names, or a function of a `Site`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from relcam_onnx.errors import OptionError, nearest
from relcam_onnx.lrp.sites import Match, Site, matches
from relcam_onnx.rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Gradient,
    Guided,
    Halves,
    Norm,
    Pass,
    PublishedAdaptivePool,
    PublishedConv,
    Rule,
    SignShare,
    Taylor,
    ZBox,
    Zero,
    ZPlus,
)


@dataclass(frozen=True)
class Preset:
    """Which rule each op gets, and the seed and method that go with it.

    Attributes
    ----------
    name
        What results and files call it.
    rules
        Ordered (match, rule) pairs. Ops without weights (activations, pools by maximum, movement) need no match: they
        relay relevance as they are, unless a rule that matches says otherwise.
    seed, method
        The defaults of `Explainer` under this preset.
    fold_batch_norm
        Whether batch normalisation is folded into the layer before it.
    """

    name: str
    rules: tuple[tuple[Match, Rule], ...]
    seed: str = "rivals"
    method: str = "local-relevance-cam"
    fold_batch_norm: bool = True

    def rule(self, site: Site) -> Rule | None:
        """The first rule that matches an op; None where none does."""
        return next((rule for match, rule in self.rules if matches(match, site)), None)


def default(*, bias: bool = True, low: float | None = None, high: float | None = None) -> Preset:
    """Ours: z⁺ with the positive bias in convolutions, ε in dense layers, zᴮ at the image, sums shared by sign.

    Beside attention sums are shared in proportion, which measures better there (docs/quality.md).
    """
    return Preset(
        "default",
        (
            ("input-shift", Pass()),
            ("first", ZBox(low, high)),
            ("output", Epsilon()),
            ("dense", Epsilon()),
            ("norm", Epsilon()),
            ("product", Epsilon()),
            ("attention-sum", Norm()),
            ("sum", SignShare()),
            ("average", SignShare()),
            ("*", ZPlus(bias)),
        ),
    )


def paper(*, bias: bool = False, low: float | None = None, high: float | None = None) -> Preset:
    """The paper's equations: z⁺ without bias, in dense layers too, and Add in proportion."""
    return Preset(
        "paper",
        (
            ("input-shift", Pass()),
            ("first", ZBox(low, high)),
            ("norm", Epsilon()),
            ("product", Epsilon()),
            ("sum", Norm()),
            ("average", Norm()),
            ("*", ZPlus(bias)),
        ),
        seed="clrp",
        method="relevance-cam",
    )


def official() -> Preset:
    """The authors' published code, figure by figure."""
    return Preset(
        "official",
        (
            ("input-shift", Pass()),
            ("product", Epsilon()),
            ("batch-norm", Pass()),
            ("first-rgb", ZBox(known_bounds=False, eps=0.0)),
            ("sum", Zero()),
            ("global-average", PublishedAdaptivePool()),
            ("average", Zero()),
            ("Gemm", PublishedConv(bias=False)),
            ("MatMul", PublishedConv(bias=False)),
            ("*", PublishedConv()),
        ),
        seed="official",
        method="relevance-cam",
        fold_batch_norm=False,
    )


def gradient() -> Preset:
    """Every op's plain adjoint."""
    return Preset("gradient", (("*", Gradient()),), seed="one-hot", method="grad-cam")


def guided_backprop() -> Preset:
    """The gradient, of which every ReLU hands on the positive part alone."""
    rules = (("Relu", Guided()), ("Clip", Guided()), ("*", Gradient()))
    return Preset("guided-backprop", rules, seed="one-hot", method="lrp")


def composite(name: str, convolution: Rule, first: Rule | None = None) -> Preset:
    """A composite of the LRP literature: ε in dense layers, one rule for convolutions, one for the first layer."""
    return Preset(
        name,
        (
            ("input-shift", Pass()),
            *((("first", first),) if first else ()),
            ("dense", Epsilon()),
            ("norm", Epsilon()),
            ("product", Epsilon()),
            ("sum", Norm()),
            ("average", Norm()),
            ("*", convolution),
        ),
        seed="logit",
        method="lrp",
    )


def attn_lrp() -> Preset:
    """AttnLRP: ε throughout, and relevance for attention's weights, queries and keys, too."""
    return Preset(
        "attn-lrp",
        (
            ("input-shift", Pass()),
            ("product", Halves()),
            ("Softmax", Taylor()),
            ("sum", Norm()),
            ("average", Norm()),
            ("*", Epsilon()),
        ),
        seed="logit",
        method="lrp",
    )


def epsilon_gamma_box(*, low: float | None = None, high: float | None = None, gamma: float = 0.25) -> Preset:
    """ε, γ and zᴮ."""
    return composite("epsilon-gamma-box", Gamma(gamma), ZBox(low, high))


PRESETS: dict[str, Callable[..., Preset]] = {
    "default": default,
    "paper": paper,
    "official": official,
    "gradient": gradient,
    "guided-backprop": guided_backprop,
    "epsilon-plus": lambda: composite("epsilon-plus", ZPlus()),
    "epsilon-plus-flat": lambda: composite("epsilon-plus-flat", ZPlus(), Flat()),
    "epsilon-gamma-box": epsilon_gamma_box,
    "epsilon-alpha2-beta1": lambda: composite("epsilon-alpha2-beta1", AlphaBeta()),
    "epsilon-alpha2-beta1-flat": lambda: composite("epsilon-alpha2-beta1-flat", AlphaBeta(), Flat()),
    "attn-lrp": attn_lrp,
}
"""The presets by name."""

GRADIENTS = frozenset({"gradient", "guided-backprop"})
"""Those whose maps are no relevance: nothing of the score is shared out there."""


def preset(name: str, **parameters: Any) -> Preset:
    """A named preset with its parameters set: ``preset("epsilon-gamma-box", low=-3.0, high=3.0)``.

    Raises
    ------
    OptionError
        No preset has that name, or it has no such parameter, or that has another range.
    """
    if name not in PRESETS:
        raise OptionError(
            f"no preset is called {name!r}{nearest(name, PRESETS)}; there are {', '.join(PRESETS)}, "
            "or the path of a TOML file"
        )
    make = PRESETS[name]
    accepted = getattr(make, "__kwdefaults__", None) or {}
    if unknown := sorted(set(parameters) - set(accepted)):
        takes = f"it takes {', '.join(accepted)}" if accepted else "it takes none"
        raise OptionError(f"preset {name!r} has no parameter {', '.join(unknown)}; {takes}")
    try:
        return make(**parameters)
    except OptionError as error:
        raise OptionError(f"preset {name!r}: {error}") from error
