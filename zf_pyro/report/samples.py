"""What a run has drawn from its prior, from the files of its folder."""

from __future__ import annotations

import numpy as np

from zf_pyro import runs
from zf_pyro.data.npz import Npz
from zf_pyro.errors import check
from zf_pyro.files import explained
from zf_pyro.report.blocks import Block, Lines, Note
from zf_pyro.report.material import Material
from zf_pyro.report.sequences import players, shown

MOST_SENTENCES, MOST_IMAGES, MOST_OTHERS, MOST_PLAYERS = 20, 24, 3, 3
"""Samples on a page, by their kind of data; and those that can be heard."""


def samples(material: Material) -> list[Block]:
    """Sequences from the prior.

    Raises:
        InputError: their file cannot be read.
    """
    observation = material.observation
    what = f"{observation.sequence.capitalize()}s drawn from the prior, seed {material.config.seed}"
    if material.vocabulary is not None:
        path = material.folder / runs.SAMPLES[0]
        with explained(f"cannot read {path}"):
            sentences = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
        ending = ' "..." at its end: not ended within the steps that were drawn.'
        note = ending if any(each.endswith(" ...") for each in sentences[:MOST_SENTENCES]) else ""
        return [Lines(f"{what}.{note}", sentences[:MOST_SENTENCES])]
    drawn = read_samples(material)[: MOST_IMAGES if observation.rows else MOST_OTHERS]
    titles = [f"sample {number}" for number in range(1, len(drawn) + 1)]
    blocks = shown(drawn, titles, observation, what)
    heard = players(drawn[:MOST_PLAYERS], titles[:MOST_PLAYERS], observation)
    tempo = [Note("Music is made audible at 120 beats a minute by a few sine waves a note.")]
    return [*blocks, *(tempo if heard and observation.steps_per_beat else []), *heard]


def read_samples(material: Material) -> list[np.ndarray]:
    """The sequences (T, D) of samples.npz.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    path, size = material.folder / runs.SAMPLES[1], material.observation.size
    found = Npz(path)["samples"]
    rows = material.observation.rows
    whole = found.ndim == 3 and found.shape[2] == size and found.size
    check(
        bool(whole) and not (rows and found.shape[1] % rows), f"{path} is damaged: it holds {found.dtype} {found.shape}"
    )
    return list(found)
