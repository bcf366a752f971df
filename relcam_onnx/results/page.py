"""Explanations as HTML: the page of a folder of results, and what a notebook shows.

Nothing is loaded from elsewhere and nothing runs; every word that comes from outside is escaped.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from hashlib import sha256
from html import escape
from string import Template
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from relcam_onnx.errors import LayerError
from relcam_onnx.results import sheet, words
from relcam_onnx.results.animation import ANIMATED

if TYPE_CHECKING:
    from relcam_onnx.results.explanation import Explanation

STYLE = """
:root { color-scheme: light dark; --faint: #595959; --line: #d0d0d0; --link: #0b57d0; }
@media (prefers-color-scheme: dark) { :root { --faint: #a8a8a8; --line: #444; --link: #8ab4f8; } }
body { margin: 0 auto; max-width: 100rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif;
  background: Canvas; color: CanvasText; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; } h2 { font-size: 1.15rem; margin: 0; }
a { color: var(--link); } :focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
p { margin: .5rem 0; max-width: 48rem; } .faint { color: var(--faint); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; margin: .5rem 0; }
dt { color: var(--faint); } dd { margin: 0; }
section { border-top: 1px solid var(--line); margin-top: 1.5rem; padding-top: 1rem; }
.sheet { overflow-x: auto; margin: .5rem 0; } .sheet a { display: inline-block; }
.sheet img { display: block; height: auto; width: auto; max-width: max(100%, 56rem); }
table { border-collapse: collapse; } th, td { padding: .1rem 1rem .1rem 0; text-align: start; vertical-align: top; }
th { font-weight: normal; color: var(--faint); } th, .number { white-space: nowrap; } .number { text-align: end; }
nav ol { columns: 16rem; }
"""

HEAD = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>$title</title>
<style>$style</style>
</head>
<body>
<header>
<h1>$title</h1>
<dl>$facts</dl>
<p>Each map is laid over its picture in its own scale: clear where nothing speaks for the class, then violet, magenta
and orange to yellow at the map's maximum. Scores, sums and boxes: <a href="results.json">results.json</a>.</p>
</header>
""")
SECTION = Template("""<section aria-labelledby="image-$number">
<h2 id="image-$number"><bdi>$name</bdi></h2>
$sheet<table>
<thead><tr><th scope="col">class</th><th scope="col">label</th><th scope="col">probability</th>
<th scope="col">margin</th><th scope="col">doubt</th></tr></thead>
<tbody>
$rows
</tbody>
</table>
$links</section>
""")
SHEET = Template("""<div class="sheet" role="region" aria-label="sheet of $name" tabindex="0"><a href="$file">
<img src="$file" width="$width" height="$height" loading="lazy" alt="$alt"></a></div>
""")


def page(results: Mapping[str, Any]) -> Iterator[str]:
    """Write ``index.html`` of what ``results.json`` holds, piece by piece.

    Parameters
    ----------
    results
        As in ``results.json``; file names are those of the same folder.
    """
    options, images, failed = results["options"], results["images"], results["failed"]
    title = f"Explanations of {os.path.basename(results['model'])}" if results["model"] else "Explanations"
    facts = {
        "Images": f"{len(images)}, {len(failed)} failed" if failed else len(images),
        "Method": f"{options['method']}, preset {options['preset']}, seed {options['seed']}",
        "Maps": ", ".join(source["name"] for source in options["layers"]),
        "Version": f"relcam-onnx {results['version']}",
    }
    digest = base64.b64encode(sha256(STYLE.encode()).digest()).decode()
    yield HEAD.substitute(
        title=text(title),
        style=STYLE,
        policy=f"default-src 'none'; img-src 'self' file:; style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'",
        facts="".join(f"<dt>{name}</dt><dd>{text(value)}</dd>" for name, value in facts.items()),
    )
    if len(images) > 1:
        yield f"<nav><details><summary>All {len(images)} images</summary><ol>\n"
        for number, image in enumerate(images, 1):
            best = _said(image["targets"][0]) if image["targets"] else words.NOTHING
            yield f'<li><a href="#image-{number}"><bdi>{_name(image, number)}</bdi></a> {best}</li>\n'
        yield "</ol></details></nav>\n"
    yield "<main>\n"
    for number, image in enumerate(images, 1):
        yield _section(number, image)
    if failed:
        yield '<section aria-labelledby="failed">\n<h2 id="failed">Failed</h2>\n<ul>\n'
        for entry in failed:
            why = entry["error"].removeprefix(f"{entry['file']}: ")
            yield f"<li><bdi>{text(entry['file'])}</bdi>: {text(why)}</li>\n"
        yield "</ul>\n</section>\n"
    yield "</main>\n</body>\n</html>\n"


def _section(number: int, image: Mapping[str, Any]) -> str:
    """One image: its sheet, its targets, and what else there is of it."""
    name, layers = _name(image, number), image["layers"]
    rows = [
        f'<tr><td class="number">{target["index"]}</td><td><bdi>{text(target["label"] or "")}</bdi></td>'
        f'<td class="number">{_percent(target)}</td><td class="number">{_margin(target)}</td>'
        f"<td>{text(target['doubt'] or '')}</td></tr>"
        for target in image["targets"]
    ]
    links = []
    frames = len(image.get("frames", [None]))
    for place, target in enumerate(image["targets"]):
        own = [(layer, entry) for layer, maps in layers.items() for entry in maps[place * frames :][:frames]]
        named = [(layer if frames == 1 else f"{layer}, frame {entry['frame']}", entry["png"]) for layer, entry in own]
        moving = [("moving", image[form][place]) for form in ANIMATED if form in image]
        if pngs := [link(png, name) for name, png in [*moving, *named] if png]:
            links.append(f"<p>Overlays for {_said(target)}: {', '.join(pngs)}</p>\n")
    if file := next((maps[0]["file"] for maps in layers.values() if maps), None):
        links.append(f"<p>Maps as numbers: {link(file, file)}</p>\n")
    said = ", ".join(_said(target) for target in image["targets"]) or words.NOTHING
    shown = image["sheet"]
    return SECTION.substitute(
        number=number,
        name=name,
        rows="\n".join(rows),
        links="".join(links),
        sheet=SHEET.substitute(
            name=name,
            file=address(shown["file"]),
            width=shown["width"],
            height=shown["height"],
            alt=f"{name} and its maps ({text(', '.join(layers))}) for {said}",
        )
        if shown
        else "",
    )


def _name(image: Mapping[str, Any], number: int) -> str:
    several = ", ".join(f"{name}: {each['file'] or 'a picture'}" for name, each in image.get("inputs", {}).items())
    return text(several or image["file"] or f"image {number}")


def _said(target: Mapping[str, Any]) -> str:
    return f"{text(target['label'] or target['index'])} {_percent(target)}"


def _percent(target: Mapping[str, Any]) -> str:
    return "" if target["probability"] is None else text(words.percent(target["probability"]))


def _margin(target: Mapping[str, Any]) -> str:
    return "" if target["margin"] is None else words.logits(target["margin"])


def notebook(explanation: Explanation) -> str:
    """What a notebook shows of an explanation: one sheet a picture, or words where nothing can be drawn."""
    try:
        return "".join(_cell(explanation, index) for index in range(len(explanation.targets)))
    except LayerError:
        return f"<pre>{text(words.described(explanation))}</pre>"


def _cell(explanation: Explanation, index: int) -> str:
    image = sheet.encoded(explanation.sheet(index))
    alt = text(f"{words.picture(explanation, index)} and its maps for {words.targets(explanation, index)}")
    source = f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"
    return f'<p><img src="{source}" alt="{alt}" style="max-width: 100%; height: auto"></p>'


def link(file: str, words_: str) -> str:
    """A link to a file beside the page."""
    return f'<a href="{address(file)}">{text(words_)}</a>'


def address(file: str) -> str:
    """The relative address of a file beside the page; a name with a colon is no scheme."""
    return f"./{quote(os.fsencode(file))}"


def text(value: object) -> str:
    """Words as HTML; what UTF-8 cannot hold, from file names that are none, becomes a question mark."""
    return escape(str(value).encode("utf-8", "replace").decode())
