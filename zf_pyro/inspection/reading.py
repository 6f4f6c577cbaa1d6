"""A user's file as the sequences of a finished run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from zf_pyro.data.datasets import open_given
from zf_pyro.data.given import Given, Reading
from zf_pyro.data.loader import by_length
from zf_pyro.files import printable
from zf_pyro.runs import LoadedRun

Item = TypeVar("Item")


def read_for(run: LoadedRun, path: Path, say: Callable[[str], None]) -> Given:
    """The sequences of a file, read as the run read its data.

    Raises:
        InputError: it cannot be read, or is of another kind of data.
    """
    reading = Reading(run.config.data, run.observation, run.vocabulary, run.config.model.is_discretised)
    given = open_given(run.config.dataset, path, reading, say)
    return given._replace(names=[printable(name) for name in given.names])


def everything(given: Given) -> np.ndarray:
    """The places of all sequences, (N,)."""
    return np.arange(len(given.names))


def in_file_order(found: list[Item], given: Given) -> list[Item]:
    """What was found of the sequences by length, as `shown` hands them out, in the order of their file."""
    return [found[i] for i in np.argsort(by_length(given.split, everything(given)))]
