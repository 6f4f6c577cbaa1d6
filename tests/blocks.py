"""The fenced blocks of README and docs: which are to be run, and how the tests shorten them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if "_build" not in path.parts
}
"""Every page by its name from the root of the repository."""

RUN = ("python", "bash")
SHOWN = ("text", "json", "toml")
"""What a reader is to look at; of these a `toml` that begins with a file's name is written to that file."""

SET_UP = "python3 -m venv "
"""The two commands of the README that set everything up; .ci/run takes them from there."""

VALUE = re.compile(r"^(\s*\w+ = ).+?  # (\S+) in CI$", re.MULTILINE)
"""A value that the tests make smaller: ``updates = 600  # 3 in CI``."""


class Block(NamedTuple):
    """A fenced block: its language, what stands in it, and the line of its first fence."""

    language: str
    code: str
    line: int

    @property
    def reason(self) -> str | None:
        """Why the tests do not run it, as the reader is told in its first line; None where they do."""
        found = re.match(r"# not run in CI: (.+)\n", self.code)
        return found.group(1) if found else None

    @property
    def file(self) -> str | None:
        """The file that the reader is to write it to, by its first line; None where it is not one."""
        found = re.match(r"# ([\w-]+\.(?:py|toml))\n", self.code)
        return found.group(1) if found else None

    @property
    def short(self) -> str:
        """Python as the tests run it."""
        return VALUE.sub(r"\1\2", self.code)

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command, those that set everything up left out."""
        lines = self.code.replace("\\\n", " ").splitlines()
        return [shlex.split(line) for line in lines if line.strip() and not line.startswith(("#", SET_UP))]


def blocks(page: str, *languages: str) -> list[Block]:
    """The blocks of a page, in order; of some languages, or all but MyST's directives."""
    return [each for each in fenced(PAGES[page].read_text(encoding="utf-8")) if each.language in (languages or EVERY)]


EVERY = (*RUN, *SHOWN, "")


def fenced(text: str) -> Iterator[Block]:
    """Every fenced block of a text."""
    for found in re.finditer(r"^```(\S*)[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(found.group(1), found.group(2), text.count("\n", 0, found.start()) + 1)
