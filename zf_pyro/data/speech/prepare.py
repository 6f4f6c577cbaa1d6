"""Makes a folder of prepared audio, in parallel, and goes on where an earlier attempt stopped.

A shard is written under another name, flushed and renamed: no half of one is ever found. Whether a file is the last of
its shard depends on its own name and size, so that replacing, adding or removing one concerns a shard or two.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from zf_pyro.data.cache import source_key
from zf_pyro.data.reading import readable
from zf_pyro.data.speech.decode import DamagedAudioError, NotAudioError, Recording, library
from zf_pyro.data.speech.shards import (
    FORMAT,
    KEY,
    MANIFEST,
    OWN,
    Piece,
    Prepared,
    Shard,
    finished,
    is_prepared,
    write_manifest,
)
from zf_pyro.data.speech.waveforms import SAMPLE
from zf_pyro.errors import InputError
from zf_pyro.files import explained, sha256_of, write_atomically, write_text
from zf_pyro.progress import progress

SHARD_BYTES = 1 << 23
"""Of source files that go into a shard, about."""

LOCK = ".lock"


@dataclass
class Preparation:
    """The making of a prepared folder.

    Args:
        source: the folder, or the file, that holds the audio.
        files: of it, in an order of their own.
        other: the names of its other files.
        folder: where to put the shards.
        rate: samples a second.
        skip_damaged: leave damaged files out, instead of refusing them all at the end.
        workers: threads, 0 for one a core; the libraries that read audio run beside each other in them.
        say: is told what a user should know.
        replace: whether the folder may hold shards of other files alone, which then go.
    """

    source: Path
    files: Sequence[Path]
    other: Sequence[str]
    folder: Path
    rate: int
    skip_damaged: bool = False
    workers: int = 0
    say: Callable[[str], None] = lambda line: None
    replace: bool = False
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> Prepared:
        """Make what is not there yet.

        Raises:
            InputError: a file cannot be read, damaged ones are not to be skipped, or the folder cannot be written or
                holds something else. What was finished stays, and the next preparation goes on from it.
        """
        require_usable(self.folder)
        with explained(f"cannot write into {self.folder}"):
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder, self.say):
                known = finished(self.folder)
                for leftover in self.folder.glob("*.tmp"):
                    leftover.unlink()
                shards = self.make(known)
                self.refuse_damaged(shards)
                prepared = Prepared(self.folder, self.rate, shards, list(self.other))
                write_manifest(prepared)
        return prepared

    def make(self, known: dict[str, Shard]) -> list[Shard]:
        """All shards, those that are known taken over."""
        groups = self.groups()
        missing = {key: group for key, group in groups.items() if key not in known}
        shards = [known[key] for key in groups if key in known]
        if known and not shards and not self.replace:
            raise InputError(
                f"{self.folder} holds audio prepared from other files, or at another rate; choose another folder"
            )
        held = {piece.name for shard in known.values() for piece in shard.pieces}
        if gone := held.difference(map(self.name, self.files)):
            self.say(f"No longer in {self.source}, and removed from {self.folder}: {len(gone):,} recordings")
        if missing:
            self.say(f"Preparing {sum(map(len, missing.values())):,} audio files; the outcome is kept in {self.folder}")
            shards += self.made(missing)
        return sorted(shards, key=lambda shard: shard.key)

    def made(self, groups: dict[str, list[Path]]) -> Iterator[Shard]:
        """New shards, as they are finished."""
        with (
            progress(sum(map(len, groups.values())), "Preparing", "file") as bar,
            ThreadPoolExecutor(self.workers or os.cpu_count()) as pool,
        ):
            waiting = [pool.submit(self.shard, key, group) for key, group in groups.items()]
            try:
                for done in as_completed(waiting):
                    shard = done.result()
                    bar.update(len(groups[shard.key]))
                    yield shard
            except BaseException:
                self.stopped.set()
                pool.shutdown(cancel_futures=True)
                raise

    def groups(self) -> dict[str, list[Path]]:
        """The files of each shard, by its key."""
        made_with = [FORMAT, self.rate, library("soundfile").__libsndfile_version__]
        found: dict[str, list[Path]] = {}
        group: list[Path] = []
        with readable(self.source):
            for path in self.files:
                group.append(path)
                # Of a file alone, so that another one more or less leaves most shards as they are.
                drawn = zlib.crc32(os.fsencode(self.name(path))) / 2**32
                if drawn * SHARD_BYTES < max(1, os.stat(path).st_size) or path == self.files[-1]:
                    found[source_key(self.source, group, made_with)[:KEY]] = group
                    group = []
        return found

    def name(self, path: Path) -> str:
        """Of a file, below the source folder."""
        return path.relative_to(self.source).as_posix() if path != self.source else path.name

    def shard(self, key: str, files: list[Path]) -> Shard:
        """Make one shard, and leave a note that it is finished."""
        shard = Shard(key)
        path = shard.path(self.folder)
        write_atomically(path, lambda output: self.fill(shard, output, files))
        shard.changed = os.stat(path).st_mtime_ns
        write_text(self.folder / f"{key}.json", json.dumps(shard.entry()))
        return shard

    def fill(self, shard: Shard, output: BinaryIO, files: list[Path]) -> None:
        """Write the recordings of some files."""
        digest = hashlib.sha256()
        for path in files:
            attempt = digest.copy()
            try:
                piece = self.piece(path, output, shard.samples, attempt)
            except (NotAudioError, DamagedAudioError) as error:
                is_audio = isinstance(error, DamagedAudioError)
                (shard.damaged if is_audio else shard.not_audio).append(str(error) if is_audio else self.name(path))
                output.seek(shard.samples * SAMPLE.itemsize)
                output.truncate()
                continue
            digest = attempt
            shard.samples += piece.samples
            shard.pieces.append(piece)
        shard.sha256 = digest.hexdigest()

    def piece(self, path: Path, output: BinaryIO, start: int, digest: Any) -> Piece:
        """Write one recording."""
        recording, samples, total, squares = Recording(path, self.rate), 0, 0, 0
        for block in recording.blocks():
            if self.stopped.is_set():
                raise InputError("stopped")
            content = block.astype(SAMPLE, copy=False).tobytes()
            output.write(content)
            digest.update(content)
            wide = block.astype(np.int64)
            samples, total, squares = samples + len(wide), total + int(wide.sum()), squares + int(wide @ wide)
        with readable(path):
            sha256 = sha256_of(path)
        return Piece(
            name=self.name(path),
            start=start,
            samples=samples,
            total=total,
            squares=squares,
            sha256=sha256,
            source_rate=recording.source_rate,
            channels=recording.channels,
            clipped=recording.clipped,
        )

    def refuse_damaged(self, shards: list[Shard]) -> None:
        """Raise where files are damaged and not to be skipped."""
        damaged = [reason for shard in shards for reason in shard.damaged]
        if damaged and not self.skip_damaged:
            more = f" (and {len(damaged) - 3:,} more damaged files)" if len(damaged) > 3 else ""
            raise InputError(f"{'; '.join(sorted(damaged)[:3])}{more}; --set damaged=skip leaves them out")


def require_usable(folder: Path) -> None:
    """Refuse a folder, before it is written into, that holds something else than prepared audio.

    Raises:
        InputError: it does, or is a file.
    """
    with explained(f"cannot use {folder}"):
        if not os.path.lexists(folder):
            return
        if not folder.is_dir():
            raise InputError(f"{folder} is a file; --to names a folder")
        strange = sorted(path.name for path in folder.iterdir() if not OWN.fullmatch(path.name))
        known = {LOCK, MANIFEST} if is_prepared(folder) else {LOCK}
        if strange := [name for name in strange if name not in known]:
            raise InputError(f"{folder} holds {strange[0]!r}, which is no prepared audio; choose another folder")


@contextmanager
def locked(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Wait until no other process prepares into a folder, and keep others waiting."""
    with (folder / LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Another process prepares into {folder}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
