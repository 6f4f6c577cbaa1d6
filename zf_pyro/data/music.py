"""Polyphonic music as piano rolls: at each step, which of the piano's 88 keys sound.

Accepted are

* ``.npz`` files as the authors of SRNN made them: u_train, u_valid, u_test (N, T, 88), the frames that are read, and
  x_train, x_valid, x_test, the frames that are scored, which are the same one step on. Real steps come first; they are
  those where mask_test (N, T) is 1, or, without such an array, those before u_test is NaN for good. Likewise for the
  other two splits;
* JSON, ``.json`` or ``.json.gz``: ``{"train": [piece, ...], "valid": [...], "test": [...]}``, a piece a list of steps,
  a step the list of the MIDI notes (21 to 108) that sound, perhaps empty;
* a folder of MIDI files, ``.mid`` or ``.midi``, at any depth. A folder or a file whose name begins with "train",
  "valid" or "test" as a word of its own is of that split. Where none does, the pieces are ranked by their content, and
  the ranking is cut;
* a folder with one file of the first two kinds, and no MIDI.
"""

from __future__ import annotations

import hashlib
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from zf_pyro.data.corpus import Corpus, Observation
from zf_pyro.data.given import Given, Reading
from zf_pyro.data.midi import FINEST_GRID, KEYS, read_midi
from zf_pyro.data.npz import Npz
from zf_pyro.data.reading import files_below, readable
from zf_pyro.data.rolls import json_rolls, npz_rows, read_json
from zf_pyro.data.sequences import Sequences
from zf_pyro.data.splits import SPLITS, SplitSettings, assign, one_without, ranking, slashed, split_of
from zf_pyro.errors import InputError

ACCEPTED = "an .npz file of the SRNN authors' kind, a .json or .json.gz of pieces, or a folder of MIDI files"

KINDS = {".npz": "npz", ".json": "json", ".json.gz": "json", ".mid": "midi", ".midi": "midi"}
NPZ_STEPS_PER_BEAT = 2
"""The grid of the SRNN authors' sets, which does not stand in the files: their chorales are twice as long as in
quarter notes, and most notes of their Nottingham melodies, eighths, last one step."""
_JSON_NAMES = {"train": ("train",), "valid": ("valid", "validation", "val"), "test": ("test",)}


@dataclass(frozen=True)
class MusicSettings(SplitSettings):
    """How music becomes a data set."""

    chunk_length: int = 100
    """Training pieces of JSON and MIDI are cut into rows of at most this many steps; 0 leaves them whole. Validation
    and test pieces stay whole, and the rows of an .npz are as they are."""
    steps_per_beat: int = 4
    """The time grid to read MIDI files on, and the one that JSON is written in, which matters only to sound. That of
    an .npz is `NPZ_STEPS_PER_BEAT`."""

    def __post_init__(self) -> None:
        """Refuse lengths that are none."""
        super().__post_init__()
        for name, least in (("chunk_length", 0), ("steps_per_beat", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} = {getattr(self, name)}: it is to be at least {least}")
        if self.steps_per_beat > FINEST_GRID:
            raise InputError(f"steps_per_beat = {self.steps_per_beat}: MIDI has no more than {FINEST_GRID:,}")


class _Music(NamedTuple):
    """What a source holds."""

    pieces: dict[str, list[np.ndarray]]
    """Of each split, each (n, 88) booleans."""
    rows: bool = False
    """Whether they are rows of an ``.npz``, whose first frame is u_1."""
    remark: str = ""
    """What else the user should know."""


def load_music(data: Path, settings: MusicSettings) -> Corpus:
    """Piano rolls as a data set: 88 bits a step.

    u_1 is the first frame of a row of an ``.npz``, and silence elsewhere, where every frame is scored. A row cut from
    within a piece has the frame before it for u_1.

    Args:
        data: any of the forms that the module's docstring lists.
        settings: how to cut it.

    Raises:
        InputError: there is nothing of these forms at `data`, or it is damaged or holds what it should not. The line
            names the file and, where there is one, the place in it.
    """
    files = music_files(data)
    if files == [data] and kind_of(data) == "midi":
        raise InputError(f"{data}: one MIDI file; give the folder of at least three, one for each split")
    match kind_of(files[0]):
        case "npz":
            music = _npz_music(files[0])
        case "json":
            music = _json_music(files[0])
        case _:
            music = _midi_music(data, files, settings)
    cut = 0 if music.rows else settings.chunk_length
    splits = {
        name: Sequences.of(pieces, condition_on_first=music.rows, chunk_length=cut if name == "train" else 0)
        for name, pieces in music.pieces.items()
    }
    return Corpus(
        observation=Observation(
            "bernoulli",
            KEYS,
            sequence="piece",
            step="frame",
            sample_steps=100,
            steps_per_beat=NPZ_STEPS_PER_BEAT if music.rows else settings.steps_per_beat,
        ),
        train=splits["train"],
        valid=splits["valid"],
        test=splits["test"],
        settings=settings,
        source=f"{files[0] if len(files) == 1 else data}: {_described(music, splits)}",
        origin=str(data.absolute()),
        fingerprint=_fingerprint(splits),
    )


def _described(music: _Music, splits: dict[str, Sequences]) -> str:
    pieces = slashed(len(pieces) for pieces in music.pieces.values())
    frames = slashed(split.lengths.sum() for split in splits.values())
    rows = len(splits["train"])
    cut = "" if rows == len(music.pieces["train"]) else f", those to train cut into {rows:,} rows"
    kind = "rows" if music.rows else "pieces"
    return f"{pieces} {kind} of {frames} frames to train, validate and test{cut}{music.remark}"


def _fingerprint(splits: dict[str, Sequences]) -> str:
    digest = hashlib.sha256()
    for split in splits.values():
        for array in (split.frames, split.starts, split.stops):
            digest.update(array.tobytes())
    return digest.hexdigest()


# What there is to read


def music_files(data: Path) -> list[Path]:
    """The file to read, or the MIDI files of a folder, sorted.

    Raises:
        InputError: there is no music, or a folder holds several data sets.
    """
    with readable(data):
        if data.is_dir():
            return _folder_files(data)
        if not data.is_file():
            raise InputError(f"{data}: no such file or folder; give {ACCEPTED}")
    if kind_of(data) is None:
        raise InputError(f"{data}: of no known kind; give {ACCEPTED}")
    return [data]


def _folder_files(root: Path) -> list[Path]:
    found = files_below(root, tuple(KINDS))
    midi = [path for path in found if kind_of(path) == "midi"]
    if not found:
        raise InputError(f"{root}: a folder without music; give {ACCEPTED}")
    if len(found) > 1 and not midi:
        listed = ", ".join(str(path.relative_to(root)) for path in found[:10])
        raise InputError(f"{root}: {len(found)} data sets ({listed}); give the path of one")
    return midi or found


def kind_of(path: Path) -> str | None:
    """By the name of a file "npz", "json" or "midi"; None for another."""
    name = path.name.lower()
    return next((kind for suffix, kind in KINDS.items() if name.endswith(suffix)), None)


# Arrays


def _npz_music(path: Path) -> _Music:
    archive = Npz(path)
    pieces = {split: npz_rows(archive, split) for split in SPLITS}
    return _Music(pieces, rows=True, remark="; the first frame of each row is conditioned on, not scored")


# JSON


def _json_music(path: Path) -> _Music:
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no object; it must be one with train, valid and test")
    pieces = {}
    for split, names in _JSON_NAMES.items():
        present = [name for name in names if name in content]
        if len(present) != 1:
            raise InputError(
                f"{path}: an object with {reprlib.repr(list(content))}; "
                f"it must have one entry with the name {' or '.join(names)}"
            )
        pieces[split] = json_rolls(content[present[0]], f"{path}, {present[0]}")
    return _Music(pieces)


# MIDI


def _midi_music(root: Path, files: Sequence[Path], settings: MusicSettings) -> _Music:
    read = [
        read_midi(file, settings.steps_per_beat) for file in tqdm(files, desc="reading", unit=" files", disable=None)
    ]
    ranked = ranking((roll.tobytes() for roll, _ in read), settings.split_seed)
    official = [split_of(files[i].relative_to(root)) for i in ranked]
    if (odd := one_without(official)) is not None:
        raise InputError(
            f"{files[ranked[odd]]}: of no split, while other files are; begin its name, or that of its folder, with "
            "train, valid or test, or rename the others"
        )
    members = assign(official, settings, str(root), "pieces")
    pieces = {split: [read[ranked[place]][0] for place in members[split]] for split in SPLITS}
    outside = sum(left_out for _, left_out in read)
    return _Music(pieces, remark=f"; {outside:,} notes outside the piano's range left out" if outside else "")


# A file for a finished run


def given_music(data: Path, reading: Reading) -> Given:
    """The pieces of a file, or of a folder of MIDI files, whole.

    u_1 is the first frame of a row of an ``.npz``, and silence elsewhere. JSON may also be a list of pieces.

    Raises:
        InputError: as `load_music` does.
    """
    files, remarks = music_files(data), []
    rows = kind_of(files[0]) == "npz"
    if rows:
        pieces = _npz_given(files[0])
        remarks = ["the first frame of each row is conditioned on, not scored"]
    elif kind_of(files[0]) == "json":
        pieces = _json_given(files[0])
    else:
        read = {path: read_midi(path, reading.settings.steps_per_beat) for path in files}
        pieces = {_below(path, data): roll for path, (roll, _) in read.items()}
        outside = sum(left_out for _, left_out in read.values())
        remarks = [f"{outside:,} notes outside the piano's range left out"] if outside else []
    return Given(list(pieces), Sequences.of(list(pieces.values()), condition_on_first=rows), remarks)


def _below(path: Path, data: Path) -> str:
    return path.name if path == data else path.relative_to(data).as_posix()


def _npz_given(path: Path) -> dict[str, np.ndarray]:
    archive = Npz(path)
    parts = [name.removeprefix("u_") for name in sorted(archive.names) if name.startswith("u_")]
    if not parts:
        raise InputError(f"{path}: no array whose name begins with u_; give {ACCEPTED}")
    return {f"{part}[{i}]": row for part in parts for i, row in enumerate(npz_rows(archive, part))}


def _json_given(path: Path) -> dict[str, np.ndarray]:
    content = read_json(path)
    parts = content if isinstance(content, dict) and content else {"": content}
    return {
        f"{part} {number}".strip(): roll
        for part, listed in parts.items()
        for number, roll in enumerate(json_rolls(listed, f"{path}, {part}".removesuffix(", ")), 1)
    }
