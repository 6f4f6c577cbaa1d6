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
import json
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from zf_pyro.data.corpus import Corpus, Observation
from zf_pyro.data.midi import KEYS, LONGEST_ROLL, LOWEST, read_midi
from zf_pyro.data.npz import Npz
from zf_pyro.data.reading import files_below, readable, unpacked
from zf_pyro.data.sequences import Sequences
from zf_pyro.data.splits import SPLITS, SplitSettings, assign, one_without, ranking, slashed, split_of
from zf_pyro.errors import InputError

ACCEPTED = "an .npz file of the SRNN authors' kind, a .json or .json.gz of pieces, or a folder of MIDI files"

_KINDS = {".npz": "npz", ".json": "json", ".json.gz": "json", ".mid": "midi", ".midi": "midi"}
_JSON_NAMES = {"train": ("train",), "valid": ("valid", "validation", "val"), "test": ("test",)}
_LARGEST_JSON = 1 << 26
"""Bytes, unpacked; a hundred times the largest known set."""


@dataclass(frozen=True)
class MusicSettings(SplitSettings):
    """How music becomes a data set."""

    chunk_length: int = 100
    """Training pieces of JSON and MIDI are cut into rows of at most this many steps; 0 leaves them whole. Validation
    and test pieces stay whole, and the rows of an .npz are as they are."""
    steps_per_beat: int = 4
    """The time grid of MIDI files. Without effect on the others, which come with theirs."""

    def __post_init__(self) -> None:
        """Refuse lengths that are none."""
        super().__post_init__()
        for name, least in (("chunk_length", 0), ("steps_per_beat", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} = {getattr(self, name)}: it is to be at least {least}")


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
    files = _music_files(data)
    match _kind(files[0]):
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
        observation=Observation("bernoulli", KEYS, sequence="piece", step="frame", sample_steps=100),
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


def _music_files(data: Path) -> list[Path]:
    """The one .npz or JSON file to read, or the MIDI files of a folder, sorted."""
    with readable(data):
        if data.is_dir():
            return _folder_files(data)
        if not data.is_file():
            raise InputError(f"{data}: no such file or folder; give {ACCEPTED}")
    if _kind(data) == "midi":
        raise InputError(f"{data}: one MIDI file; give the folder of at least three, one for each split")
    if _kind(data) is None:
        raise InputError(f"{data}: of no known kind; give {ACCEPTED}")
    return [data]


def _folder_files(root: Path) -> list[Path]:
    found = files_below(root, tuple(_KINDS))
    midi = [path for path in found if _kind(path) == "midi"]
    if not found:
        raise InputError(f"{root}: a folder without music; give {ACCEPTED}")
    if len(found) > 1 and not midi:
        listed = ", ".join(str(path.relative_to(root)) for path in found[:10])
        raise InputError(f"{root}: {len(found)} data sets ({listed}); give the path of one")
    return midi or found


def _kind(path: Path) -> str | None:
    name = path.name.lower()
    return next((kind for suffix, kind in _KINDS.items() if name.endswith(suffix)), None)


# Arrays


def _npz_music(path: Path) -> _Music:
    archive = Npz(path)
    pieces = {split: _npz_rows(archive, split) for split in SPLITS}
    return _Music(pieces, rows=True, remark="; the first frame of each row is conditioned on, not scored")


def _npz_rows(archive: Npz, split: str) -> list[np.ndarray]:
    """u_1, x_1, .., x_n of every row of a split."""
    u, x = archive[f"u_{split}"], archive[f"x_{split}"]
    where = f"{archive.path}, arrays 'u_{split}' and 'x_{split}'"
    if u.shape != x.shape or u.ndim != 3 or u.shape[2] != KEYS or not u.size:
        raise InputError(
            f"{where}: shapes {u.shape} and {x.shape}; both must be the same (rows, steps, {KEYS}), none 0"
        )
    lengths = _npz_lengths(archive, split, u)
    real = np.arange(u.shape[1]) < lengths[:, None]  # (N, T)
    u, x = (_bits(each, real, f"{archive.path}, array '{name}_{split}'") for name, each in (("u", u), ("x", x)))
    if place := _first(real[:, 1:] & (x[:, :-1] != u[:, 1:]).any(-1)):
        raise InputError(f"{where}: x at {place} is not u at ({place[0]}, {place[1] + 1}); x must be u one step on")
    return [np.concatenate([u[row, :1], x[row, :length]]) for row, length in enumerate(lengths.tolist())]


def _npz_lengths(archive: Npz, split: str, u: np.ndarray) -> np.ndarray:
    """(N,) integers: the real steps of every row."""
    where = f"{archive.path}, array 'u_{split}'"
    ended = np.isnan(u).all(-1)  # (N, T)
    lengths = ended.shape[1] - np.logical_and.accumulate(ended[:, ::-1], axis=1).sum(1)
    if f"mask_{split}" in archive:
        mask, where = archive[f"mask_{split}"], f"{archive.path}, array 'mask_{split}'"
        if mask.shape != ended.shape or not np.isin(mask, (0, 1)).all():
            raise InputError(f"{where}: must be 0 or 1 for each of the {ended.shape} steps of 'u_{split}'")
        if place := _first(mask[:, 1:] > mask[:, :-1]):
            raise InputError(f"{where}: 0 at {place} and 1 after it; real steps must come first")
        lengths = (mask == 1).sum(1)
    if place := _first(lengths == 0):
        raise InputError(f"{where}: no real step in row {place[0]}; leave the row out")
    return lengths


def _bits(array: np.ndarray, real: np.ndarray, where: str) -> np.ndarray:
    """Whether each number is 1; at real steps (N, T) it is 0 or 1."""
    if place := _first(real[:, :, None] & (array != 0) & (array != 1)):
        raise InputError(f"{where}: {array[place]} at {place}; each number of a real step must be 0 or 1")
    return array == 1


def _first(wrong: np.ndarray) -> tuple[int, ...] | None:
    """The first place that is True."""
    return tuple(np.argwhere(wrong)[0].tolist()) if wrong.any() else None


# JSON


def _json_music(path: Path) -> _Music:
    content = _read_json(path)
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
        listed, where = content[present[0]], f"{path}, {present[0]}"
        if not isinstance(listed, list) or not listed:
            raise InputError(f"{where}: no list of pieces, or an empty one; each split needs one piece at least")
        pieces[split] = [_json_roll(piece, f"{where}, piece {number}") for number, piece in enumerate(listed, 1)]
    return _Music(pieces)


def _read_json(path: Path) -> Any:
    with unpacked(path) as stream:
        content = stream.read(_LARGEST_JSON + 1)
    if len(content) > _LARGEST_JSON:
        raise InputError(f"{path}: more than {_LARGEST_JSON >> 20} MiB of JSON; give the music as .npz or MIDI")
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: broken JSON ({error.msg}); get or write it again") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: broken JSON ({error}); get or write it again") from error


def _json_roll(piece: Any, where: str) -> np.ndarray:
    """A list of steps, each a list of notes, as a piano roll (n, 88)."""
    if not isinstance(piece, list) or not 0 < len(piece) <= LONGEST_ROLL:
        raise InputError(f"{where}: not a list of 1 to {LONGEST_ROLL:,} steps; mend it or leave it out")
    roll = np.zeros((len(piece), KEYS), dtype=bool)
    for number, notes in enumerate(piece):
        if not isinstance(notes, list):
            raise InputError(f"{where}, step {number + 1}: {reprlib.repr(notes)} is no list of notes")
        for note in notes:
            if not isinstance(note, int) or not 0 <= note - LOWEST < KEYS:
                raise InputError(
                    f"{where}, step {number + 1}: the note {reprlib.repr(note)} is no integer from {LOWEST} to "
                    f"{LOWEST + KEYS - 1}; transpose the piece or leave it out"
                )
            roll[number, note - LOWEST] = True
    return roll


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
