"""Piano rolls as MIDI files, by mido (extra ``music``)."""

from __future__ import annotations

import io

import numpy as np

from zf_pyro.data.midi import FINEST_GRID, LOWEST
from zf_pyro.errors import InputError
from zf_pyro.media.sound import SECONDS_PER_BEAT, held_notes

_TICKS = 480
"""A beat, or the nearest multiple of the grid below it."""
_VELOCITY = 80


def can_write_midi() -> bool:
    """Whether mido is installed."""
    try:
        import mido  # noqa: F401
    except ImportError:
        return False
    return True


def midi_bytes(roll: np.ndarray, steps_per_beat: int) -> bytes:
    """A piano roll as a MIDI file of one track, at 120 beats a minute.

    `zf_pyro.data.midi.read_midi` reads the same roll back at the same grid, without the silent steps at its ends.

    Args:
        roll: (T, 88) bits, column j for the MIDI note 21 + j. A key's bits at consecutive steps are one held note: a
            roll does not know a note struck again from one held.
        steps_per_beat: its grid, from 1 to 32,767.

    Raises:
        InputError: mido is not installed, or MIDI has no such grid.
    """
    try:
        from mido import Message, MetaMessage, MidiFile, MidiTrack
    except ImportError as error:
        raise InputError('writing MIDI needs mido; pip install "zf_pyro[music]"') from error
    if not 1 <= steps_per_beat <= FINEST_GRID:
        raise InputError(f"MIDI has no grid of {steps_per_beat:,} steps a beat; it has those of 1 to {FINEST_GRID:,}")
    ticks = max(1, _TICKS // steps_per_beat)
    events = []  # at one step, notes end before others begin
    for key, onset, end in held_notes(roll):
        events += [(onset, 1, key), (end, 0, key)]
    track = MidiTrack([MetaMessage("set_tempo", tempo=round(SECONDS_PER_BEAT * 1e6))])
    now = 0
    for step, begins, key in sorted(events):
        kind, velocity = ("note_on", _VELOCITY) if begins else ("note_off", 0)
        track.append(Message(kind, note=LOWEST + key, velocity=velocity, time=(step - now) * ticks))
        now = step
    track.append(MetaMessage("end_of_track", time=(len(roll) - now) * ticks))
    file = io.BytesIO()
    MidiFile(type=0, ticks_per_beat=ticks * steps_per_beat, tracks=[track]).save(file=file)
    return file.getvalue()
