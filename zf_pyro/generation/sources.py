"""The sequences that a user names: a sentence as it is typed, or the number of one of a file or of the test split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zf_pyro.data.batch import SequenceBatch
from zf_pyro.data.loader import Split
from zf_pyro.data.text import UNKNOWN, collate, one_sentence
from zf_pyro.errors import InputError
from zf_pyro.evaluation import tested_places
from zf_pyro.inspection.reading import read_for
from zf_pyro.opening import corpus_at
from zf_pyro.runs import LoadedRun

Say = Callable[[str], None]


class Source(NamedTuple):
    """Sequences of a split, with names of their own.

    Attributes:
        split: the sequences.
        name: what they are of.
        first: the places of those to look at where no other is asked for.
    """

    split: Split
    name: str
    first: np.ndarray

    def places(self, count: int) -> list[int]:
        """The places of `count` sequences, or of all: of those to look at first, then of the others in their order."""
        others = np.setdiff1d(np.arange(len(self.split.lengths)), self.first)
        return np.concatenate([self.first, others])[:count].tolist()

    def one(self, number: int) -> SequenceBatch:
        """The sequence of a number, from 0.

        Raises:
            InputError: there is none of that number.
        """
        count = len(self.split.lengths)
        if not 0 <= number < count:
            raise InputError(f"no sequence {number} in {self.name}, which has {count:,}: 0 to {count - 1}")
        return self.split.batch(np.array([number]))


def source_of(run: LoadedRun, folder: Path, file: Path | None, data: Path | None, say: Say) -> Source:
    """The sequences of a file, or without one those of the run's test split.

    Raises:
        InputError: they cannot be read, or are other data.
    """
    if file is not None:
        given = read_for(run, file, say)
        for remark in given.remarks:
            say(f"Note: {remark}")
        return Source(given.split, str(file), np.arange(len(given.names)))
    corpus = corpus_at(run.config, folder, data, say)
    return Source(corpus.test, "the test split", tested_places(run.config, corpus))


def typed(run: LoadedRun, text: str, say: Say) -> SequenceBatch:
    """A sentence as its user typed it, cut into tokens as the run's own text was; one sequence, with </s>.

    Raises:
        InputError: it has no token.
    """
    vocabulary = run.vocabulary
    assert vocabulary is not None
    settings = run.config.data
    ids = one_sentence(text, settings, vocabulary)  # type: ignore[arg-type]
    if unknown := int((ids == UNKNOWN).sum()):
        kind = "words" if settings.level == "word" else "characters"  # type: ignore[attr-defined]
        say(f"Note: {unknown} of the {len(ids)} {kind} of {text!r} are not among the run's, and are <unk>")
    return collate([ids])


def numbered(text: str) -> int:
    """The number of a sequence.

    Raises:
        InputError: it is none.
    """
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise InputError(f"a sequence is named by its number, from 0, not by {text[:40]!r}")
    return int(text)
