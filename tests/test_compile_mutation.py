"""The checks can fail: rules and lowerings that are broken on purpose are seen by what guards them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from compare import same_maps
from hypothesis import given
from hypothesis import strategies as st
from nets import picture, residual
from test_compile_networks import both
from test_rules import dense
from twins import TWINS

from relcam_onnx.backends import lowering
from relcam_onnx.backends.eager import Eager
from relcam_onnx.ops import Message
from relcam_onnx.rules import Rule, contributions


def values(seed: int) -> list[np.ndarray]:
    """Signed inputs and weights, so many that every output is pushed up and down; biases above 0; relevance."""
    rng = np.random.default_rng(seed)
    x, w, b, r = (rng.standard_normal(shape, np.float32) for shape in ((1, 20), (20, 3), (3,), (1, 3)))
    return [x, w, np.abs(b) + np.float32(0.5), r]


def is_twin(rule: Rule, twin: Any, seed: int) -> bool:
    """Whether a rule does what its twin says."""
    f, (x, w, b, r) = Eager(), values(seed)
    got = rule.linear(f, dense(f, x, w, b), Message(r))[0].relevance(f)[0]
    wanted = twin(*(a.astype(np.float64) for a in (x[0], w, b, r[0])))
    return bool(np.abs(got - wanted).max() <= 1e-4 * np.abs(wanted).max())


def conserves(rule: Rule, seed: int) -> bool:
    """Whether all relevance arrives, where there is no bias."""
    f, (x, w, _, r) = Eager(), values(seed)
    got = rule.linear(f, dense(f, x, w, None), Message(r))[0].relevance(f)
    return bool(abs(got.sum() - r.sum()) <= 1e-3 * np.abs(r).sum())


magnitude, weights, turn = contributions.magnitude, contributions.weights, lowering.turn

BROKEN: dict[str, tuple[tuple[Any, str, Any], ...]] = {
    "the denominator sums the other sign": (
        (contributions, "magnitude", lambda f, op, t, sign: magnitude(f, op, t, -sign)),
    ),
    "positive and negative weights change places": ((contributions, "weights", lambda f, t: weights(f, t)[::-1]),),
    "only positive inputs hand on": (
        (contributions, "weights", lambda f, t: (weights(f, t)[0], weights(f, t)[1] * 0.0)),
    ),
}


@pytest.mark.parametrize("how", BROKEN)
@given(seed=st.integers(0, 999))
def test_twins_and_conservation_see_a_broken_rule(how: str, seed: int) -> None:
    rule, twin = TWINS["z-plus"]
    bare, bare_twin = TWINS["z-plus without bias"]
    assert is_twin(rule, twin, seed)
    assert is_twin(bare, bare_twin, seed)
    assert conserves(bare, seed)
    with pytest.MonkeyPatch.context() as patch:
        for place, name, wrong in BROKEN[how]:
            patch.setattr(place, name, wrong)
        assert not is_twin(rule, twin, seed)
        assert not conserves(bare, seed)


@given(seed=st.integers(0, 999))
def test_a_bias_that_is_left_out_is_seen(seed: int) -> None:
    (with_bias, twin), (without, twin_without) = TWINS["z-plus"], TWINS["z-plus without bias"]
    assert not is_twin(without, twin, seed)
    assert not is_twin(with_bias, twin_without, seed)


def swapped_only(f: Any, w: Any, kernel: Any, group: int) -> Any:
    """The channels change places, and the positions stay as they are."""
    outputs, inputs = f.dims(w)[:2]
    apart = f.Reshape(w, [group, outputs // group, inputs, *kernel])
    return f.Reshape(f.Transpose(apart, perm=[0, 2, 1, 3, 4]), [group * inputs, outputs // group, *kernel])


LOWERINGS: dict[str, Callable[..., Any]] = {
    "kernels are not turned around": swapped_only,
    "half of it is lost": lambda f, w, kernel, group: f.Mul(turn(f, w, kernel, group), 0.5),
}


@pytest.mark.parametrize("how", LOWERINGS)
@pytest.mark.parametrize("preset", ["default", "gradient", "epsilon-plus"])
def test_the_reference_sees_a_broken_lowering(how: str, preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"layers": "stages", "preset": preset}
    x = picture(2, 3, 32, 32)
    same_maps(*both(residual(), x, None, **options), 1e-4)
    monkeypatch.setattr(lowering, "turn", LOWERINGS[how])
    found = both(residual(), x, None, **options)
    with pytest.raises(AssertionError):
        same_maps(*found, 1e-4)
