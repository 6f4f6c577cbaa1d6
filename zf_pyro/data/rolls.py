"""Piano rolls from the arrays and the lists of notes in which music is distributed: readers that know of no splits."""

from __future__ import annotations

import json
import reprlib
from pathlib import Path
from typing import Any

import numpy as np

from zf_pyro.data.midi import KEYS, LONGEST_ROLL, LOWEST
from zf_pyro.data.npz import Npz
from zf_pyro.data.reading import unpacked
from zf_pyro.errors import InputError

_LARGEST_JSON = 1 << 26
"""Bytes, unpacked; a hundred times the largest known set."""


def npz_rows(archive: Npz, split: str) -> list[np.ndarray]:
    """u_1, x_1, .., x_n of every row of a split, (n + 1, 88) booleans.

    Raises:
        InputError: an array is missing, or is not of this form.
    """
    u, x = archive[f"u_{split}"], archive[f"x_{split}"]
    where = f"{archive.path}, arrays 'u_{split}' and 'x_{split}'"
    if u.shape != x.shape or u.ndim != 3 or u.shape[2] != KEYS or not u.size:
        raise InputError(
            f"{where}: shapes {u.shape} and {x.shape}; both must be the same (rows, steps, {KEYS}), none 0"
        )
    lengths = npz_lengths(archive, split, u)
    real = np.arange(u.shape[1]) < lengths[:, None]  # (N, T)
    u, x = (bits(each, real, f"{archive.path}, array '{name}_{split}'") for name, each in (("u", u), ("x", x)))
    if place := first_place(real[:, 1:] & (x[:, :-1] != u[:, 1:]).any(-1)):
        raise InputError(f"{where}: x at {place} is not u at ({place[0]}, {place[1] + 1}); x must be u one step on")
    return [np.concatenate([u[row, :1], x[row, :length]]) for row, length in enumerate(lengths.tolist())]


def npz_lengths(archive: Npz, split: str, u: np.ndarray) -> np.ndarray:
    """(N,) integers: the real steps of every row."""
    where = f"{archive.path}, array 'u_{split}'"
    ended = np.isnan(u).all(-1)  # (N, T)
    lengths = ended.shape[1] - np.logical_and.accumulate(ended[:, ::-1], axis=1).sum(1)
    if f"mask_{split}" in archive:
        mask, where = archive[f"mask_{split}"], f"{archive.path}, array 'mask_{split}'"
        if mask.shape != ended.shape or not np.isin(mask, (0, 1)).all():
            raise InputError(f"{where}: must be 0 or 1 for each of the {ended.shape} steps of 'u_{split}'")
        if place := first_place(mask[:, 1:] > mask[:, :-1]):
            raise InputError(f"{where}: 0 at {place} and 1 after it; real steps must come first")
        lengths = (mask == 1).sum(1)
    if place := first_place(lengths == 0):
        raise InputError(f"{where}: no real step in row {place[0]}; leave the row out")
    return lengths


def bits(array: np.ndarray, real: np.ndarray, where: str) -> np.ndarray:
    """Whether each number is 1; at real steps (N, T) it is 0 or 1."""
    if place := first_place(real[:, :, None] & (array != 0) & (array != 1)):
        raise InputError(f"{where}: {array[place]} at {place}; each number of a real step must be 0 or 1")
    return array == 1


def first_place(wrong: np.ndarray) -> tuple[int, ...] | None:
    """The first place that is True."""
    return tuple(np.argwhere(wrong)[0].tolist()) if wrong.any() else None


def read_json(path: Path) -> Any:
    """What a file of JSON holds, unpacked where it is gzip or xz.

    Raises:
        InputError: it is too large or broken.
    """
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


def json_rolls(listed: Any, where: str) -> list[np.ndarray]:
    """A list of pieces as piano rolls, each (n, 88) booleans.

    Raises:
        InputError: it is no such list, an empty one, or a piece is broken.
    """
    if not isinstance(listed, list) or not listed:
        raise InputError(f"{where}: no list of pieces, or an empty one; each split needs one piece at least")
    return [json_roll(piece, f"{where}, piece {number}") for number, piece in enumerate(listed, 1)]


def json_roll(piece: Any, where: str) -> np.ndarray:
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
