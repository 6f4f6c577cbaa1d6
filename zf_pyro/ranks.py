"""Which of several processes this one is, as torchrun tells each in its environment; alone it is the first of one."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from zf_pyro.errors import InputError

PATIENCE = 10.0
"""Seconds that a process leaves the first one to say what is wrong with what all were given."""


def number(name: str, default: int) -> int:
    """A whole number of the environment.

    Raises:
        InputError: it is none.
    """
    text = os.environ.get(name, "")
    if not text:
        return default
    with suppress(ValueError):
        return int(text)
    raise InputError(f"the environment has {name} = {text!r}, which is no number of processes")


def world_size() -> int:
    """How many processes were started together, on all machines."""
    return max(1, number("WORLD_SIZE", 1))


def rank() -> int:
    """The number of this one, from 0."""
    return number("RANK", 0) if world_size() > 1 else 0


def local_rank() -> int:
    """Its number on its machine, from 0."""
    return number("LOCAL_RANK", 0) if world_size() > 1 else 0


def local_size() -> int:
    """How many were started on this machine."""
    return number("LOCAL_WORLD_SIZE", 1) if world_size() > 1 else 1


def is_first() -> bool:
    """Whether this process is the one that speaks and writes."""
    return rank() == 0


def after_the_first() -> str:
    """Wait, in another process than the first, for the first to fail of the same; what to begin an error with then.

    torchrun ends all processes as soon as one has failed, by a signal, which ends this wait.
    """
    try:
        if is_first():
            return ""
    except InputError:
        return ""
    time.sleep(PATIENCE)
    return f"process {rank()} of {world_size()}: "
