"""What a trained model says of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zf_pyro.data.text import Vocabulary
from zf_pyro.files import explained, write_text
from zf_pyro.generation.decoding import Decoded, decode
from zf_pyro.media.writing import write_together
from zf_pyro.runs import SAMPLES, LoadedRun


def write_samples(run: LoadedRun, num_sequences: int, folder: Path, *, seed: int) -> None:
    """Draw sequences from the prior, with nothing forbidden, into a folder.

    Raises:
        InputError: the folder cannot be written.
    """
    found = decode(run, run.observation.sample_steps, count=num_sequences, seed=seed)
    if run.vocabulary is None:
        write_together(folder, "samples", np.stack([each.sequence for each in found]), run.observation)
        return
    sentences = [sentence(each, run.vocabulary) for each in found]
    with explained(f"cannot write into {folder}"):
        write_text(folder / SAMPLES[0], "\n".join(sentences) + "\n")


def sentence(decoded: Decoded, vocabulary: Vocabulary) -> str:
    """A sentence in words, with dots behind it where it was cut off."""
    return vocabulary.decode(decoded.sequence.tolist()) + ("" if decoded.ended else " ...")
