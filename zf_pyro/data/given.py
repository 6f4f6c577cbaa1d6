"""Sequences of a user's file, as a finished run reads them: nothing is learnt from them, and they are not split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from zf_pyro.data.corpus import Observation
from zf_pyro.data.loader import Split

if TYPE_CHECKING:  # the readers of text import this module
    from zf_pyro.data.text.vocabulary import Vocabulary


class Reading(NamedTuple):
    """How a run reads its data.

    Attributes:
        settings: of its kind of data.
        observation: what stands at a step.
        vocabulary: of text; None for other data.
        on_lattice: whether numbers are scored as points of a lattice, and so have to be such.
    """

    settings: Any
    observation: Observation
    vocabulary: Vocabulary | None = None
    on_lattice: bool = False


class Given(NamedTuple):
    """The sequences of a file.

    Attributes:
        names: of each, by which its user finds it again.
        split: the sequences, in the order of the file.
        remarks: what the user should know of how they were read, a line each.
    """

    names: list[str]
    split: Split
    remarks: list[str]
