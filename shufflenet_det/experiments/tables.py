"""Results as Markdown."""

from collections.abc import Sequence

from terminaltables import GithubFlavoredMarkdownTable

from .published import Result


def markdown_table(results: Sequence[Result]) -> str:
    """Published results, one row each.

    Args:
        results: In the order of the rows.

    Returns:
        A GitHub-flavoured table; a figure that was not published leaves its cell empty.
    """
    head = (
        "key",
        "detector",
        "backbone",
        "pixels",
        "images",
        "mAP",
        "parameters, M",
        "multiply-adds, M",
        "of the backbone at 224x224, M",
        "images/s",
        "source",
        "remark",
    )
    rows = [
        (
            result.key,
            result.detector,
            result.backbone,
            result.size,
            result.split,
            f"{result.mAP:.1f}",
            _cell(result.parameters),
            _cell(result.multiply_adds),
            _cell(result.backbone_multiply_adds),
            _cell(result.images_per_second),
            result.source,
            result.remark,
        )
        for result in results
    ]
    return str(GithubFlavoredMarkdownTable([head, *rows]).table)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:,g}"
