"""What a command says, as much of it as its user wants.

Results, and what was written where, go to standard output; progress, details and warnings to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import IntEnum

import click
from tqdm import tqdm


class Verbosity(IntEnum):
    """How much is said: nothing, warnings alone, also what a command does and finds, or also how it comes about."""

    SILENT = -1
    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


VERBOSITY = ContextVar("VERBOSITY", default=Verbosity.NORMAL)


@contextmanager
def speaking(wanted: Verbosity) -> Iterator[None]:
    """Inside, so much is said."""
    token = VERBOSITY.set(wanted)
    try:
        yield
    finally:
        VERBOSITY.reset(token)


def is_heard(least: Verbosity) -> bool:
    """Whether what needs this verbosity is said."""
    return VERBOSITY.get() >= least


def say(line: str) -> None:
    """A result, or what was read or written."""
    if is_heard(Verbosity.NORMAL):
        write(line, err=False)


def inform(line: str) -> None:
    """How far the work is."""
    if is_heard(Verbosity.NORMAL):
        write(line, err=True)


def detail(line: str) -> None:
    """What helps to understand a run, under -v."""
    if is_heard(Verbosity.VERBOSE):
        write(line, err=True)


def warn(line: str) -> None:
    """What a user should know whatever else is wanted."""
    if is_heard(Verbosity.QUIET):
        write(f"warning: {line}", err=True)


def write(line: str, *, err: bool) -> None:
    """A line on one of the two streams, above a progress bar where there is one."""
    with tqdm.external_write_mode(sys.stderr if err else sys.stdout):
        click.echo(line, err=err)
