"""Sequences written into a folder, in every form that their kind of data has.

sequences.json  titles and what else is known of them; of text, the sentences
sequences.npz   other data: an array (n, D) for each, named by its number
sequences.png   and a picture of the first twenty
N.wav           waveforms and music: the sound of each
N.mid           music: the notes of each, where mido is installed
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zf_pyro.data.corpus import Observation
from zf_pyro.data.text import Vocabulary
from zf_pyro.files import explained, write_atomically, write_bytes, write_text
from zf_pyro.media.midi import can_write_midi, midi_bytes
from zf_pyro.media.sound import Sound, joined, sound_of, wav_bytes
from zf_pyro.metrics import to_json
from zf_pyro.pictures import draw_sequences

JSON, ARRAYS, PICTURE = "sequences.json", "sequences.npz", "sequences.png"
MOST_SECONDS = 60.0
"""Of music that is written into one file of sound."""


def write_sequences(
    folder: Path,
    sequences: Sequence[np.ndarray],
    titles: Sequence[str],
    observation: Observation,
    vocabulary: Vocabulary | None = None,
    about: Mapping[str, Any] | None = None,
    details: Sequence[Mapping[str, Any]] | None = None,
) -> list[Path]:
    """Write sequences in every form that their kind of data has.

    Args:
        folder: is made where there is none. Files of the same names are overwritten.
        sequences: at least one: of text (n,) words, without special ones; else (n, D), bits or real numbers in the
            units of the data.
        titles: one for each.
        observation: what stands at a step.
        vocabulary: of text.
        about: what else the JSON says of them all.
        details: what else it says of each, such as its score.

    Returns:
        The files, `sequences.json` first.

    Raises:
        InputError: a file cannot be written.
    """
    names = [f"{number:0{len(str(len(sequences)))}}" for number in range(1, len(sequences) + 1)]
    entries = [
        {
            "number": number,
            "title": title,
            **({} if vocabulary is None else {"sentence": vocabulary.decode(sequence.tolist())}),
            **detail,
        }
        for number, (sequence, title, detail) in enumerate(
            zip(sequences, titles, details or [{}] * len(sequences), strict=True), 1
        )
    ]
    with explained(f"cannot write into {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / JSON, to_json({**(about or {}), "sequences": entries}, indent=2) + "\n")
        if observation.law == "categorical":
            return [folder / JSON]
        arrays: dict[str, Any] = dict(zip(names, sequences, strict=True))
        write_atomically(folder / ARRAYS, lambda file: np.savez_compressed(file, **arrays))
        draw_sequences(sequences, observation, folder / PICTURE, titles=titles)
        audible = [path for name, each in arrays.items() for path in write_sound(folder, name, each, observation)]
    return [folder / JSON, folder / ARRAYS, folder / PICTURE, *audible]


def write_together(folder: Path, stem: str, sequences: np.ndarray, observation: Observation) -> None:
    """Write sequences into one file of every form that their kind of data has: npz, png, wav, mid.

    The sound is of all waveforms, or of as many pieces of music as end within `MOST_SECONDS`, one at least.

    Args:
        folder: is there.
        stem: of the files' names, and the array's.
        sequences: (N, T, D), bits or real numbers in the units of the data.
        observation: what stands at a step.

    Raises:
        InputError: a file cannot be written.
    """
    arrays: dict[str, Any] = {stem: sequences}
    sounds = sounds_of(sequences, observation)
    with explained(f"cannot write into {folder}"):
        write_atomically(folder / f"{stem}.npz", lambda file: np.savez_compressed(file, **arrays))
        draw_sequences(list(sequences), observation, folder / f"{stem}.png")
        if sounds:
            content = wav_bytes(*joined(sounds))
            write_bytes(folder / f"{stem}.wav", content)
        if observation.steps_per_beat and can_write_midi():
            notes = midi_bytes(np.concatenate(with_rests(sequences, observation)), observation.steps_per_beat)
            write_bytes(folder / f"{stem}.mid", notes)


def sounds_of(sequences: Iterable[np.ndarray], observation: Observation) -> list[Sound]:
    """The sounds to write one after the other; none of data that has no sound."""
    found: list[Sound] = []
    for each in sequences:
        sound = sound_of(each, observation)
        if sound is None or (found and observation.steps_per_beat and seconds_of([*found, sound]) > MOST_SECONDS):
            break
        found.append(sound)
    return found


def seconds_of(sounds: Iterable[Sound]) -> float:
    """How long some sounds are together."""
    return sum(len(sound.samples) / sound.rate for sound in sounds)


def with_rests(rolls: Iterable[np.ndarray], observation: Observation) -> list[np.ndarray]:
    """Piano rolls, each followed by two beats of silence."""
    rest = np.zeros((2 * observation.steps_per_beat, observation.size), dtype=np.uint8)
    return [part for roll in rolls for part in (roll, rest)]


def write_sound(folder: Path, name: str, sequence: np.ndarray, observation: Observation) -> list[Path]:
    """Write the sound and the notes of a sequence, those that there are; returns the files.

    Raises:
        OSError: a file cannot be written.
    """
    contents = {}
    if (sound := sound_of(sequence, observation)) is not None:
        contents["wav"] = wav_bytes(*sound)
    if observation.steps_per_beat and can_write_midi():
        contents["mid"] = midi_bytes(sequence, observation.steps_per_beat)
    paths = []
    for suffix, content in contents.items():
        paths.append(folder / f"{name}.{suffix}")
        write_bytes(paths[-1], content)
    return paths
