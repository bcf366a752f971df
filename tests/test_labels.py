"""Labels are found in the contract's order, and a target's name means the class that a reader expects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from relcam_onnx.errors import OptionError, TargetError
from relcam_onnx.pictures.labels import find_label, find_labels, which_was_taken

ANIMALS = ["tabby, tabby cat", "tiger cat", "crane", "Great Dane", "crane", "7"]


def test_every_kind_of_option(tmp_path: Path) -> None:
    text, as_list, as_map = tmp_path / "a.txt", tmp_path / "a.json", tmp_path / "b.json"
    text.write_text("cat\ngreat dane\n\n", encoding="utf-8-sig")
    as_list.write_text('["cat", "great dane"]')
    as_map.write_text('{"1": "great dane", "0": "cat"}')
    for option in (text, str(text), as_list, as_map, ["cat", "great dane"], {1: "great dane", 0: "cat"}):
        assert find_labels(option, {"relcam.labels": '["x"]'}, tmp_path) == ["cat", "great dane"]


def test_the_order(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"id2label": {"0": "hub"}, "label_names": ["timm"]}')
    metadata = {"relcam.labels": '{"0": "ours"}', "names": "{0: 'yolo'}"}
    assert find_labels(["user"], metadata, tmp_path) == ["user"]
    assert find_labels(None, metadata, tmp_path) == ["ours"]
    assert find_labels(None, {"names": metadata["names"]}, tmp_path) == ["yolo"]
    assert find_labels(None, {}, tmp_path) == ["hub"]
    assert find_labels(None, {}, None) is None


def test_ultralytics_writes_python_or_json() -> None:
    expected = ["it's a cat", "dog"]
    for text in (str({0: expected[0], 1: "dog"}), str(expected), json.dumps({"0": expected[0], "1": "dog"})):
        assert find_labels(None, {"names": text}, None) == expected


def test_timm(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"label_names": ["n1", "n2"], "label_descriptions": {"n1": "tench"}}')
    assert find_labels(None, {}, tmp_path) == ["tench", "n2"]
    path.write_text('{"pretrained_cfg": {"label_names": ["a", "b"]}}')
    assert find_labels(None, {}, tmp_path) == ["a", "b"]
    path.write_text("{}")
    assert find_labels(None, {}, tmp_path) is None


@pytest.mark.parametrize("text", ["{0: 'a', 2: 'b'}", "[]", "3", "__import__('os').getcwd()", "{0: ", "[" * 100_000])
def test_malformed_metadata_is_named(text: str) -> None:
    with pytest.raises(OptionError, match="metadata names"):
        find_labels(None, {"names": text}, None)


def test_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\xff")
    (tmp_path / "bad.json").write_text("{")
    for name in ("gone.txt", "empty.txt", "bytes.txt", "bad.json"):
        with pytest.raises(OptionError, match=name):
            find_labels(tmp_path / name, {}, None)


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("3", [3]),
        (" -1 ", [-1]),
        ("7", [5]),  # a label before an index
        ("5", [5]),
        ("great dane", [3]),
        ("TIGER CAT", [1]),
        ("tabby cat", [0]),
        ("tabby, tabby cat", [0]),
        ("tiger", [1]),
        ("dane", [3]),
        ("gr", [3]),  # how a word begins
        ("crane", [2, 4]),
    ],
)
def test_a_target_is_found(text: str, classes: list[int]) -> None:
    assert find_label(text, ANIMALS) == classes


def test_a_number_is_a_label_before_it_is_an_index() -> None:
    """With these labels --target 3 explained the class that is called 1."""
    labels = ["3", "4", "0", "1", "2"]
    assert [find_label(label, labels) for label in labels] == [[0], [1], [2], [3], [4]]
    assert which_was_taken("3", labels) == (
        "target '3' is the label of class 0, which is taken; the class of index 3 is called '1'"
    )
    assert find_label("-1", ["-1", "0", "1"]) == [0]
    assert "rank -1 is not asked for" in str(which_was_taken("-1", ["-1", "0", "1"]))
    assert find_label("2", ["2,5 kg", "5 kg", "10 kg"]) == [2]  # a comma in a number
    assert find_label("1", ["1", "1", "2"]) == [1]  # which of both is meant, the index says


@pytest.mark.parametrize(("text", "labels"), [("7", ANIMALS), ("1", ["0", "1"]), ("1", None), ("cat", ["cat"])])
def test_what_is_not_both_needs_no_note(text: str, labels: list[str] | None) -> None:
    assert which_was_taken(text, labels) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cat", r"fits 2 labels \(0 'tabby, tabby cat', 1 'tiger cat'\)"),
        ("grate dane", "'grate dane' is no label of this model's 6 \\(did you mean 'great dane'"),
        ("", "no label"),
        ("zebra", "index works too"),
    ],
)
def test_a_target_that_is_not_one_class(text: str, words: str) -> None:
    with pytest.raises(TargetError, match=words):
        find_label(text, ANIMALS)


BIRDS = ["oystercatcher, oyster catcher", "tiger cat", "catamaran", "dogsled", "C++ compiler"]


@pytest.mark.parametrize(
    ("text", "classes"), [("cat", [1]), ("tiger", [1]), ("catam", [2]), ("oyster", [0]), ("dog", [3]), ("c++", [4])]
)
def test_whole_words_come_before_parts(text: str, classes: list[int]) -> None:
    assert find_label(text, BIRDS) == classes


@pytest.mark.parametrize("text", ["catcher cat", "iger", "sled", ","])
def test_the_middle_of_a_word_is_no_part(text: str) -> None:
    with pytest.raises(TargetError, match="no label"):
        find_label(text, BIRDS)


def test_names_need_labels() -> None:
    assert find_label("12", None) == [12]
    with pytest.raises(TargetError, match="--labels"):
        find_label("cat", None)
