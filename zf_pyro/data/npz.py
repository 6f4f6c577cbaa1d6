"""Arrays from NumPy's files. Pickled objects are never read."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from zf_pyro.data.reading import require_sane
from zf_pyro.errors import InputError, first_line


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Whatever goes wrong inside is the fault of a file, said in one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if isinstance(error, ValueError) and "pickle" in str(error):
            raise InputError(
                f"{where}: no array of numbers, or one of pickled objects, which are never read"
            ) from error
        reason = getattr(error, "strerror", None) or first_line(error)
        raise InputError(f"{where}: cannot be read as numbers ({reason})") from error


class Npz:
    """The arrays of an ``.npz`` file, each read when it is asked for.

    Args:
        path: the file.

    Raises:
        InputError: it is missing, no such file, damaged, or packed beyond all data (`require_sane`).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(str(path)), self.archive() as archive:
            self.names: list[str] = list(archive.files)

    @contextmanager
    def archive(self) -> Iterator[Any]:
        """The file, opened."""
        if not stat.S_ISREG(self.path.stat().st_mode):
            raise InputError(f"{self.path}: neither an .npz file nor a folder")
        with self.path.open("rb") as file:
            if file.read(2) != b"PK":
                raise InputError(f"{self.path}: no .npz file (numpy.savez writes one)")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                require_sane(self.path, sum(member.file_size for member in archive.zip.infolist()))
                yield archive

    def __contains__(self, name: str) -> bool:
        """Whether there is an array of this name."""
        return name in self.names

    def __getitem__(self, name: str) -> np.ndarray:
        """An array.

        Raises:
            InputError: there is none of this name, or it is damaged or no array of numbers.
        """
        if name not in self.names:
            raise InputError(
                f"{self.path}: no array {name!r}; there are {', '.join(sorted(self.names)[:10]) or 'none'}"
            )
        with reading(f"{self.path}, array {name!r}"), self.archive() as archive:
            return numbers(archive[name], f"{self.path}, array {name!r}")

    def items(self) -> Iterator[tuple[str, np.ndarray]]:
        """Every array with its name, in the order of the names.

        Raises:
            InputError: one is damaged or no array of numbers.
        """
        # Opened once: opening takes time in proportion to the number of arrays.
        with reading(str(self.path)), self.archive() as archive:
            for name in sorted(self.names):
                where = f"{self.path}, array {name!r}"
                with reading(where):
                    array = numbers(archive[name], where)
                yield name, array


def read_npy(path: Path) -> np.ndarray:
    """The array of an ``.npy`` file.

    Raises:
        InputError: it is missing, damaged, or no array of numbers.
    """
    with reading(str(path)):
        return numbers(np.load(path, allow_pickle=False), str(path))


def numbers(array: np.ndarray, where: str) -> np.ndarray:
    """An array, checked to hold bits, integers or real numbers.

    Raises:
        InputError: it holds something else.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise InputError(f"{where}: holds {getattr(array, 'dtype', 'no array')}, not bits, integers or real numbers")
    return array


def require_finite(array: np.ndarray, where: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        InputError: the array holds one; its first place is named.
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        advice = "; sequences of different lengths are arrays of their own, unpadded" if array.ndim == 3 else ""
        raise InputError(f"{where}: {array[place]} at {place}; every number must be finite{advice}")
