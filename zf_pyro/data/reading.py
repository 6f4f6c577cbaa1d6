"""Files and folders of a user's, and what the system says about them."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from zf_pyro.errors import InputError

_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, gzip.BadGzipFile)

HARMLESS, MOST_TIMES = 1 << 30, 500
"""Bytes that any file may unpack to, and how many times its size a larger one may.

Text unpacks to 3 to 10 times its size, the piano rolls of Nottingham to 194. Zeros go up to 1,000 in gzip and zip, to
7,000 in xz.
"""

_BUFFER = 1 << 16


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns what the system or a decompressor says about a file into one line for the user.

    Raises:
        InputError: instead of their exceptions.
    """
    try:
        yield
    except _DAMAGE as error:
        raise InputError(f"{path}: truncated or damaged ({error}); get it again") from error
    except OSError as error:
        raise InputError(
            f"{error.filename or path}: cannot be read ({error.strerror or error}); check it and its permissions"
        ) from error


@contextmanager
def unpacked(path: Path) -> Iterator[io.BufferedReader[Any]]:
    """The bytes of a file, decompressed where it is gzip or xz.

    Raises:
        InputError: instead of what the system or the decompressor raises; or the file is packed beyond all data
            (`require_sane`).
    """
    with readable(path), path.open("rb") as file, _decompressed(file) as stream:
        if stream is file:
            yield file
        else:
            with io.BufferedReader(Unpacking(stream, path), _BUFFER) as bounded:
                yield bounded


def _decompressed(file: io.BufferedReader) -> AbstractContextManager[io.BufferedIOBase]:
    """The decompressor of an open file; the file itself where it is not compressed."""
    magic = file.peek(6)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if magic.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMAFile(file)
    return nullcontext(file)


class Unpacking(io.RawIOBase):
    """The bytes that a decompressor makes of a file, refused where they become too many (`require_sane`)."""

    def __init__(self, stream: io.BufferedIOBase, path: Path) -> None:
        self.stream, self.path, self.size = stream, path, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """The next bytes, and their number."""
        count = self.stream.readinto(buffer)
        self.size += count
        require_sane(self.path, self.size)
        return count


def require_sane(path: Path, size: int) -> None:
    """Refuse a file that was packed to fill the memory: it unpacks to more than `HARMLESS` and `MOST_TIMES` its size.

    Args:
        path: the file.
        size: bytes when unpacked, or as many as have come so far.

    Raises:
        InputError: it is such a file.
    """
    if size > HARMLESS and size > MOST_TIMES * path.stat().st_size:
        raise InputError(
            f"{path}: unpacks to {size >> 30} GiB or more, over {MOST_TIMES} times its size, which no data does; "
            "save it unpacked if it is right"
        )


def files_below(root: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files at any depth of a folder whose names end so, in any case, sorted by path.

    Raises:
        OSError: the folder, or one in it, cannot be read.
    """
    wanted = (name for name in names_below(root) if name.lower().endswith(suffixes))
    return [path for name in wanted if (path := Path(name)).is_file()]


def names_below(root: Path) -> list[str]:
    """The paths of all that is no folder, at any depth of one, sorted.

    Hidden files and folders are leftovers of editors and of foreign file systems, and are left out. Links to folders
    are followed, and a folder that is come to again, as in a loop of links, is left out.

    Raises:
        OSError: the folder, or one in it, cannot be read.
    """

    def fail(error: OSError) -> None:
        raise error

    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(root, onerror=fail, followlinks=True):
        state = os.stat(parent)
        if (state.st_dev, state.st_ino) in seen:
            folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [os.path.join(parent, name) for name in names if not name.startswith(".")]
    return sorted(found)
