"""What MkDocs does to the pages of the repository, so that they are those of the site (`make site`)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = {"README.md": "index.md", "SECURITY.md": "security.md"}
"""Pages of the repository's own folder, and what they are called in the site."""

RAN = ROOT / "build" / "notebooks"
"""Notebooks with their outputs, where they have run (`make notebooks`; so do the tests)."""

LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside of docs/, their links as they are seen from within."""
    for name, page in OUTSIDE.items():
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    for file in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{file.stem}.md", content="\n\n".join(notebook(file))))
    return files


def notebook(file: Path) -> Iterator[str]:
    """A notebook as Markdown, with outputs where it has run as it stands now."""
    cells, ran = (
        json.loads(path.read_text("utf-8"))["cells"] if path.exists() else [] for path in (file, RAN / file.name)
    )
    if [cell["source"] for cell in ran] == [cell["source"] for cell in cells]:
        cells = ran
    for place, cell in enumerate(cells):
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            yield f"```python\n{source}\n```"
            yield from map(shown, cell["outputs"])
        else:
            yield source
        if place == 0:
            yield f"*[The notebook]({file.name}): get it and run it in Jupyter.*"


def shown(output: dict[str, Any]) -> str:
    """What a cell gave: HTML as it is, a picture, or words."""
    data = output.get("data", {})
    for form in ("image/jpeg", "image/png"):
        if form in data:
            return f'<p><img src="data:{form};base64,{"".join(data[form]).strip()}" alt="What the cell shows"></p>'
    if "text/html" in data:
        return "".join(data["text/html"])
    return f"```text\n{''.join(data.get('text/plain', output.get('text', ''))).rstrip()}\n```"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to files that the site has not: their words stay. Those to a notebook lead to its page."""
    folder, own = PurePosixPath(page.file.src_uri).parent, PurePosixPath(page.file.src_uri).with_suffix(".ipynb").name

    def kept(link: re.Match[str]) -> str:
        words, target = link[1], link[2]
        if "://" in target or ((ROOT / "docs" / folder / target).is_file() and ".." not in inside(folder, target)):
            if target.endswith(".ipynb") and target != own:
                return f"[{words}]({target.removesuffix('.ipynb')}.md{link[3] or ''})"
            return link[0]
        return link[0] if target in OUTSIDE.values() else words

    return LINK.sub(kept, markdown)


def inside(folder: PurePosixPath, target: str) -> tuple[str, ...]:
    """The parts of a link's path from docs/ on; one is ".." where it leads out."""
    parts: list[str] = []
    for part in (*folder.parts, *PurePosixPath(target).parts):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return tuple(parts)
