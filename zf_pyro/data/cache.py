"""Encoded corpora on the disk, so that text is tokenised once.

An entry is a folder named by a hash of everything that it depends on. It is written beside its place and renamed into
it, and every file of it is checked against its own hash when it is opened: an interrupted build or a damaged file
means that it is built again, never that something half-written is read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from uuid import uuid4

import numpy as np

from zf_pyro.data.corpus import Sentences, TextCorpus
from zf_pyro.data.encode import SPLITS, EncodedText, TextSettings
from zf_pyro.data.sources import readable, source_files
from zf_pyro.data.vocabulary import Vocabulary
from zf_pyro.errors import InputError
from zf_pyro.files import sha256_of

FORMAT = 1
"""To be raised with every change of what an entry holds, or of how text is read, cleaned, split or counted."""

_VOCABULARY = "vocabulary.txt"
_META = "meta.json"
_FILES = (_VOCABULARY, *(f"{split}_{part}.npy" for split in SPLITS for part in ("tokens", "offsets")))


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


def cache_key(source: Path, settings: TextSettings) -> str:
    """A name for what becomes of a source: of its files, the settings, the tokenisers' versions and the format.

    The files are known by name below the source, size and time of change; none of them is read.

    Raises:
        InputError: as ``source_files`` does.
    """
    files = source_files(source)
    is_folder = source.is_dir()  # a file is read by lines, but whole where it stands in a folder
    tools = [metadata.version(name) for name in ("sentencex", "nltk")]
    digest = hashlib.sha256(json.dumps([FORMAT, tools, asdict(settings), is_folder]).encode())
    base = os.fsencode(source if is_folder else source.parent)
    with readable(source):
        for file in files:
            state = os.stat(file)
            name = os.fsencode(file).removeprefix(base).lstrip(b"/")
            digest.update(b"\0%b\0%d\0%d" % (name, state.st_size, state.st_mtime_ns))
    return digest.hexdigest()


def open_entry(entry: Path, name: str) -> TextCorpus | None:
    """The corpus of an entry, its arrays mapped from the disk; None where it is missing or damaged.

    Args:
        entry: the folder.
        name: of the source, to begin ``TextCorpus.source`` with.
    """
    try:
        meta = json.loads((entry / _META).read_bytes())
        if any(sha256_of(entry / file) != meta["sha256"][file] for file in _FILES):
            return None
        documents = [int(meta["documents"][split]) for split in SPLITS]
        vocabulary = Vocabulary.load(entry / _VOCABULARY)
        splits = [Sentences(_mapped(entry, split, "tokens"), _mapped(entry, split, "offsets")) for split in SPLITS]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    train, valid, test = splits
    about = (
        f"{name}: {_listed(documents)} documents and {_listed([len(split) for split in splits])} sentences "
        f"to train, validate and test, {len(vocabulary):,} words"
    )
    fingerprint = hashlib.sha256("".join(meta["sha256"][file] for file in _FILES).encode()).hexdigest()
    counts = train.counts(len(vocabulary))
    return TextCorpus(vocabulary, train, valid, test, counts, about, fingerprint=fingerprint)


def store_entry(entry: Path, text: EncodedText, name: str) -> TextCorpus:
    """Puts a corpus where ``open_entry`` finds it, and opens it.

    Raises:
        InputError: the cache folder cannot be written.
    """
    building = entry.parent / f".{entry.name}.{uuid4().hex}"
    with _writing(entry.parent):
        try:
            building.mkdir(parents=True)
            _write(building, text)
            # Opened before it is in its place: from there another process might take it away at any moment.
            corpus = open_entry(building, name)
            if corpus is None:
                raise OSError("what was written reads back differently")
            _publish(building, entry)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return corpus


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


def _write(folder: Path, text: EncodedText) -> None:
    text.vocabulary.save(folder / _VOCABULARY)
    for name, split in text.splits.items():
        np.save(folder / f"{name}_tokens.npy", split.tokens)
        np.save(folder / f"{name}_offsets.npy", split.offsets)
    meta = {
        "documents": {name: split.num_documents for name, split in text.splits.items()},
        "sha256": {file: sha256_of(folder / file) for file in _FILES},
    }
    (folder / _META).write_text(json.dumps(meta, indent=1), encoding="utf-8")


def _publish(building: Path, entry: Path) -> None:
    """Renames a finished entry into its place, and a damaged one out of it."""
    try:
        building.rename(entry)
    except OSError:
        if open_entry(entry, "") is not None:
            return  # another process was faster, and its entry is the same
        damaged = building.with_name(building.name + ".damaged")
        entry.rename(damaged)
        building.rename(entry)
        shutil.rmtree(damaged, ignore_errors=True)


def _mapped(entry: Path, split: str, part: str) -> np.ndarray:
    return np.load(entry / f"{split}_{part}.npy", mmap_mode="r", allow_pickle=False)


def _listed(numbers: list[int]) -> str:
    return " / ".join(f"{number:,}" for number in numbers)
