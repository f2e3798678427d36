"""Generate tables in Markdown pages from ``results/*.json`` and from the papers' tables.

Two comments in a page mark a table, and the text between them is replaced::

    <!-- table: bccd_ssdlite_18 | backbone; mAP -->
    …
    <!-- end of table -->

The name before the bar is a set of results, ``papers/v1`` or ``papers/v2`` for a paper's table
with our figures, or the path of a CSV file. After the bar come the headings of the columns to show;
without a bar, all columns are shown.
"""

import csv
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import results

PAGES = ("README.md", "configs/README.md", "docs/**/*.md")
_MARKED = re.compile(
    r"(?P<start><!-- table: (?P<name>[\w./-]+)(?: \| (?P<columns>[^>]*?))? -->\n)"
    r".*?(?P<end><!-- end of table -->)",
    re.DOTALL,
)


def update_pages(root: str | os.PathLike[str] = ".", *, check: bool = False) -> list[Path]:
    """Regenerate the tables of all pages of a repository; with ``check``, only compare them.

    Returns:
        The pages that differ.

    Raises:
        ValueError: A page names an unknown table, or a file of results is invalid.
    """
    root = Path(root)
    pages = sorted({path for pattern in PAGES for path in root.glob(pattern)})
    return [page for page in pages if update_page(page, root / results.FOLDER, check=check)]


def update_page(
    page: Path, folder: str | os.PathLike[str] = results.FOLDER, *, check: bool = False
) -> bool:
    """Regenerate the tables of one page from a folder of results; returns whether it differs."""
    old = page.read_text(encoding="utf-8")
    try:
        new = _MARKED.sub(lambda found: _replaced(found, Path(folder)), old)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{page}: {error}") from error
    if new != old and not check:
        page.write_text(new, encoding="utf-8")
    return new != old


def results_table(found: results.ResultSet, headings: Sequence[str] = ()) -> str:
    """Format a set of results as a Markdown table with the given columns, by default all.

    Raises:
        ValueError: The set has no such column, or a value does not fit a column's format.
    """
    unknown = [heading for heading in headings if heading not in found.columns]
    if unknown:
        raise ValueError(
            f"results/{found.name}.json has no column {unknown[0]!r}: {', '.join(found.columns)}"
        )
    columns = {h: found.columns[h] for h in headings or found.columns}
    return markdown(
        list(columns), [[_cell(row, c) for c in columns.values()] for row in found.rows]
    )


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a GitHub-flavoured table; columns of numbers are right-aligned."""
    numeric = [all(re.fullmatch(r"[+-]?[\d,.]*", row[i]) for row in rows) for i in range(len(head))]
    lines = [head, ["---:" if right else "---" for right in numeric], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _replaced(found: re.Match[str], folder: Path) -> str:
    name = found["name"]
    if name.startswith("papers/"):
        from .comparison import table as table_of_paper

        table = table_of_paper(name.removeprefix("papers/"), folder)
    elif name.endswith(".csv"):
        with open(folder.parent / name, newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(file)
        table = markdown(head, rows)
    else:
        headings = [word.strip() for word in (found["columns"] or "").split(";") if word]
        table = results_table(results.read(name, folder), headings)
    return f"{found['start']}{table}\n{found['end']}"


def _cell(row: results.Row, column: str) -> str:
    """The cell of a column such as ``metrics.mAP:.1f``; empty if the row has no such field."""
    field, _, form = column.partition(":")
    value: Any = row
    for key in field.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if form == "link":
        return f"[{value}]({value})"
    try:
        return "" if value is None else format(value, form)
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {column!r} of row {row['name']!r}: {error}") from error
