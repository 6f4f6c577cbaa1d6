"""Recordings prepared for training: 16-bit samples of one channel at one rate, in files to read anywhere from.

A prepared folder holds

* shards, ``<key>.pcm``: some recordings one after the other, little-endian, nothing else. The key is a hash of the rate
  and of the names, sizes and times of change of the files that went in, so that a shard is right or absent;
* ``<key>.json`` beside a finished shard while others are still being made: what a preparation that stopped leaves, and
  the next one goes on from;
* ``manifest.json``: every shard with its checksum, every recording with its place, and what was left out.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from zf_pyro.data.reading import readable
from zf_pyro.data.speech.waveforms import SAMPLE
from zf_pyro.errors import InputError
from zf_pyro.files import from_json, sha256_of, write_text
from zf_pyro.progress import progress

MANIFEST = "manifest.json"
FORMAT = "zf_pyro audio 1"
"""To be raised with every change of what a prepared folder holds, or of how audio is read."""

_BEGINNING = b'{"format": "zf_pyro audio '
"""Of a manifest: other data, too, may come with a file of that name."""

KEY = 24
"""Letters of a shard's key."""

NAMED = re.compile(rf"[0-9a-f]{{{KEY}}}")
"""Keys of shards."""

OWN = re.compile(rf"{NAMED.pattern}\.(pcm|json)|.*\.(pcm|json)\.[0-9a-f]{{32}}\.tmp")
"""The names of shards, of their notes, and of what is left of files that were not finished."""


@dataclass(frozen=True)
class Piece:
    """A recording in a shard."""

    name: str
    """Its path below the source folder, with slashes."""
    start: int
    """Its first sample in the shard."""
    samples: int
    total: int
    """Sum of its samples."""
    squares: int
    """Sum of their squares."""
    sha256: str
    """Of the file that it was read from."""
    source_rate: int
    """Samples a second there."""
    channels: int
    """There."""
    clipped: int
    """Samples that 16 bits did not hold."""


@dataclass
class Shard:
    """A file of samples."""

    key: str
    samples: int = 0
    sha256: str = ""
    changed: int = 0
    """Its time of change in nanoseconds: while that and the size are the same, the checksum is taken to be."""
    pieces: list[Piece] = field(default_factory=list)
    not_audio: list[str] = field(default_factory=list)
    """Files that turned out to be no audio."""
    damaged: list[str] = field(default_factory=list)
    """What is wrong with each damaged file that was left out."""

    def entry(self) -> dict[str, Any]:
        """Its entry in the manifest."""
        return {**vars(self), "pieces": [vars(piece) for piece in self.pieces]}

    def path(self, folder: Path) -> Path:
        """Of the samples."""
        return folder / f"{self.key}.pcm"


class Prepared(NamedTuple):
    """A prepared folder.

    Attributes:
        folder: where it is.
        rate: samples a second.
        shards: in no particular order.
        other: the names of files of the source that were not taken for audio.
    """

    folder: Path
    rate: int
    shards: list[Shard]
    other: list[str]


def is_prepared(folder: Path) -> bool:
    """Whether a folder is one that `prepare_audio` finished, by this version or another."""
    try:
        with (folder / MANIFEST).open("rb") as file:
            return file.read(len(_BEGINNING)) == _BEGINNING
    except OSError:
        return False


def open_prepared(folder: Path, rate: int) -> Prepared:
    """A prepared folder, its shards checked.

    Raises:
        InputError: it is damaged, of another version or rate, or a shard is gone or does not match its checksum.
    """
    with readable(folder / MANIFEST):
        text = (folder / MANIFEST).read_bytes()
    try:
        table = from_json(text)
        if known := table["format"] == FORMAT:
            prepared = Prepared(folder, table["rate"], [as_shard(each) for each in table["shards"]], table["other"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / MANIFEST}: damaged; prepare the data again") from error
    if not known:
        raise InputError(f"{folder}: prepared by another version of zf_pyro; prepare it again")
    if prepared.rate != rate:
        raise InputError(f"{folder}: prepared at {prepared.rate} samples a second, not sample_rate = {rate}")
    with progress(len(prepared.shards), "Checking", "shard", delay=5) as bar:
        for shard in prepared.shards:
            if not matches(shard, folder):
                raise InputError(
                    f"{shard.path(folder)}: gone, or does not match its checksum; prepare the data again, "
                    "which makes what is missing"
                )
            bar.update()
    return prepared


def as_shard(table: dict[str, Any]) -> Shard:
    """A shard from its entry.

    Raises:
        ValueError: its key is none, and might name a file elsewhere, or a recording lies outside.
    """
    shard = Shard(**{**table, "pieces": [Piece(**piece) for piece in table["pieces"]]})
    if not NAMED.fullmatch(shard.key):
        raise ValueError("a shard without a key")
    if not all(0 <= piece.start <= piece.start + piece.samples <= shard.samples for piece in shard.pieces):
        raise ValueError(f"a recording outside its shard {shard.key}")
    return shard


def matches(shard: Shard, folder: Path) -> bool:
    """Whether a shard's file is the one that was written."""
    path = shard.path(folder)
    try:
        state = os.stat(path)
        if state.st_size != shard.samples * SAMPLE.itemsize:
            return False
        if state.st_mtime_ns == shard.changed:
            return True
        if sha256_of(path) != shard.sha256:
            return False
    except OSError:
        return False
    with suppress(OSError):  # so that a copy is not read through every time
        os.utime(path, ns=(state.st_atime_ns, shard.changed))
    return True


def write_manifest(prepared: Prepared) -> None:
    """Write the manifest, where it is not there yet, and remove shards and notes that it does not name.

    Raises:
        OSError: the folder cannot be written.
    """
    table = {"format": FORMAT, "rate": prepared.rate, "shards": [shard.entry() for shard in prepared.shards]}
    text = json.dumps({**table, "other": prepared.other})
    manifest = prepared.folder / MANIFEST
    if not (manifest.is_file() and manifest.read_text(encoding="utf-8") == text):
        write_text(manifest, text)
    kept = {shard.path(prepared.folder) for shard in prepared.shards}
    for path in prepared.folder.iterdir():
        if OWN.fullmatch(path.name) and path not in kept:
            path.unlink()


def finished(folder: Path) -> dict[str, Shard]:
    """The finished shards of a folder by key: those of its manifest and those with a note, whose files are right."""
    found: dict[str, Shard] = {}
    for path in folder.glob("*.json"):
        table = json_of(path)
        try:
            shards = [as_shard(each) for each in (table["shards"] if path.name == MANIFEST else [table])]
        except (KeyError, TypeError, AttributeError, ValueError):
            continue
        found |= {shard.key: shard for shard in shards if matches(shard, folder)}
    return found


def json_of(path: Path) -> dict[str, Any]:
    """The object in a file; empty where there is none."""
    try:
        found = from_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
