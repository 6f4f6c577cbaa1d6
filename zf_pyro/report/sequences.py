"""Sequences on a page: sentences, images, pictures and sounds."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.image import imsave

from zf_pyro.data.corpus import Observation
from zf_pyro.media.sound import sound_of, wav_bytes
from zf_pyro.pictures import sequences_figure
from zf_pyro.report.blocks import Block, Picture, Player, Strip, drawn

MOST_SECONDS = 6.0
"""Of each sound on a page: what is longer is cut. A second is 16 to 43 kB of the page."""

MOST_DRAWN = 6
"""Sequences in one picture that are no images."""

MOST_STEPS = 400
"""Steps of a sequence that is drawn; what is longer is cut."""


def shown(
    sequences: Sequence[np.ndarray], titles: Sequence[str], observation: Observation, caption: str
) -> list[Block]:
    """Sequences (n, D) of bits or real numbers: images side by side, others in a picture, with their sounds below it.

    Args:
        sequences: real numbers in the units of the data.
        titles: one for each.
        observation: what stands at a step.
        caption: of them all.
    """
    if observation.rows:
        return [Strip(caption, titles, [image_of(each, observation.rows) for each in sequences])]
    if any(len(each) > MOST_STEPS for each in sequences[:MOST_DRAWN]):
        caption += f"; of longer ones the first {MOST_STEPS} {observation.step}s"
    cut = [each[:MOST_STEPS] for each in sequences[:MOST_DRAWN]]
    return [pictured(cut, titles[:MOST_DRAWN], observation, caption)]


def pictured(sequences: Sequence[np.ndarray], titles: Sequence[str], observation: Observation, caption: str) -> Picture:
    """Sequences over time in one picture."""
    names = [f"{observation.step}s" if not observation.rate else "waveform", *titles]
    return drawn(sequences_figure(sequences, observation, titles), caption, f"{caption}: {', '.join(names)}")


def players(sequences: Sequence[np.ndarray], titles: Sequence[str], observation: Observation) -> list[Block]:
    """The sounds of sequences, of waveforms and of music; none of other data."""
    found: list[Block] = []
    for sequence, title in zip(sequences, titles, strict=True):
        sound = sound_of(sequence, observation)
        if sound is None:
            return []
        most = int(MOST_SECONDS * sound.rate)
        cut = f", the first {MOST_SECONDS:g} seconds" if len(sound.samples) > most else ""
        found.append(Player(f"{title}{cut}", wav_bytes(sound.samples[:most], sound.rate)))
    return found


def image_of(sequence: np.ndarray, rows: int) -> bytes:
    """An image of single pixels as png, a pixel each, 1 black."""
    file = io.BytesIO()
    imsave(file, np.asarray(sequence, dtype=float).reshape(rows, -1), cmap="gray_r", vmin=0, vmax=1, format="png")
    return file.getvalue()
