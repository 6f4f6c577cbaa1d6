"""The sizes that are measured: those of the paper's data sets, on random numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from zf_pyro.conditionals import Conditional, DiagonalGaussian
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.emissions import Categorical
from zf_pyro.encoders import BackwardEncoder
from zf_pyro.guides import Guide
from zf_pyro.model import StochasticRNN
from zf_pyro.transitions import LSTMTransition


@dataclass(frozen=True)
class Size:
    """Letters as in docs/model.md.

    Attributes:
        steps: T.
        sequences: B.
        data: D, real numbers a step, or the number of words where `words`.
        embedded: E.
        hidden: H.
        latent: Z.
        mlp: units of the hidden layers of prior, posterior and auxiliary.
        latent_layer: whether z_t passes a hidden layer on its way into the LSTM, as in the authors' text model.
        words: whether the data are words under a softmax, or real numbers under a Gaussian.
    """

    steps: int
    sequences: int
    data: int
    embedded: int
    hidden: int
    latent: int
    mlp: int
    latent_layer: bool = False
    words: bool = False


SIZES = {
    "speech": Size(40, 32, 200, 512, 1024, 256, 512),
    "text": Size(16, 32, 300, 300, 500, 64, 300, latent_layer=True),
    "pixels": Size(784, 32, 1, 32, 128, 32, 64),
    "text-softmax": Size(16, 32, 16_004, 300, 500, 64, 300, latent_layer=True, words=True),
}


def build(size: Size) -> tuple[StochasticRNN, Guide]:
    """Model and guide of a size, with both added terms, freshly initialised."""
    embedded, hidden, latent, mlp = size.embedded, size.hidden, size.latent, size.mlp
    model = StochasticRNN(
        nn.Embedding(size.data, embedded) if size.words else nn.Linear(size.data, embedded),
        LSTMTransition(embedded, latent, hidden, latent_hidden=mlp if size.latent_layer else None),
        DiagonalGaussian({"hidden": hidden}, latent, hidden=mlp),
        output(size, "feature"),
    )
    guide = Guide(
        model,
        BackwardEncoder(embedded, hidden),
        DiagonalGaussian({"hidden": hidden, "encoding": hidden}, latent, hidden=mlp),
        auxiliary=DiagonalGaussian({"latent": latent}, hidden, hidden=mlp, mean="tanh"),
        backward=output(size, "encoding"),
    )
    return model, guide


def output(size: Size, reads: str) -> Conditional:
    """A linear head over the data, from a field of `hidden` units."""
    return (Categorical if size.words else DiagonalGaussian)({reads: size.hidden}, size.data)


def random_batch(size: Size) -> SequenceBatch:
    """Whole sequences of random data."""
    shape = (size.steps + 1, size.sequences)
    data = torch.randint(size.data, shape) if size.words else torch.randn(*shape, size.data)
    mask = torch.ones(size.steps, size.sequences, dtype=torch.bool)
    return SequenceBatch(data[:-1], data[1:], mask, first_input_is_data=True)
