"""The recordings of a folder, whether it holds audio files or prepared audio."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zf_pyro.data.cache import check_writable, default_cache
from zf_pyro.data.reading import names_below, readable
from zf_pyro.data.speech.decode import SUFFIXES
from zf_pyro.data.speech.prepare import Preparation
from zf_pyro.data.speech.settings import SpeechSettings
from zf_pyro.data.speech.shards import OWN, Piece, Prepared, is_prepared, open_prepared
from zf_pyro.data.speech.waveforms import Tape
from zf_pyro.errors import InputError
from zf_pyro.files import printable

ACCEPTED = f"a folder of audio files ({', '.join(SUFFIXES)}), or of audio prepared by zf-pyro prepare"


@dataclass(frozen=True, eq=False)
class Collection:
    """The recordings of a folder that have a frame to score.

    Attributes:
        pieces: the recordings by name.
        places: (R,) integers: the file of each.
        files: that hold their samples.
        remarks: what was converted or left out.
    """

    pieces: list[Piece]
    places: np.ndarray
    files: tuple[Path, ...]
    remarks: list[str]

    def tape(self, chosen: Sequence[int]) -> Tape:
        """Some of the recordings one after the other."""
        pieces = [self.pieces[i] for i in chosen]
        offsets, samples = (np.array([getattr(p, name) for p in pieces], np.int64) for name in ("start", "samples"))
        return Tape.of(self.files, self.places[list(chosen)], offsets, samples)

    def minutes(self, chosen: Sequence[int], rate: int) -> float:
        """How long some of the recordings are."""
        return sum(self.pieces[i].samples for i in chosen) / rate / 60


def collect(data: Path, settings: SpeechSettings, say: Callable[[str], None]) -> Collection:
    """The recordings of a folder. Of audio files the cache keeps the samples.

    Raises:
        InputError: there is no audio, it is damaged or too short, or the cache cannot be written.
    """
    if is_prepared(data):
        prepared = open_prepared(data, settings.sample_rate)
    else:
        source = f"{settings.sample_rate}:{data.resolve()}".encode(errors="surrogateescape")
        place = default_cache() / "audio" / hashlib.sha256(source).hexdigest()[:24]
        check_writable(place)
        prepared = prepare_audio(data, place, settings, replace=True, say=say)
    least = 2 * settings.frame_size
    placed = [(piece, place) for place, shard in enumerate(prepared.shards) for piece in shard.pieces]
    placed.sort(key=lambda each: each[0].name)
    long = [each for each in placed if each[0].samples >= least]
    if not long:
        raise InputError(f"{data}: no recording of at least two frames, {least:,} samples")
    pieces = [piece for piece, _ in long]
    remarks = [*converted(pieces, prepared.rate), *left_out(prepared)]
    if short := [piece.name for piece, _ in placed if piece.samples < least]:
        remarks.append(left_out_as("shorter than two frames", short))
    files = tuple(shard.path(prepared.folder) for shard in prepared.shards)
    return Collection(pieces, np.array([place for _, place in long]), files, remarks)


def prepare_audio(
    data: Path,
    folder: Path,
    settings: SpeechSettings,
    *,
    workers: int = 0,
    replace: bool = False,
    say: Callable[[str], None],
) -> Prepared:
    """Make, or complete, a prepared folder.

    Args:
        data: an audio file, or a folder of them.
        folder: to write into.
        settings: the rate, and what to do about damaged files.
        workers: how many files to read at a time, 0 for one a core.
        replace: whether audio prepared from other files, or at another rate, may go from the folder.
        say: is told what a user should know.

    Raises:
        InputError: there is no audio, a file is damaged, or the folder cannot be written or holds something else.
    """
    if not replace and folder.resolve().is_relative_to(data.resolve()):
        raise InputError(f"{folder} lies inside {data}, of whose files it would become one; choose another folder")
    with readable(data):
        names = names_below(data) if data.is_dir() else [str(data)]
    files, other = [], []
    for path in map(Path, names):
        if path.name.lower().endswith(SUFFIXES) and path.is_file():
            files.append(path)
        else:
            other.append(path.relative_to(data).as_posix())
    if not files:
        unfinished = any(OWN.fullmatch(name) for name in other)
        hint = "a preparation that did not finish: run it again" if unfinished else f"give {ACCEPTED}"
        raise InputError(f"{data}: no audio; {hint}")
    skip = settings.damaged == "skip"
    return Preparation(data, files, other, folder, settings.sample_rate, skip, workers, say, replace).run()


def described(prepared: Prepared) -> Iterator[str]:
    """Lines on what is in a prepared folder, and what was left out."""
    pieces = [piece for shard in prepared.shards for piece in shard.pieces]
    minutes = sum(piece.samples for piece in pieces) / prepared.rate / 60
    yield f"{len(pieces):,} recordings of {minutes:,.1f} minutes in {len(prepared.shards):,} shards"
    yield from converted(pieces, prepared.rate)
    yield from left_out(prepared)


def converted(pieces: Sequence[Piece], rate: int) -> Iterator[str]:
    """What was changed in reading."""
    rates = Counter(piece.source_rate for piece in pieces if piece.source_rate != rate)
    for source_rate, count in sorted(rates.items()):
        yield f"{count:,} resampled from {source_rate:,} to {rate:,} samples a second"
    if several := sum(piece.channels > 1 for piece in pieces):
        yield f"{several:,} of several channels averaged to one"
    if clipped := sum(piece.clipped for piece in pieces):
        yield f"{clipped:,} samples clipped"


def left_out(prepared: Prepared) -> Iterator[str]:
    """What was left out."""
    not_audio = sorted([*prepared.other, *(name for shard in prepared.shards for name in shard.not_audio)])
    damaged = sorted(reason for shard in prepared.shards for reason in shard.damaged)
    if not_audio:
        yield left_out_as("no audio of a kind that is read", not_audio)
    if damaged:
        yield left_out_as("damaged", damaged)


def left_out_as(what: str, names: list[str]) -> str:
    """A line on files that were left out, with the first names."""
    shown = printable(", ".join(names[:3]))
    return f"left out as {what}: {len(names):,} ({shown}{', ..' if len(names) > 3 else ''})"
