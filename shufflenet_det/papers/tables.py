"""Tables in Markdown pages, made from ``results/*.json`` and from the papers' tables.

A page says where a table goes, and of what::

    <!-- table: bccd_ssdlite_18 | backbone; mAP -->
    …
    <!-- end of table -->

Before the bar: the name of a set of results, ``papers/v1`` or ``papers/v2`` for a paper's table
with our figures, or the path of a CSV file. After the bar: the headings of the wanted columns,
if not all. What is between the two comments is replaced.
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
    """Regenerate the tables of all pages.

    Args:
        root: The repository, with ``results/``.
        check: Whether the pages stay as they are.

    Returns:
        The pages that differed.

    Raises:
        ValueError: A page names a table that there is not, or a file of results is not in order.
    """
    root = Path(root)
    differed = []
    for path in sorted({path for pattern in PAGES for path in root.glob(pattern)}):
        old = path.read_text(encoding="utf-8")
        try:
            new = _MARKED.sub(lambda found: _replaced(found, root), old)
        except (FileNotFoundError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error
        if new != old:
            differed.append(path)
            if not check:
                path.write_text(new, encoding="utf-8")
    return differed


def results_table(found: results.ResultSet, headings: Sequence[str] = ()) -> str:
    """A set of results as a Markdown table.

    Args:
        found: The set.
        headings: Of the columns that are wanted; all, if there are none.

    Raises:
        ValueError: The set has no such column, or a column names no field.
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
    """A GitHub-flavoured table; columns of numbers are set to the right."""
    numeric = [all(re.fullmatch(r"[+-]?[\d,.]*", row[i]) for row in rows) for i in range(len(head))]
    lines = [head, ["---:" if right else "---" for right in numeric], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _replaced(found: re.Match[str], root: Path) -> str:
    name, wanted = found["name"], found["columns"]
    if name.startswith("papers/"):
        from .comparison import table as table_of_paper

        table = table_of_paper(name.removeprefix("papers/"), root / results.FOLDER)
    elif name.endswith(".csv"):
        with open(root / name, newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(file)
        table = markdown(head, rows)
    else:
        headings = [word.strip() for word in wanted.split(";")] if wanted else []
        table = results_table(results.read(name, root / results.FOLDER), headings)
    return f"{found['start']}{table}\n{found['end']}"


def _cell(row: results.Row, column: str) -> str:
    """``metrics.mAP:.1f`` of a row; empty where the row has no such field."""
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
