"""Files that are either the old ones or the new ones, never half of each."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from zf_pyro.errors import InputError, MachineError

FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""Of the machine: a disk that is full or broken, a file of the greatest size allowed."""


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn an error of the file system into an `InputError` of one line that begins with `what`.

    It is a `MachineError` where the disk is full or broken.
    """
    try:
        yield
    except OSError as error:
        kind = MachineError if error.errno in FAULTS else InputError
        raise kind(f"{what}: {error.strerror or error}") from error


def require_writable(folder: Path) -> None:
    """Find out before long work whether its outcome can be written.

    Raises:
        InputError: no file can be made in the folder.
    """
    with explained(f"cannot write into {folder}"), tempfile.TemporaryFile(dir=folder):
        pass


def require_free(path: Path, option: str, *, force: bool) -> Path:
    """The path of a file to write, found out before long work to be one that can be written.

    Args:
        path: of the file.
        option: by which its user can name another.
        force: whether a file that is there may be overwritten.

    Raises:
        InputError: there is something already, or nothing can be written there.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; {option} names a file")
    if os.path.lexists(path) and not force:
        raise InputError(f"{path} is there already; name another by {option}, or --force overwrites it")
    require_writable(path.absolute().parent)
    return path


def printable(name: str) -> str:
    """A file's name as UTF-8 can write it: bytes that are no UTF-8 are spelled out."""
    return name.encode(errors="backslashreplace").decode()


def shown(text: str) -> str:
    """A text without characters that move a terminal's cursor."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)


def from_json(text: bytes) -> Any:
    """What a text of JSON holds.

    Raises:
        ValueError: it is broken, tables and lists are nested deeper than in any file of a run, or a whole number is
            beyond what a float can hold.
    """
    try:
        return json.loads(text, parse_int=_whole)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _whole(digits: str) -> int:
    """A whole number of JSON, which sets them no bound."""
    if len(digits) > sys.float_info.max_10_exp:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's contents, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, write: Callable[[BinaryIO], object], former: Path | None = None) -> None:
    """Write a file beside `path`, flush it to disk, and put it in place of `path` in one move.

    Args:
        path: of the file.
        write: is called with the file to write into.
        former: where to keep what was at `path`; without it that is gone.
    """
    temporary = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if former is not None and path.exists():
            path.replace(former)
        temporary.replace(path)
        flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to disk: a file that was moved is otherwise not there after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    write_atomically(path, lambda file: file.write(content))


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, text.encode("utf-8"))
