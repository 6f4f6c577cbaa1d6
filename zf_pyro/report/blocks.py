"""What a page is put together from. All texts are plain: the page escapes them (`zf_pyro.report.page`)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from zf_pyro.errors import InputError
from zf_pyro.pictures import png_of


@dataclass(frozen=True)
class Note:
    """A paragraph; a warning stands out."""

    text: str
    warns: bool = False
    kind: str = "note"


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: over it.
        head: the headings of the columns.
        rows: of as many cells.
        marked: the numbers of the rows that stand out.
        words: the columns whose cells are text from data: of any direction, and left as it is.
        numbers: the columns that are set to the right.
        stacks: whether its rows become paragraphs where there is no room for columns.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: frozenset[int] = frozenset()
    words: frozenset[int] = frozenset()
    numbers: frozenset[int] = frozenset()
    stacks: bool = False
    kind: str = "table"


@dataclass(frozen=True)
class Lines:
    """Sentences, one an item."""

    caption: str
    items: Sequence[str]
    kind: str = "lines"


@dataclass(frozen=True)
class Picture:
    """A png on a transparent ground; a dark page turns its ink light."""

    caption: str
    alt: str
    image: bytes
    kind: str = "picture"


@dataclass(frozen=True)
class Strip:
    """Small images side by side, each a png under its title; they are of few pixels, which are to be seen."""

    caption: str
    titles: Sequence[str]
    images: Sequence[bytes]
    kind: str = "strip"


@dataclass(frozen=True)
class Player:
    """A sound, as WAV."""

    caption: str
    wav: bytes
    kind: str = "player"


@dataclass(frozen=True)
class Code:
    """A line to be typed into a terminal."""

    text: str
    kind: str = "code"


@dataclass(frozen=True)
class Folded:
    """What is shown on demand."""

    summary: str
    blocks: Sequence[Block]
    kind: str = "folded"


@dataclass(frozen=True)
class Sides:
    """The same of several runs, side by side where there is room."""

    titles: Sequence[str]
    contents: Sequence[Sequence[Block]]
    kind: str = "sides"


Block = Note | Table | Lines | Picture | Strip | Player | Code | Folded | Sides


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading of its own.

    Attributes:
        name: by which a link finds it.
        title: its heading.
        blocks: what is in it.
    """

    name: str
    title: str
    blocks: Sequence[Block] = field(default_factory=list)


def drawn(figure: Figure, caption: str, alt: str) -> Picture:
    """A figure as a picture."""
    return Picture(caption, alt, png_of(figure))


def attempted(make: Callable[[], list[Block]]) -> list[Block]:
    """Some blocks, or where they cannot be made the reason in a line."""
    try:
        return make()
    except InputError as error:
        return [Note(f"Not shown: {error}.")]


def as_uri(content: bytes, kind: str) -> str:
    """A file as an address that holds it, such as ``data:image/png;base64,...``."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
