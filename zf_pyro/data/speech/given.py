"""Recordings for a finished run: cut and normalised as its test recordings are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from zf_pyro.data.given import Given, Reading
from zf_pyro.data.speech.collection import collect
from zf_pyro.data.speech.waveforms import Tape, Waveforms


def given_audio(data: Path, reading: Reading, *, say: Callable[[str], None]) -> Given:
    """The recordings of a file or a folder, in rows of at most `evaluation_length` frames.

    The first frame of a recording, or the frame before a row, is conditioned on. The cache keeps the samples.

    Raises:
        InputError: there is no audio, it is damaged or too short, or the cache cannot be written.
    """
    settings, observation = reading.settings, reading.observation
    found = collect(data, settings, say)
    tape = found.tape(range(len(found.pieces)))
    rows = Waveforms.of(
        tape,
        frame_size=settings.frame_size,
        mean=observation.mean[0],
        std=observation.std[0],
        chunk_length=settings.evaluation_length,
    )
    return Given(
        list(row_names([piece.name for piece in found.pieces], tape, rows, observation.rate)), rows, found.remarks
    )


def row_names(recordings: list[str], tape: Tape, rows: Waveforms, rate: int) -> Iterator[str]:
    """The recording of each row, and where the row does not begin with it the seconds before."""
    places = np.searchsorted(tape.ends, rows.starts, side="right")
    for place, start in zip(places.tolist(), rows.starts.tolist(), strict=True):
        seconds = (start - int(tape.starts[place])) / rate
        yield f"{recordings[place]} from {seconds:g} s" if seconds else recordings[place]
