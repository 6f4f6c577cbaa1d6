"""Rows of texts as a table, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The rows in columns of equal width, the first to the left, the others to the right; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        first, width = next(cells)
        yield "  ".join([first.ljust(width), *(cell.rjust(width) for cell, width in cells)])


def markdown(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The same as a table in Markdown."""
    head, *body = rows
    yield line(head)
    yield line(["---", *["---:"] * (len(head) - 1)])
    yield from map(line, body)


def line(cells: Sequence[str]) -> str:
    """One row in Markdown; a bar within a cell would end it."""
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
