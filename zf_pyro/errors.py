"""What ends a command: a mistake of its user's, a training that cannot go on, a request to stop."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A path, a file, an option or a field that cannot be used.

    The message is one line that says what is wrong, where, and what to do. The command line prints it without a
    traceback and ends with exit status 2.
    """


class TrainingError(RuntimeError):
    """Training cannot go on."""


class Interrupted(Exception):
    """Training was asked to stop, and its state is saved."""


def check(holds: bool, message: str) -> None:
    """Raise `InputError` with `message` unless it holds."""
    if not holds:
        raise InputError(message)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """One line that names the nearest of the known names, or all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"no {kind} {name!r}; {'near names' if near else 'there are'}: {', '.join(near or known)}"
