"""What ends a command: a mistake of its user's, a fault of the machine, a training that cannot go on, a signal."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable


class InputError(ValueError):
    """A path, a file, an option or a field that cannot be used.

    The message is one line that says what is wrong, where, and what to do. The command line prints it without a
    traceback and ends with exit status 2.
    """


class MachineError(InputError):
    """What was asked for is right, and the machine failed: a full disk, no memory, a process that was killed.

    The command line ends with exit status 1.
    """


class TrainingError(RuntimeError):
    """Training cannot go on."""


class Interrupted(Exception):
    """Work was asked to stop, and what there is of it is saved.

    Attributes:
        number: of the signal that asked; the exit status is 128 more.
    """

    def __init__(self, message: str = "", number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.number = number


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command where Ctrl-C would."""


def signal_of(stop: BaseException | None) -> int:
    """The signal behind an `Interrupted` or a `KeyboardInterrupt`."""
    if isinstance(stop, Interrupted):
        return stop.number
    return signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT


def first_line(error: BaseException) -> str:
    """The first line of what an exception says; its kind where it says nothing."""
    return str(error).strip().split("\n")[0] or type(error).__name__


def check(holds: bool, message: str) -> None:
    """Raise `InputError` with `message` unless it holds."""
    if not holds:
        raise InputError(message)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """One line that names the nearest of the known names, or all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"no {kind} {name!r}; {'near names' if near else 'there are'}: {', '.join(near or known)}"
