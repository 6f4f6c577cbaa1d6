"""Sequences as sound: waveforms as they are, piano rolls by a few sine waves a note; both as 16-bit WAV."""

from __future__ import annotations

import io
import math
import wave
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from zf_pyro.data.corpus import Observation
from zf_pyro.data.midi import LOWEST

RATE = 12_000
"""Samples a second of music: enough for the highest key, 4,186 Hz, and few enough to embed."""
SECONDS_PER_BEAT = 0.5
"""Of music: 120 beats a minute. A piano roll has a grid of beats and no tempo, so this is a convention."""
LONGEST = 600.0
"""Seconds of a piano roll that are made audible."""
PAUSE = 1 / 3
"""Seconds of silence between sounds that are written one after the other."""

_HARMONICS = (1.0, 0.5, 0.25, 0.12)
"""Amplitudes of a note's partials."""
_ATTACK, _RELEASE, _DECAY = 0.01, 0.04, 1.5
"""Seconds in which a note rises, those in which it ends, and those in which it falls to 1/e."""
_PEAK = 0.8 * (2**15 - 1)


class Sound(NamedTuple):
    """A sound.

    Attributes:
        samples: (n,), in 16-bit units.
        rate: samples a second.
    """

    samples: np.ndarray
    rate: int


def sound_of(sequence: np.ndarray, observation: Observation) -> Sound | None:
    """What a sequence (n, D) sounds like: its waveform, or its notes at 120 beats a minute; None of other data."""
    if observation.rate:
        return Sound(np.asarray(sequence, dtype=float).ravel(), observation.rate)
    if observation.steps_per_beat:
        steps_per_second = observation.steps_per_beat / SECONDS_PER_BEAT
        return Sound(tones(sequence[: int(LONGEST * steps_per_second)], steps_per_second), RATE)
    return None


def wav_bytes(samples: np.ndarray, rate: int) -> bytes:
    """A WAV file, 16-bit and of one channel.

    Args:
        samples: (n,) in 16-bit units. They are rounded; what is outside -32768 .. 32767 becomes the nearest of these,
            and NaN becomes 0.
        rate: samples a second, at least 1.
    """
    whole = np.nan_to_num(np.asarray(samples, dtype=float).ravel()).round().clip(-(2**15), 2**15 - 1)
    file = io.BytesIO()
    with wave.open(file, "wb") as output:
        output.setnchannels(1)
        output.setsampwidth(2)
        output.setframerate(rate)
        output.writeframes(whole.astype("<i2").tobytes())
    return file.getvalue()


def joined(sounds: Sequence[Sound]) -> Sound:
    """Sounds of the same rate one after the other, each followed by a third of a second of silence.

    Args:
        sounds: at least one.
    """
    rate = sounds[0].rate
    pause = np.zeros(int(PAUSE * rate))
    return Sound(np.concatenate([part for sound in sounds for part in (sound.samples, pause)]), rate)


def tones(roll: np.ndarray, steps_per_second: float, rate: int = RATE) -> np.ndarray:
    """A piano roll made audible: of each note its first partials, those that the rate can carry.

    Args:
        roll: (T, 88) bits, column j for the MIDI note 21 + j. A key's bits at consecutive steps are one held note: a
            roll does not know a note struck again from one held.
        steps_per_second: of the roll.
        rate: samples a second of the sound.

    Returns:
        round(T rate / steps_per_second) samples in 16-bit units, the loudest at 0.8 of their range; zeros of silence. A
        note among n is 1 / sqrt(n) as loud, so that a chord is not n times as loud as a note.
    """
    starts = (np.arange(len(roll) + 1) * rate / steps_per_second).round().astype(int)
    sound = np.zeros(starts[-1])
    voices = np.asarray(roll, dtype=bool).sum(1)
    for key, onset, end in held_notes(roll):
        first, last = starts[onset], starts[end]
        note = tone(440 * 2 ** ((key + LOWEST - 69) / 12), last - first, rate)
        sound[first:last] += note / math.sqrt(voices[onset])
    peak = np.abs(sound).max(initial=0.0)
    return sound * (_PEAK / peak) if peak else sound


def tone(frequency: float, length: int, rate: int) -> np.ndarray:
    """A note of so many samples, its first at 0 and its end fading out."""
    seconds = np.arange(length) / rate
    partials = [
        amplitude * np.sin(2 * np.pi * number * frequency * seconds)
        for number, amplitude in enumerate(_HARMONICS, 1)
        if number * frequency < rate / 2
    ]
    rise, fall = seconds / _ATTACK, (length / rate - seconds) / _RELEASE
    return sum(partials, np.zeros(length)) * np.exp(-seconds / _DECAY) * np.minimum(1, np.minimum(rise, fall))


def held_notes(roll: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Key, first step and the step after the last of every note of a roll (T, 88), key by key."""
    bits = np.pad(np.asarray(roll, dtype=bool).T, ((0, 0), (1, 1))).astype(np.int8)  # (88, T + 2)
    change = np.diff(bits, axis=1)
    for (key, onset), (_, end) in zip(np.argwhere(change == 1), np.argwhere(change == -1), strict=True):
        yield int(key), int(onset), int(end)
