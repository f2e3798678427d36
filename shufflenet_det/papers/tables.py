"""Tables in Markdown pages, made from ``results/*.json`` and from the papers' tables.

A page says where a table goes, and of what::

    <!-- table: bccd_ssdlite_18 | backbone; mAP -->
    …
    <!-- end of table -->

Before the bar: the name of a set of results, ``papers/v1`` or ``papers/v2`` for a paper's table
with our figures, ``mmdet/families`` for mmdet's configs by family, or the path of a CSV file. After
the bar: the headings of the wanted columns, if not all. What is between the two comments is
replaced.
"""

import csv
import os
import re
from collections.abc import Sequence
from itertools import groupby
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
    """Regenerate the tables of all pages of a repository, or only compare them.

    Returns:
        The pages that differed.

    Raises:
        ValueError: A page names a table that there is not, or a file of results is not in order.
    """
    root = Path(root)
    pages = sorted({path for pattern in PAGES for path in root.glob(pattern)})
    return [page for page in pages if update_page(page, root / results.FOLDER, check=check)]


def update_page(
    page: Path, folder: str | os.PathLike[str] = results.FOLDER, *, check: bool = False
) -> bool:
    """Regenerate the tables of one page from a folder of results; whether the page differed."""
    old = page.read_text(encoding="utf-8")
    try:
        new = _MARKED.sub(lambda found: _replaced(found, Path(folder)), old)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{page}: {error}") from error
    if new != old and not check:
        page.write_text(new, encoding="utf-8")
    return new != old


def results_table(found: results.ResultSet, headings: Sequence[str] = ()) -> str:
    """A set of results as a Markdown table, of the columns with these headings or of all.

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


def families_table(rows: Sequence[results.Row]) -> str:
    """Results of ``shufflenet-det check-mmdet``, a line for each family of mmdet's configs."""
    lines = []
    ordered = sorted(rows, key=lambda row: row["name"])
    for family, group in groupby(ordered, key=lambda row: row["name"].split("/")[0]):
        tried = list(group)
        reasons: dict[str, list[str]] = {}
        for row in tried:
            if not row["metrics"]["works"]:
                config = row["name"].split("/")[1].removesuffix(".py")
                reasons.setdefault(row["remark"], []).append(f"`{config}`")
        listed = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
        works = sum(row["metrics"]["works"] for row in tried)
        lines.append((family, str(len(tried)), str(works), listed))
    versions = rows[-1]["versions"]
    packages = ", ".join(f"{name} {versions[name]}" for name in ("torch", "torchvision", "mmdet"))
    works = sum(row["metrics"]["works"] for row in rows)
    return (
        f"{works} of {len(rows)} configs of {len(lines)} families work "
        f"({max(row['date'] for row in rows)}, {packages}).\n\n"
        + markdown(("family", "tried", "work", "what does not, and why"), lines)
    )


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A GitHub-flavoured table; columns of numbers are set to the right."""
    numeric = [all(re.fullmatch(r"[+-]?[\d,.]*", row[i]) for row in rows) for i in range(len(head))]
    lines = [head, ["---:" if right else "---" for right in numeric], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _replaced(found: re.Match[str], folder: Path) -> str:
    name = found["name"]
    if name.startswith("papers/"):
        from .comparison import table as table_of_paper

        table = table_of_paper(name.removeprefix("papers/"), folder)
    elif name == "mmdet/families":
        table = families_table(results.read("mmdet", folder).rows)
    elif name.endswith(".csv"):
        with open(folder.parent / name, newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(file)
        table = markdown(head, rows)
    else:
        headings = [word.strip() for word in (found["columns"] or "").split(";") if word]
        table = results_table(results.read(name, folder), headings)
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
