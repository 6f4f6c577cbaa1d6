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

    Hidden ones are leftovers of editors and of foreign file systems, and are left out.

    Raises:
        OSError: the folder, or one in it, cannot be read.
    """

    def fail(error: OSError) -> None:
        raise error

    found = []
    for parent, folders, names in os.walk(root, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        wanted = (name for name in names if name.lower().endswith(suffixes) and not name.startswith("."))
        found += [path for name in wanted if (path := Path(parent, name)).is_file()]
    return sorted(found, key=os.fspath)  # paths themselves compare many times slower
