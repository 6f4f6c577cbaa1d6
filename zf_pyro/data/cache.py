"""Prepared data on the disk, so that what takes long to read is read once.

An entry is a folder of arrays, named by a hash of everything that it depends on. It is written beside its place and
renamed into it, and every file of it is checked against its own hash when it is opened: an interrupted build, a damaged
file or an entry made by another version means that it is built again, never that something half-written is read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np

from zf_pyro.errors import InputError
from zf_pyro.files import sha256_of

FORMAT = 2
"""To be raised with every change of what an entry holds, or of how data is read, cleaned, split or counted."""

_META = "meta.json"


class Entry(NamedTuple):
    """Prepared data.

    Attributes:
        arrays: by name; those of an entry that was opened are mapped from the disk.
        about: what else there is to know, as JSON can hold it.
        fingerprint: a hash of both; empty until the entry is stored.
    """

    arrays: Mapping[str, np.ndarray]
    about: dict[str, Any]
    fingerprint: str = ""


def default_cache() -> Path:
    """``$ZF_PYRO_CACHE``, else ``zf_pyro`` in ``$XDG_CACHE_HOME``, else ``~/.cache/zf_pyro``.

    Raises:
        InputError: there is no home folder to put it in.
    """
    try:
        if own := os.environ.get("ZF_PYRO_CACHE"):
            return Path(own).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "zf_pyro"
    except RuntimeError as error:
        raise InputError("no home folder for the cache; set ZF_PYRO_CACHE to a folder that can be written") from error


def source_key(source: Path, files: list[Path], settings: Any) -> str:
    """A name for what becomes of some files under some settings.

    The files are known by name below the source, size and time of change; none of them is read.

    Args:
        source: the file, or the folder that holds the files.
        files: in an order of their own.
        settings: as JSON can hold them.

    Raises:
        OSError: a file is gone, or may not be looked at.
    """
    is_folder = source.is_dir()  # a file is read by lines, but whole where it stands in a folder
    digest = hashlib.sha256(json.dumps([settings, is_folder]).encode())
    base = os.fsencode(source if is_folder else source.parent)
    for file in files:
        state = os.stat(file)
        name = os.fsencode(file).removeprefix(base).lstrip(b"/")
        digest.update(b"\0%b\0%d\0%d" % (name, state.st_size, state.st_mtime_ns))
    return digest.hexdigest()


def cached(place: Path, made_with: Mapping[str, str], build: Callable[[], Entry], say: Callable[[str], None]) -> Entry:
    """An entry from its place in the cache; else it is built and put there.

    Args:
        place: the folder of the entry.
        made_with: versions of what prepares the data; with others an entry is built again.
        build: prepares the data.
        say: is told where an entry that is there cannot be used.

    Raises:
        InputError: the cache folder cannot be written, or what `build` raises.
    """
    wanted = {"format": str(FORMAT), **made_with}
    entry, reason = open_entry(place, wanted)
    if entry is not None:
        return entry
    check_writable(place.parent)
    again = f"The cache holds this data {reason}: it is read again" if reason else "Reading the data"
    say(f"{again}; it is kept in {place.parent}")
    return store_entry(place, wanted, build())


def open_entry(place: Path, wanted: Mapping[str, str]) -> tuple[Entry | None, str]:
    """An entry, its arrays mapped from the disk; or None, and why it cannot be used (nothing where there is none)."""
    if not os.path.exists(place):  # which, unlike the method of a path, is silent where it may not look
        return None, ""
    try:
        meta = json.loads((place / _META).read_bytes())
        if meta["made_with"] != wanted:
            return None, "as another version of zf_pyro or of its tokenisers made it"
        sums = meta["sha256"]
        if any(sha256_of(place / f"{name}.npy") != value for name, value in sums.items()):
            return None, "damaged"
        arrays = {name: np.load(place / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in sums}
        fingerprint = _fingerprint(sums, meta["about"])
        if fingerprint != meta["fingerprint"]:
            return None, "damaged"
        return Entry(arrays, dict(meta["about"]), fingerprint), ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, "damaged"


def store_entry(place: Path, made_with: Mapping[str, str], entry: Entry) -> Entry:
    """Puts an entry where ``open_entry`` finds it, and opens it.

    Raises:
        InputError: the cache folder cannot be written.
    """
    building = place.parent / f".{place.name}.{uuid4().hex}"
    with _writing(place.parent):
        try:
            building.mkdir(parents=True)
            _write(building, made_with, entry)
            # Opened before it is in its place: from there another process might take it away at any moment.
            stored, _ = open_entry(building, made_with)
            if stored is None:
                raise OSError("what was written reads back differently")
            _publish(building, place, made_with)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return stored


def check_writable(folder: Path) -> None:
    """Tells before the work of a build that its end would fail. Nothing is made: the build may yet fail otherwise.

    Raises:
        InputError: the folder, or the nearest one above it that exists, cannot be written.
    """
    with _writing(folder):
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"{folder}: the cache cannot be written ({reason}); set ZF_PYRO_CACHE to a folder that can"
        ) from error


def _write(folder: Path, made_with: Mapping[str, str], entry: Entry) -> None:
    for name, array in entry.arrays.items():
        np.save(folder / f"{name}.npy", array)
    sums = {name: sha256_of(folder / f"{name}.npy") for name in entry.arrays}
    fingerprint = _fingerprint(sums, entry.about)
    meta = {"made_with": dict(made_with), "sha256": sums, "about": entry.about, "fingerprint": fingerprint}
    (folder / _META).write_text(json.dumps(meta), encoding="utf-8")


def _fingerprint(sums: Mapping[str, str], about: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps([sums, about], sort_keys=True).encode()).hexdigest()


def _publish(building: Path, place: Path, made_with: Mapping[str, str]) -> None:
    """Renames a finished entry into its place, and one that cannot be used out of it."""
    try:
        building.rename(place)
    except OSError:
        if open_entry(place, made_with)[0] is not None:
            return  # another process was faster, and its entry is the same
        old = building.with_name(building.name + ".old")
        place.rename(old)
        building.rename(place)
        shutil.rmtree(old, ignore_errors=True)
