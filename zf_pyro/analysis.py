"""What a trained model says of itself."""

from __future__ import annotations

import torch

from zf_pyro.data.batch import SequenceBatch
from zf_pyro.data.text import END, START, Vocabulary
from zf_pyro.model import StochasticRNN
from zf_pyro.scopes import evaluating, seeded


def sample_sentences(
    model: StochasticRNN, vocabulary: Vocabulary, num_sentences: int, max_steps: int, *, seed: int = 0
) -> list[str]:
    """Sentences by ancestral sampling from the prior, up to </s> or `max_steps` words.

    Nothing is forbidden or renormalised: <unk> is a word like any other. The draws come from `seed` alone.
    """
    device = next(model.parameters()).device
    first = torch.full((num_sentences,), START, device=device)
    with seeded(device, seed), evaluating(model):
        words = model(SequenceBatch.start(first, max_steps))  # (T, B)
    return [vocabulary.decode(sentence) + ("" if END in sentence else " ...") for sentence in words.T.tolist()]
