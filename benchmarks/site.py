"""What MkDocs does to the pages of the repository, so that they are those of the site (`make site`)."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = {"README.md": "index.md", "SECURITY.md": "security.md"}
"""Pages of the repository's own folder, and what they are called in the site."""

LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside of docs/, their links as they are seen from within."""
    for name, page in OUTSIDE.items():
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to files that the site has not: their words stay."""
    folder = PurePosixPath(page.file.src_uri).parent

    def kept(link: re.Match[str]) -> str:
        words, target = link[1], link[2]
        if "://" in target or ((ROOT / "docs" / folder / target).is_file() and ".." not in inside(folder, target)):
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
