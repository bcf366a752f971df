"""Which pictures a batch explains: the language of --where."""

import pytest

from relcam_onnx.batch.where import Condition
from relcam_onnx.errors import OptionError

CAT = {"probability": 0.5, "score": 3.0, "margin": -1.0, "label": "cat", "target": 7}


@pytest.mark.parametrize(("text", "holds"), [
    ("probability < 0.6", True),
    ("probability<.5", False),
    ("0.4 < probability <= 0.5 < score", True),
    ("0.4 < probability < 0.5 < score", False),
    ("not probability < 0.6", False),
    ("margin == -1 and label == 'cat'", True),
    ("margin > 0 or label != 'cat' or target in (1, 7)", True),
    ("margin > 0 or not label in ['dog', 'cat']", False),
    ("target not in (1, 2) and score >= 3", True),
    ("(probability < .1 or margin < 0) and (score > 2)", True),
    ("probability < margin", False),
])  # fmt: skip
def test_what_holds(text: str, holds: bool) -> None:
    assert Condition(text).holds_for(CAT) is holds


def test_what_is_not_told_fails_every_comparison() -> None:
    nothing = dict.fromkeys(CAT)
    for text in ("probability < 1", "probability >= 0", "label != 'cat'", "target in (7, 8)"):
        assert not Condition(text).holds_for(nothing)


@pytest.mark.parametrize(("text", "why"), [
    ("probabilty < 0.6", "asks for 'probabilty' (did you mean 'probability'?"),
    ("probability", "has 'probability' where a comparison belongs"),
    ("0.6", "where a comparison belongs"),
    ("", "is no expression"),
    ("probability < ", "is no expression"),
    ("(" * 300 + "score < 1" + ")" * 300, "is no expression"),
    ("score < 1 and " * 90 + "score < 1", "has 1269 characters"),
    ("probability < True", "has 'True', which is neither"),
    ("label < 'cat'", "which of two texts is larger"),
    ("label == 3", "compares a text with a number"),
    ("target in (1, 'cat')", "compares a text with a number"),
    ("label in 'cat'", "'in' is followed by a list"),
    ("target == (1, 2)", "'in' is followed by a list"),
    ("label is None", "compares in a way that is not possible"),
    ("abs(margin) < 1", "has 'abs(margin)'"),
    ("__import__('os').system('true') == 0", "which is neither"),
    ("label.upper() == 'CAT'", "which is neither"),
    ("[score for score in (1,)] == 1", "which is neither"),
    ("score + 1 < 2", "has 'score + 1'"),
    ("(lambda: 1) == 1", "which is neither"),
    ("score < 1 if True else False", "where a comparison belongs"),
])  # fmt: skip
def test_anything_else_is_refused(text: str, why: str) -> None:
    with pytest.raises(OptionError) as raised:
        Condition(text)
    assert why in str(raised.value)
    assert "possible are" in str(raised.value) or "at most" in str(raised.value)
