"""Conv and ConvTranspose: every form of their attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
from case import BATCH, SEED, Case, case, fixed, noise
from hypothesis import strategies as st

from relcam_onnx.ops import Linear, lookup

Draw = Any


@st.composite
def conv(draw: Draw) -> Case:
    rank, group, seed = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(SEED)
    each = st.lists(st.integers(1, 3), min_size=rank, max_size=rank)
    kernel, strides = draw(each), draw(each)
    dilations = draw(st.lists(st.integers(1, 2), min_size=rank, max_size=rank))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    size = [r + draw(st.integers(0, 4)) for r in reach]
    attrs: dict[str, Any] = {"strides": strides, "dilations": dilations, "group": group}
    if draw(st.booleans()):
        attrs["pads"] = draw(st.lists(st.integers(0, 2), min_size=2 * rank, max_size=2 * rank))
    else:
        attrs["auto_pad"] = draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]))
        if attrs["auto_pad"] != "VALID":
            attrs["dilations"] = [1] * rank  # onnxruntime refuses SAME with dilation
    x = noise(seed, draw(BATCH), 2 * group, *size)
    weight = noise(seed, 3 * group, 2, *kernel)
    bias = [fixed(noise(seed, 3 * group))] if draw(st.booleans()) else []
    return case("Conv", x, fixed(weight), *bias, **attrs)


@st.composite
def conv_transpose(draw: Draw) -> Case:
    rank, group, seed = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(SEED)
    each = st.lists(st.integers(1, 3), min_size=rank, max_size=rank)
    kernel, strides, size = draw(each), draw(each), draw(each)
    dilations = draw(st.lists(st.integers(1, 2), min_size=rank, max_size=rank))
    natural = [s * (n - 1) + d * (k - 1) + 1 for n, k, s, d in zip(size, kernel, strides, dilations, strict=True)]
    attrs: dict[str, Any] = {"strides": strides, "dilations": dilations, "group": group}
    form = draw(st.sampled_from(["pads", "output_padding", "output_shape", "SAME_UPPER", "SAME_LOWER"]))
    if form == "pads":
        attrs["pads"] = [draw(st.integers(0, (n - 1) // 2)) for n in natural * 2]
    elif form == "output_padding":
        attrs["output_padding"] = [draw(st.integers(0, s - 1)) for s in strides]
    elif form == "output_shape":
        attrs["output_shape"] = [draw(st.integers(max(1, n - 2), n)) for n in natural]
    else:
        # SAME pads away what reaches beyond stride times size; a smaller kernel leaves nothing to pad.
        attrs["kernel_shape"] = kernel = [max(k, s) for k, s in zip(kernel, strides, strict=True)]
        attrs |= {"auto_pad": form, "dilations": [1] * rank}
    x, weight = noise(seed, draw(BATCH), 2 * group, *size), noise(seed, 2 * group, 3, *kernel)
    bias = [fixed(noise(seed, 3 * group))] if draw(st.booleans()) else []
    return case("ConvTranspose", x, fixed(weight), *bias, **attrs)


CASES: dict[str, st.SearchStrategy[Case]] = {"Conv": conv(), "ConvTranspose": conv_transpose()}


def test_conv_adjoint_reaches_positions_that_no_window_read() -> None:
    """5 positions, stride 3, kernel 1: positions 0 and 3 are read, and the gradient keeps all 5."""
    one = case("Conv", noise(0, 1, 1, 5), fixed(np.full((1, 1, 1), 2, np.float32)), strides=[3])
    _, _, record = one.describe()
    assert isinstance(record, Linear)
    term = record.terms[0]
    handed = term.adjoint(np.ones((1, 1, 2), np.float32), term.weight)
    np.testing.assert_array_equal(handed, [[[2, 0, 0, 2, 0]]])


def test_a_computed_kernel_is_refused() -> None:
    node = case("Conv", noise(0, 1, 2, 4), noise(0, 2, 2, 1)).node
    assert "computed" in str(lookup(node).refuses(node))
