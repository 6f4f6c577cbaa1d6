"""What a trained model says of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zf_pyro.data.batch import SequenceBatch
from zf_pyro.data.corpus import Corpus, Observation
from zf_pyro.data.text import END, START, TextCorpus, Vocabulary
from zf_pyro.files import explained, write_text
from zf_pyro.media.writing import write_together
from zf_pyro.model import StochasticRNN
from zf_pyro.runs import SAMPLES
from zf_pyro.scopes import evaluating, seeded


def write_samples(model: StochasticRNN, corpus: Corpus, num_sequences: int, folder: Path, *, seed: int) -> None:
    """Draw sequences from the prior into a folder.

    Raises:
        InputError: the folder cannot be written.
    """
    observation = corpus.observation
    if isinstance(corpus, TextCorpus):
        sentences = sample_sentences(model, corpus.vocabulary, num_sequences, observation.sample_steps, seed=seed)
        with explained(f"cannot write into {folder}"):
            write_text(folder / SAMPLES[0], "\n".join(sentences) + "\n")
        return
    sequences = sample_sequences(model, observation, num_sequences, seed=seed)
    write_together(folder, "samples", sequences, observation)


def sample_sentences(
    model: StochasticRNN, vocabulary: Vocabulary, num_sentences: int, max_steps: int, *, seed: int = 0
) -> list[str]:
    """Sentences by ancestral sampling from the prior, up to </s> or `max_steps` words.

    Nothing is forbidden or renormalised: <unk> is a word like any other. The draws come from `seed` alone.
    """
    words = generate(model, torch.full((num_sentences,), START), max_steps, seed)
    return [vocabulary.decode(sentence) + ("" if END in sentence else " ...") for sentence in words.T.tolist()]


def sample_sequences(
    model: StochasticRNN, observation: Observation, num_sequences: int, *, seed: int = 0
) -> np.ndarray:
    """Sequences of bits or real numbers by ancestral sampling from the prior, from a first input of zero.

    The draws come from `seed` alone.

    Returns:
        (N, T, D), bits as uint8 or real numbers in the units of the data, T being ``observation.sample_steps``.
    """
    first = torch.zeros(num_sequences, observation.size)
    drawn = generate(model, first, observation.sample_steps, seed).transpose(0, 1).cpu().numpy()
    if observation.law == "bernoulli":
        return drawn.astype(np.uint8)
    return observation.restored(drawn)


def generate(model: StochasticRNN, first_input: Tensor, num_steps: int, seed: int) -> Tensor:
    """x_1..x_T, (T, N) or (T, N, D), from first inputs (N,) or (N, D)."""
    device = next(model.parameters()).device
    with seeded(device, seed), evaluating(model):
        return model(SequenceBatch.start(first_input.to(device), num_steps))
