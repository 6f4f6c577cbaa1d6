"""MIDI files as piano rolls: which of the piano's 88 keys sound at each step of a grid of beats.

Time is in beats, so that the tempo does not matter. With s steps and q ticks to a beat, tick k falls on the step
nearest to k s / q. A note lasts from the step of its onset up to that of its end, and one step at least.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from zf_pyro.data.reading import readable
from zf_pyro.errors import InputError, first_line

KEYS = 88
"""Of a piano, and so the width of a roll."""
LOWEST = 21
"""The MIDI number of the piano's lowest note; its highest is 108."""
FINEST_GRID = 2**15 - 1
"""Steps a beat: as many ticks as a file can give to one."""
LONGEST_ROLL = 1_000_000
"""Steps; more than any piece has, and few enough to hold in memory."""

_PERCUSSION = 9
"""The channel, counted from 0, whose notes are drums."""
_LARGEST_FILE = 1 << 22
"""Bytes; far more than a piece takes, and some twenty seconds to read."""
_ENDLESS_NUMBER = re.compile(rb"[\x80-\xff]{2048}")
"""Bytes that all say "the number goes on", of which MIDI allows three: time to read them grows with their square."""


def read_midi(path: Path, steps_per_beat: int) -> tuple[np.ndarray, int]:
    """The piano roll of a MIDI file, all its tracks together, without percussion.

    A note struck again while it sounds ends the first; one that is never ended lasts to the end of the file.

    Args:
        path: a file of type 0 or 1 whose time is in beats.
        steps_per_beat: at least 1.

    Returns:
        (n, 88) booleans, column j for the MIDI note 21 + j, from the first note's step to the last one's end; and the
        number of notes left out because the piano has no key for them.

    Raises:
        InputError: there is no such file, it is damaged or no MIDI at all, its time is not in beats, or it has no note
            for the roll, or more than 1,000,000 steps; or the package ``mido`` is not installed.
    """
    midi = _parsed(path)
    if midi.type not in (0, 1):
        raise InputError(f"{path}: MIDI of type {midi.type}, whose tracks are no single piece; save it as type 0 or 1")
    if midi.ticks_per_beat < 1:
        division = f"time division {midi.ticks_per_beat}"
        raise InputError(f"{path}: {division}, which is not in beats (SMPTE, or none); save it with ticks per beat")
    end = max((sum(message.time for message in track) for track in midi.tracks), default=0)
    notes = [note for track in midi.tracks for note in _notes(track, end)]
    kept = [note for note in notes if 0 <= note[0] - LOWEST < KEYS]
    if not kept:
        among = f" from {LOWEST} to {LOWEST + KEYS - 1} among its {len(notes)}, drums left out" if notes else ""
        raise InputError(f"{path}: no note{among}; remove the file")
    return _roll(kept, steps_per_beat, midi.ticks_per_beat, path), len(notes) - len(kept)


def _parsed(path: Path) -> Any:
    """A file as `mido` reads it."""
    try:
        from mido import MidiFile
    except ImportError as error:
        raise InputError(f'{path}: reading MIDI needs mido; pip install "zf_pyro[music]"') from error
    with readable(path), path.open("rb") as file:
        content = file.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise InputError(f"{path}: larger than {_LARGEST_FILE >> 20} MiB, which is no piece of music; remove the file")
    try:
        if _ENDLESS_NUMBER.search(content):
            raise ValueError("a number without end")
        return MidiFile(file=io.BytesIO(content))
    except Exception as error:  # the parser lets through whatever its parts raise
        reason = first_line(error)
        raise InputError(f"{path}: no MIDI file, or a damaged one ({reason}); get it again or remove it") from error


def _notes(track: Any, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, onset and end, in ticks, of every note of a track; `end` is that of notes never ended."""
    now = 0
    sounding: dict[tuple[int, int], int] = {}
    for message in track:
        now += message.time
        if message.type not in ("note_on", "note_off") or message.channel == _PERCUSSION:
            continue
        voice = (message.channel, message.note)
        if voice in sounding:
            yield message.note, sounding.pop(voice), now
        if message.type == "note_on" and message.velocity:
            sounding[voice] = now
    for (_, number), onset in sounding.items():
        yield number, onset, end


def _roll(notes: list[tuple[int, int, int]], steps_per_beat: int, ticks_per_beat: int, path: Path) -> np.ndarray:
    """Notes in ticks as a piano roll."""

    def step(ticks: int) -> int:
        # In whole numbers: a time may be too large for a float.
        return (2 * ticks * steps_per_beat + ticks_per_beat) // (2 * ticks_per_beat)

    spans = [(number - LOWEST, step(onset), max(step(end), step(onset) + 1)) for number, onset, end in notes]
    first, last = min(start for _, start, _ in spans), max(stop for _, _, stop in spans)
    if last - first > LONGEST_ROLL:
        raise InputError(f"{path}: more than {LONGEST_ROLL:,} steps; lower steps_per_beat, or remove the file")
    roll = np.zeros((KEYS, last - first), dtype=bool)  # a key's steps side by side, which is fast to fill
    for key, start, stop in spans:
        roll[key, start - first : stop - first] = True
    return np.ascontiguousarray(roll.T)
