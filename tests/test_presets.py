"""Presets: which rule an op gets, their parameters, and TOML files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import onnx
import pytest
from nets import Net, canonical, plain, residual

from relcam_onnx.analysis.bounds import Bounds
from relcam_onnx.analysis.layers import Layer
from relcam_onnx.analysis.paths import Paths
from relcam_onnx.analysis.scores import find_scores
from relcam_onnx.analysis.stages import Stages
from relcam_onnx.errors import OptionError
from relcam_onnx.lrp.plan import make_plan
from relcam_onnx.lrp.preset_file import read_toml, resolve
from relcam_onnx.lrp.presets import PRESETS, Preset, preset
from relcam_onnx.lrp.sites import Match, Site, matches
from relcam_onnx.rules import (
    RULES,
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Gradient,
    Guided,
    Norm,
    Pass,
    Rule,
    SignShare,
    ZBox,
    Zero,
    ZPlus,
)
from relcam_onnx.rules.published import PublishedAdaptivePool, PublishedConv


def rules_of(chosen: Preset, model: onnx.ModelProto, bounds: Bounds | None = None) -> dict[str, Rule]:
    """Tensor -> the rule of the node that makes it, down to the image."""
    loaded = canonical(model, batch_norm=chosen.fold_batch_norm)
    paths = Paths(loaded, find_scores(loaded).tensor)
    layers, known = [Layer(t.name, t, None) for t in paths.images], {} if bounds is None else {"x": bounds}
    plan = make_plan(paths, Stages(paths), chosen, layers, known)
    return {step.node.outputs[0].name: step.rule for step in plan.steps}


def kinds(chosen: Preset) -> dict[str, Rule]:
    """The rules of a residual network by the part that an op plays."""
    rules = rules_of(chosen, residual())
    first = "batchnormalization1" if chosen.fold_batch_norm else "conv0"
    convolutions = [n for n in rules if n.startswith("batchnormalization" if chosen.fold_batch_norm else "conv")]
    inner = next(n for n in convolutions if n != first)
    pool = next(n for n in rules if n.startswith("globalaveragepool"))
    return {
        "first": rules[first], "conv": rules[inner], "dense": rules["scores"], "sum": rules["sum1"],
        "pool": rules[pool], "relu": rules["stem"],
    }  # fmt: skip


COMPOSITE = {"dense": Epsilon(), "sum": Norm(), "pool": Norm()}
EXPECTED: dict[str, dict[str, Rule]] = {
    "default": {
        "first": ZBox(), "conv": ZPlus(), "dense": Epsilon(), "sum": SignShare(), "pool": SignShare(),
    },
    "paper": {
        "first": ZBox(), "conv": ZPlus(bias=False), "dense": ZPlus(bias=False), "sum": Norm(), "pool": Norm(),
    },
    "official": {
        "first": ZBox(known_bounds=False, eps=0.0), "conv": PublishedConv(), "dense": PublishedConv(bias=False),
        "sum": Zero(), "pool": PublishedAdaptivePool(),
    },
    "gradient": dict.fromkeys(("first", "conv", "dense", "sum", "pool", "relu"), Gradient()),
    "guided-backprop": dict.fromkeys(("first", "conv", "dense", "sum", "pool"), Gradient()) | {"relu": Guided()},
    "epsilon-plus": COMPOSITE | {"first": ZPlus(), "conv": ZPlus()},
    "epsilon-plus-flat": COMPOSITE | {"first": Flat(), "conv": ZPlus()},
    "epsilon-gamma-box": COMPOSITE | {"first": ZBox(), "conv": Gamma(0.25)},
    "epsilon-alpha2-beta1": COMPOSITE | {"first": AlphaBeta(2, 1), "conv": AlphaBeta(2, 1)},
    "attn-lrp": {"first": Epsilon(), "conv": Epsilon(), "dense": Epsilon(), "sum": Norm(), "pool": Norm()},
    "epsilon-alpha2-beta1-flat": COMPOSITE | {"first": Flat(), "conv": AlphaBeta(2, 1)},
}  # fmt: skip


@pytest.mark.parametrize("name", PRESETS)
def test_which_rule_each_op_gets(name: str) -> None:
    rules = kinds(preset(name))
    wanted = EXPECTED[name]
    assert {part: rules[part] for part in wanted} == wanted


def test_official_passes_batch_norm_through() -> None:
    rules = rules_of(preset("official"), residual())
    assert {type(rule) for name, rule in rules.items() if name.startswith("batchnorm")} == {Pass}


def test_a_convolution_over_one_position_is_dense() -> None:
    net = Net("N", 3, 8, 8)
    pooled = net("GlobalAveragePool", net("Relu", net.conv(net.x, 3, 4)))
    squeezed = net("Relu", net.conv(pooled, 4, 6, 1, name="squeezed"))
    model = net.model(net("Flatten", net.conv(squeezed, 6, 5, 1, name="classes")))
    rules = rules_of(preset("epsilon-plus"), model)
    assert (rules["squeezed"], rules["classes"], rules["conv0"]) == (Epsilon(), Epsilon(), ZPlus())


SITE = Site("Conv", "/layer1/conv", "layer1.0.conv1", frozenset({"conv", "first"}))


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ("*", True), ("conv", True), ("first", True), ("dense", False), ("Conv", True), ("Gemm", False),
        ("layer1.*", True), ("layer2.*", False), ("/layer1/*", True), ("layer1.0.conv?", True),
        (lambda site: site.path.endswith("conv1"), True), (lambda site: False, False),
    ],
)  # fmt: skip
def test_matches(match: Match, fits: bool) -> None:
    assert matches(match, SITE) is fits


def test_the_first_match_wins() -> None:
    ordered = Preset("mine", (("first", Flat()), ("conv", ZPlus()), ("*", Epsilon())))
    assert ordered.rule(SITE) == Flat()
    assert Preset("none", (("dense", Flat()),)).rule(SITE) is None


def test_parameters() -> None:
    assert preset("epsilon-gamma-box", low=-3.0, high=3.0).rules[1][1] == ZBox(-3.0, 3.0)
    assert preset("default", bias=False).rules[-1][1] == ZPlus(bias=False)
    with pytest.raises(OptionError, match="'paper' has no parameter gamma; it takes bias, low, high"):
        preset("paper", gamma=1.0)
    with pytest.raises(OptionError, match="'epsilon-plus' has no parameter low; it takes none"):
        preset("epsilon-plus", low=1.0)
    with pytest.raises(OptionError, match="did you mean 'epsilon-plus'"):
        preset("epsilon-pluss")


def box_of(chosen: Preset, bounds: Bounds) -> tuple[object, object]:
    """The bounds that the first layer's zᴮ has in the plan, as lists."""
    box = rules_of(chosen, plain(), bounds)["conv0"]
    assert isinstance(box, ZBox)
    ends = [None if end is None else np.asarray(end).reshape(-1).tolist() for end in (box.low, box.high)]
    return ends[0], ends[1]


def test_bounds_are_set_where_a_rule_asks_for_them() -> None:
    bounds = np.array([-2.0, -2.5, -3.0], np.float32), np.array([2.0, 2.5, 3.0], np.float32)
    assert box_of(preset("default"), bounds) == ([-2.0, -2.5, -3.0], [2.0, 2.5, 3.0])
    assert box_of(preset("default", low=-1.0, high=1.0), bounds) == ([-1.0], [1.0])
    assert box_of(preset("official"), bounds) == (None, None)


def test_resolve() -> None:
    mine = Preset("mine", (("*", Epsilon()),))
    assert resolve(mine, "lrp") is mine
    assert resolve(None, None).name == "default"
    assert resolve(None, "grad-cam").name == "gradient"
    assert resolve("paper", "grad-cam").name == "paper"


TOML = """
name = "mine"
seed = "logit"
method = "lrp"
fold_batch_norm = false

[[rules]]
match = "first"
rule = "z-box"
low = [-2.0, -2.1, -2.2]
high = 2.5

[[rules]]
match = "layer?.*"
rule = "alpha-beta"
alpha = 3.0
beta = 2.0

[[rules]]
match = "*"
rule = "epsilon"
"""


def test_toml(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TOML, encoding="utf-8-sig")  # as Windows' editors write it
    wanted = Preset(
        "mine",
        (("first", ZBox((-2.0, -2.1, -2.2), 2.5)), ("layer?.*", AlphaBeta(3.0, 2.0)), ("*", Epsilon())),
        "logit", "lrp", fold_batch_norm=False,
    )  # fmt: skip
    assert read_toml(path) == resolve(str(path), None) == resolve(path, None) == wanted


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rules = [", "cannot be read"),
        ("", r"no \[\[rules\]\]"),
        ("colour = 1", "no key colour"),
        ('[[rules]]\nmatch = "*"', "rule 1: match = and rule = must both be texts"),
        ('[[rules]]\nmatch = "*"\nrule = "epsilom"', "did you mean 'epsilon'"),
        ('[[rules]]\nmatch = "*"\nrule = "gamma"\nbeta = 1', "'gamma' has no parameter beta; it takes gamma, eps"),
        ("seed = 3", "seed must be a str, not 3"),
        ('fold_batch_norm = "no"', "fold_batch_norm must be a bool, not 'no'"),
        ("fold_batch_norm = 1", "fold_batch_norm must be a bool, not 1"),
        ('rules = "epsilon"', r"no \[\[rules\]\]; each needs match = and rule ="),
        ('[[rules]]\nmatch = 1\nrule = "epsilon"', "rule 1: match = and rule = must both be texts"),
        (
            '[[rules]]\nmatch = "*"\nrule = "epsilon"\neps = "a"',
            "rule 1: eps of rule 'epsilon' must be a number, at least 0, not 'a'",
        ),
        ('[[rules]]\nmatch = "*"\nrule = "epsilon"\neps = true', "eps .* must be a number, at least 0, not True"),
        ('[[rules]]\nmatch = "*"\nrule = "epsilon"\nbias = 0.5', "bias .* must be true or false, not 0.5"),
        (
            '[[rules]]\nmatch = "*"\nrule = "z-box"\nlow = [-1.0, "a"]',
            r"low .* must be a finite number, or .*, not \(-1\.0, 'a'\)",
        ),
        ('[[rules]]\nmatch = "*"\nrule = "epsilon"\neps = -1.0', "eps .* at least 0, not -1.0"),
        ('[[rules]]\nmatch = "*"\nrule = "gamma"\ngamma = nan', "gamma .* at least 0, not nan"),
        (
            '[[rules]]\nmatch = "*"\nrule = "alpha-beta"\nalpha = 3',
            "rule 1: alpha - beta .* must be 1.* alpha is 3, beta 1",
        ),
    ],
)
def test_toml_mistakes(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(OptionError, match=says):
        read_toml(path)


def test_toml_missing(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"none\.toml' cannot be read"):
        resolve(str(tmp_path / "none.toml"), None)


def test_a_match_that_fits_nothing_is_refused() -> None:
    with pytest.raises(OptionError, match=r"'layer9\.\*' is no role"):
        rules_of(Preset("mine", (("layer9.*", Flat()), ("*", Epsilon()))), plain())


def test_an_op_without_a_rule_is_refused() -> None:
    with pytest.raises(OptionError, match=r"no rule for Gemm node 'scores'.*end its rules with a match"):
        rules_of(Preset("mine", (("conv", Flat()),)), plain())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Gamma(-5), "gamma of rule 'gamma' must be a number, at least 0, not -5"),
        (lambda: Epsilon(eps=float("inf")), "eps of rule 'epsilon' .* not inf"),
        (lambda: ZPlus(bias=1), "bias of rule 'z-plus' must be true or false, not 1"),  # type: ignore[arg-type]
        (lambda: AlphaBeta(3, 5), "alpha - beta of rule 'alpha-beta' must be 1"),
        (lambda: AlphaBeta(0.5, -0.5), "beta .* at least 0, not -0.5"),
        (lambda: ZBox(3.0, -3.0), "low of rule 'z-box' must be below high"),
        (lambda: ZBox((0.0, 1.0), np.float32([1.0, 1.0])), "low of rule 'z-box' must be below high"),
        (lambda: ZBox((0.0, 1.0), (2.0, 2.0, 2.0)), "must be as many, not 2 and 3"),
        (lambda: ZBox(np.float32([np.nan, 0.0])), "low of rule 'z-box' must be a finite number"),
        (lambda: preset("default", bias="false"), "preset 'default': bias of rule 'z-plus' must be true or false"),
        (lambda: preset("epsilon-gamma-box", gamma="x"), "preset 'epsilon-gamma-box': gamma of rule 'gamma'"),
    ],
)
def test_a_parameter_out_of_its_range_is_named(make: Callable[[], object], says: str) -> None:
    """Such made maps of something else: "false" was true, and relevance grew with alpha - beta."""
    with pytest.raises(OptionError, match=says):
        make()


def test_every_parameter_of_a_rule_has_a_range() -> None:
    for rule in (*RULES.values(), PublishedConv, PublishedAdaptivePool):
        assert all("range" in field.metadata for field in fields(rule)), rule  # type: ignore[arg-type]


def test_bounds_are_one_for_each_channel() -> None:
    two = Preset("mine", (("first", ZBox((0.0, 0.0), (1.0, 1.0))), ("*", Epsilon())))
    with pytest.raises(OptionError, match="2 numbers, and the picture 'x' has 3 channels"):
        rules_of(two, plain())
