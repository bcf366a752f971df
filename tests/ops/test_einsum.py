"""Einsum of one computed tensor and one constant."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from case import BATCH, SEED, Case, case, fixed, noise
from hypothesis import strategies as st
from test_product import contractions

from relcam_onnx.ops import Linear, lookup

Draw = Any

SIZES = {"b": 0, "c": 4, "d": 5, "h": 2, "p": 3, "q": 6}
EQUATIONS = ["bc,cd->bd", "bpc,cd->bpd", "bpc,cd->bdp", "dc,bpc->bpd", "bpqc,dc->bdpq", "bhpc,hcd->bhpd",
             "bpc,chd->bphd", "bhpc,hcd->bpd", "...c,cd->...d", "bcp,cd", "bcp,c->bp"]  # fmt: skip


@st.composite
def einsum(draw: Draw) -> Case:
    equation, seed, batch = draw(st.sampled_from(EQUATIONS)), draw(SEED), draw(BATCH)
    operands: list[Any] = []
    for number, names in enumerate(equation.partition("->")[0].split(",")):
        shape = [SIZES[name] or batch for name in names.replace("...", "bp")]
        computed = names[0] in "b."
        operands.append(noise(seed + number, *shape) if computed else fixed(noise(seed + number, *shape)))
    return case("Einsum", *operands, equation=equation)


CASES: dict[str, st.SearchStrategy[Case]] = {"Einsum": einsum() | contractions()}


@pytest.mark.parametrize(
    ("equation", "shapes", "why"),
    [
        ("bc,cd->db", [(1, 4), (4, 5)], "batch"),
        ("bc,bd->cd", [(1, 4), (1, 5)], "batch"),
        ("bcc,cd->bd", [(1, 4, 4), (4, 5)], "diagonal"),
        ("bpc,cd->bd", [(1, 3, 4), (4, 5)], "alone"),
        ("bc,...cd->...bd", [(1, 4), (2, 4, 5)], "ellipsis"),
    ],
)
def test_what_is_no_layer_is_refused(equation: str, shapes: list[tuple[int, ...]], why: str) -> None:
    node = case("Einsum", noise(0, *shapes[0]), fixed(noise(1, *shapes[1])), equation=equation).node
    assert why in str(lookup(node).refuses(node))


def test_computed_tensors_that_mix_images_are_refused() -> None:
    node = case("Einsum", noise(0, 1, 4), noise(1, 4, 1), equation="bc,cb->b").node
    assert "batch is not first" in str(lookup(node).refuses(node))
    node = case("Einsum", noise(0, 1, 4), equation="bc->cb").node
    assert "no product" in str(lookup(node).refuses(node))


def test_it_is_the_matmul_that_it_spells() -> None:
    x, w, s = noise(0, 2, 3, 4), noise(1, 4, 5), noise(2, 2, 3, 5)
    _, _, spelled = case("Einsum", x, fixed(w), equation="bpc,cd->bpd").describe()
    _, _, plain = case("MatMul", x, fixed(w)).describe()
    assert isinstance(spelled, Linear)
    assert isinstance(plain, Linear)
    got, wanted = (one.terms[0].adjoint(s, one.terms[0].weight) for one in (spelled, plain))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
