"""index.html: a page that loads nothing from elsewhere, runs nothing, and says everything in words too."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

import numpy as np
import pytest
from nets import plain
from PIL import Image

import relcam_onnx as rc
from relcam_onnx.results.page import address, page
from relcam_onnx.results.report import Report

VOID = {"meta", "img", "br", "link", "input", "hr"}
EVIL = ["<script>alert(1)</script>", '" onerror="alert(1)', "'&amp;", "$title ${style}", "\u202eright to left\udc80"]


class Page(HTMLParser):
    """Every element with its attributes and words; an end tag must close what is open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]

    @property
    def text(self) -> str:
        return "".join(self.words)


def noise(path: Path) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def evil(tmp_path: Path) -> tuple[Path, Page]:
    """A folder and its page, of pictures and labels that are out for mischief; one picture failed."""
    names = ["a b#1?%41.png", "<i>&\"'.png", "javascript:x.png"]
    pictures = [noise(tmp_path / name) for name in names]
    e = rc.explain(plain(), pictures, [[0, 1, 2, 3, 4]] * 3, preprocess="unit", labels=EVIL)
    out = tmp_path / "out"
    out.mkdir()
    report = Report(out, e.settings, ("html", "png", "npz"))
    for index in range(3):
        report.add(e.single(index))
    report.fail("<b>bad.png", "is <b>no</b> picture")
    report.write()
    return out, Page((out / "index.html").read_text(encoding="utf-8"))


def test_nothing_runs_and_nothing_is_loaded_from_elsewhere(evil: tuple[Path, Page]) -> None:
    out, shown = evil
    assert {tag for tag, _ in shown.elements} <= {
        *("html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "dl", "dt", "dd", "p", "a", "nav"),
        *("details", "summary", "ol", "ul", "li", "bdi", "main", "section", "div", "img"),
        *("table", "thead", "tbody", "tr", "th", "td"),
    }
    assert not any(name.startswith("on") or name == "style" for _, attributes in shown.elements for name in attributes)
    policy = next(m["content"] for m in shown.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    html = (out / "index.html").read_text(encoding="utf-8")
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert rules["style-src"] == f"'sha256-{digest}'"
    assert "http:" not in html.replace("http-equiv", "")
    assert "https:" not in html
    assert "url(" not in style
    assert "@import" not in style


def test_every_link_leads_to_a_file_or_a_heading(evil: tuple[Path, Page]) -> None:
    out, shown = evil
    ids = [a["id"] for _, a in shown.elements if "id" in a]
    assert len(set(ids)) == len(ids)
    linked = set()
    for target in [a["href"] for a in shown.all("a")] + [a["src"] for a in shown.all("img")]:
        if target.startswith("#"):
            assert target[1:] in ids
        else:
            assert ":" not in target.split("/")[0]
            linked.add(unquote(target.removeprefix("./")))
    assert {path.name for path in out.iterdir()} == linked | {"index.html"}


def test_names_and_labels_are_words(evil: tuple[Path, Page]) -> None:
    _, shown = evil
    for label in EVIL:
        assert label.encode("utf-8", "replace").decode() in shown.text
    for word in ("<i>&\"'.png", "a b#1?%41.png", "<b>bad.png", "is <b>no</b> picture"):
        assert word in shown.text


def test_it_can_be_used_without_eyes_or_a_mouse(evil: tuple[Path, Page]) -> None:
    _, shown = evil
    assert shown.all("html")[0]["lang"] == "en"
    assert len(shown.all("h1")) == len(shown.all("main")) == 1
    for image in shown.all("img"):
        assert len(image["alt"]) > 20
        assert int(image["width"]) > 0
        assert int(image["height"]) > 0
    assert all(header["scope"] == "col" for header in shown.all("th"))
    ids = {a["id"] for a in shown.all("h2")}
    assert {a["aria-labelledby"] for a in shown.all("section")} == ids
    for region in shown.all("div"):  # what scrolls can be reached by keyboard and has a name
        assert region["tabindex"] == "0"
        assert region["aria-label"]
    assert "width=device-width" in next(m["content"] for m in shown.all("meta") if m.get("name") == "viewport")


def test_the_page_says_what_results_hold(evil: tuple[Path, Page]) -> None:
    out, shown = evil
    results = json.loads((out / "results.json").read_text())
    assert len(shown.all("img")) == len(results["images"]) == 3
    for image, element in zip(results["images"], shown.all("img"), strict=True):
        assert unquote(element["src"].removeprefix("./")) == image["sheet"]["file"]
        size = (int(element["width"]), int(element["height"]))
        assert (
            size == Image.open(out / image["sheet"]["file"]).size == (image["sheet"]["width"], image["sheet"]["height"])
        )
    cells = [text.strip() for text in shown.words]
    for target in (target for image in results["images"] for target in image["targets"]):
        assert f"{target['margin']:.1f}".replace("-0.0", "0.0") in cells
        assert target["doubt"] is None or target["doubt"] in cells
    pngs = {entry["png"] for image in results["images"] for maps in image["layers"].values() for entry in maps}
    assert pngs <= {unquote(a["href"].removeprefix("./")) for a in shown.all("a")}
    assert "".join(page(results)) == (out / "index.html").read_text(encoding="utf-8")


def test_a_page_without_sheets_or_maps(tmp_path: Path) -> None:
    found = rc.explain(plain(), noise(tmp_path / "a.png"), preprocess="unit", layers="scores", method="lrp")
    found.save(tmp_path / "out", ["html"])
    shown = Page((tmp_path / "out" / "index.html").read_text())
    assert not shown.all("img")
    assert "class" in shown.text
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["index.html", "results.json"]


@pytest.mark.parametrize("name", ["a.jpg", "ä b.jpg", "c:d.jpg", "%41.jpg", os.fsdecode(b"\xff.jpg")])
def test_addresses_give_the_name_back(name: str) -> None:
    assert unquote_to_bytes(address(name).removeprefix("./")) == os.fsencode(name)
    assert address(name).isascii()
