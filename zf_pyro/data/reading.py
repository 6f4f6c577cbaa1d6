"""Files and folders of a user's, and what the system says about them."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from zf_pyro.errors import InputError

_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, gzip.BadGzipFile)


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
def unpacked(path: Path) -> Iterator[io.BufferedIOBase]:
    """The bytes of a file, decompressed where it is gzip.

    Raises:
        InputError: instead of what the system or the decompressor raises.
    """
    with readable(path), path.open("rb") as file:
        packed = file.peek(2).startswith(b"\x1f\x8b")
        with gzip.GzipFile(fileobj=file) if packed else nullcontext(file) as stream:
            yield stream


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
