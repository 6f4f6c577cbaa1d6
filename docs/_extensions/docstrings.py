"""What reStructuredText would take for something else: formulas are indented, and a letter stands for a size.

Indented lines of a docstring keep their line breaks, as in the source; the "K." of a parameter is no item of a list,
and what a field's docstring says before a colon is no type.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

COLON = "\N{RATIO}"
"""What stands for a colon while napoleon reads."""


def hide_colon(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Keep from napoleon the colon of a field's docstring: it would take what stands before it for a type."""
    if what == "attribute":
        lines[0] = lines[0].replace(":", COLON)


def keep_lines(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Mark each indented paragraph that follows a blank line as a literal block, and escape a letter's full stop."""
    found: list[str] = []
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("    ") and not before.strip() and not (found and literal(found)):
            found += ["::", ""]
        found.append(re.sub(r"^(:\w+ \w+: [A-Z])\.", r"\1\.", line).replace(COLON, ":"))
    lines[:] = found


def literal(lines: list[str]) -> bool:
    """Whether what follows these lines already belongs to an indented block, a literal one or a directive's."""
    last = next((line for line in reversed(lines) if line.strip()), "")
    return last.endswith("::") or last.startswith((" ", ".. ", ":"))


def setup(app: Sphinx) -> dict[str, Any]:
    """Process docstrings before and after napoleon has read their sections."""
    app.connect("autodoc-process-docstring", hide_colon, priority=200)
    app.connect("autodoc-process-docstring", keep_lines, priority=800)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
