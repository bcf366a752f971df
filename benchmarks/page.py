"""Tables of a benchmark as Markdown, and their places in the docs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def fill(page: Path, tables: Mapping[str, str]) -> None:
    """Put each table between ``<!-- its name -->`` and the next ``<!-- end -->`` of a page."""
    text = page.read_text(encoding="utf-8")
    for name, markdown in tables.items():
        before, mark, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not end:
            raise SystemExit(f"{page} has no place for a table between <!-- {name} --> and <!-- end -->")
        text = f"{before}{mark}\n{markdown}\n\n{end}{after}"
    page.write_text(text, encoding="utf-8")
