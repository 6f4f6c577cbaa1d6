"""What was made, told in the terminal and written into a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from zf_pyro.data.batch import SequenceBatch
from zf_pyro.errors import check
from zf_pyro.files import explained, require_writable, shown
from zf_pyro.generation.decoding import Decoded, given
from zf_pyro.media.writing import ARRAYS, JSON, PICTURE, write_sequences
from zf_pyro.runs import LoadedRun, numbered_folder

MADE = re.compile(r"\d+\.(wav|mid)")
"""Names of the sounds of single sequences."""


class Made(NamedTuple):
    """A sequence to show: what it is called, itself, and what the JSON says of it besides."""

    title: str
    sequence: np.ndarray
    details: Mapping[str, Any]

    @classmethod
    def of(cls, title: str, decoded: Decoded, **details: Any) -> Made:
        """One that was decoded."""
        score = {"score": decoded.score} if np.isfinite(decoded.score) else {}
        return cls(title, decoded.sequence, {**details, "ended": decoded.ended, **score})

    @classmethod
    def original(cls, title: str, run: LoadedRun, one: SequenceBatch) -> Made:
        """One that was given."""
        return cls(title, given(one, run.observation), {"original": True})


class Place(NamedTuple):
    """Where something is to be written: a folder that its user named, or the first free number beside the run."""

    folder: Path | None
    parent: Path
    stem: str

    def make(self) -> Path:
        """The folder, made where there is none.

        Raises:
            InputError: it cannot be made.
        """
        if self.folder is None:
            return numbered_folder(self.parent, self.stem)
        with explained(f"cannot write into {self.folder}"):
            self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder


def place_for(run: Path, what: str, output: Path | None, *, force: bool) -> Place:
    """Where what is made of a run goes, found out before the work to be writable.

    Raises:
        InputError: the folder holds something already, or cannot be written.
    """
    whole = Path(os.path.abspath(run))
    place = Place(output, whole.parent, f"{whole.name}-{what}")
    if output is None:
        require_writable(place.parent)
        return place
    with explained(f"cannot use the folder {output}"):
        there = os.path.lexists(output)
        check(not there or output.is_dir(), f"{output} is a file; --output names a folder")
        filled = there and any(output.iterdir())
    ours = (output / JSON).is_file()
    check(not filled or ours, f"{output} is not empty, and holds other things; choose another --output")
    check(not filled or force, f"{output} holds sequences already; choose another --output, or --force overwrites")
    require_writable(existing(output))
    return place


def existing(folder: Path) -> Path:
    """The folder itself, or the one nearest above it that is there."""
    whole = Path(os.path.abspath(folder))
    return next(each for each in (whole, *whole.parents) if os.path.lexists(each))


def told(made: Sequence[Made], run: LoadedRun) -> Iterator[str]:
    """Sentences with their scores as a table; of other data what there is, in a line."""
    if run.vocabulary is None:
        steps = sum(len(each.sequence) for each in made)
        yield f"{len(made)} {run.observation.sequence}s, {steps:,} {run.observation.step}s"
        return
    widths = max(len(each.title) for each in made), 8
    yield f"{'':{widths[0]}}  {'score':>{widths[1]}}  sentence"
    for each in made:
        words = run.vocabulary.decode(each.sequence.tolist())
        cut = "" if each.details.get("ended", True) else " ..."
        score = f"{each.details['score']:.2f}" if "score" in each.details else ""
        yield f"{each.title:{widths[0]}}  {score:>{widths[1]}}  {shown(words + cut)}"


def write(made: Sequence[Made], place: Place, run: LoadedRun, about: Mapping[str, Any]) -> Path:
    """Write sequences in every form that their kind of data has, all or none; returns the folder.

    Raises:
        InputError: it cannot be written.
    """
    folder = place.make()
    titles, sequences, details = zip(*made, strict=True)
    with explained(f"cannot write into {folder}"), TemporaryDirectory(prefix=".", dir=folder) as fresh:
        files = write_sequences(Path(fresh), sequences, titles, run.observation, run.vocabulary, about, details)
        clear(folder)
        for path in files:
            path.replace(folder / path.name)
    return folder


def clear(folder: Path) -> None:
    """Remove what an earlier command wrote into a folder."""
    for path in folder.iterdir():
        if path.name in (JSON, ARRAYS, PICTURE) or MADE.fullmatch(path.name):
            path.unlink()
