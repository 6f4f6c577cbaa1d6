"""Indented lines of a docstring are formulas: they keep their line breaks, as in the source."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx


def keep_lines(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Mark each indented paragraph that follows a blank line as a literal block."""
    found: list[str] = []
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("    ") and not before.strip() and not (found and literal(found)):
            found += ["::", ""]
        found.append(line)
    lines[:] = found


def literal(lines: list[str]) -> bool:
    """Whether what follows these lines already belongs to an indented block, a literal one or a directive's."""
    last = next((line for line in reversed(lines) if line.strip()), "")
    return last.endswith("::") or last.startswith((" ", ".. ", ":"))


def setup(app: Sphinx) -> dict[str, Any]:
    """Process docstrings after napoleon has read their sections."""
    app.connect("autodoc-process-docstring", keep_lines, priority=800)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
