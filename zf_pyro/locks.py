"""One process at a time trains a run."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zf_pyro.errors import InputError
from zf_pyro.files import explained

LOCK = "run.lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Inside, no other process enters with the same folder.

    The system frees the lock when the process ends, however it ends. The file stays: another process may be about to
    lock it. Where a file system has no locks, nothing is locked.

    Raises:
        InputError: another process is inside, or the folder cannot be written.
    """
    with explained(f"cannot write into {folder}"):
        file = (folder / LOCK).open("ab")
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise InputError(f"{folder} is in use: another process trains this run; wait for its end") from error
        yield
