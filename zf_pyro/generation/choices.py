"""How one x_t is chosen from its law: the mode or the mean, or a draw at a temperature."""

from __future__ import annotations

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from zf_pyro.data.corpus import Law
from zf_pyro.errors import InputError, check
from zf_pyro.generation.rollout import mean_of
from zf_pyro.logistics import DiscretisedLogistics

EMISSION = "the emission"
SCALED = (Normal, MultivariateNormal, MixtureSameFamily, DiscretisedLogistics)
"""Laws of real numbers whose draws can be brought nearer to their mean, or farther from it."""


def greedy(law: TorchDistribution, kind: Law, barred: Tensor) -> Tensor:
    """The mode of words and of bits, the mean of real numbers.

    Args:
        law: of x_t, of batch shape (..., B).
        kind: of the data.
        barred: of words, (V,), True where one must not be taken; of other data ignored.

    Raises:
        InputError: the law is of another class than the built-in ones, and does not know its mean.
    """
    base = base_of(law)
    if kind == "categorical":
        return word_scores(law, barred).argmax(-1)
    if isinstance(base, Bernoulli):
        return (base.logits > 0).to(base.logits.dtype)
    mean = mean_of(law, EMISSION)
    if kind == "bernoulli":
        return (mean > 0.5).to(mean.dtype)
    return base.nearest(mean) if isinstance(base, DiscretisedLogistics) else mean


def draw(law: TorchDistribution, kind: Law, barred: Tensor, temperature: float, top_k: int) -> Tensor:
    """A draw at a temperature, of words from the `top_k` most probable alone where that is not 0.

    Args as of `greedy`.

    Raises:
        InputError: something else than a plain draw is asked for of a law that is of no built-in class, or a draw is no
            finite number.
    """
    if temperature == 1 and not top_k and not barred.any():
        return law.sample()
    base = base_of(law)
    if kind == "categorical":
        scores = word_scores(law, barred).double()  # in which no temperature is 0
        scores = (scores - scores.amax(-1, keepdim=True)) / temperature
        return Categorical(logits=most_probable(scores, top_k), validate_args=False).sample()
    if isinstance(base, Bernoulli):
        return torch.bernoulli(torch.sigmoid(base.logits.double() / temperature)).to(base.logits.dtype)
    check(isinstance(base, SCALED), f"{type(base).__name__} is a law of its own; draw from it at temperature 1")
    mean = mean_of(law, EMISSION)
    moved = mean + temperature * (law.sample() - mean)
    finite = bool(moved.isfinite().all())
    check(finite, f"at the temperature {temperature:g} draws leave the range of numbers; take a lower one")
    return base.nearest(moved) if isinstance(base, DiscretisedLogistics) else moved


def word_scores(law: TorchDistribution, barred: Tensor) -> Tensor:
    """Log p(x_t) of every word, (..., B, V), without end below 0 where one is barred.

    Raises:
        InputError: the law does not tell the words' probabilities.
    """
    base = base_of(law)
    if not isinstance(base, Categorical):
        raise InputError(f"{type(base).__name__} is a law of its own, of which words can only be drawn: plain sampling")
    return base.logits.masked_fill(barred, -torch.inf)


def most_probable(scores: Tensor, top_k: int) -> Tensor:
    """Scores (..., V) with all but the `top_k` greatest without end below 0; 0 keeps all."""
    if not 0 < top_k < scores.shape[-1]:
        return scores
    values, places = scores.topk(top_k, -1)
    return torch.full_like(scores, -torch.inf).scatter(-1, places, values)


def base_of(law: TorchDistribution) -> TorchDistribution:
    """A law without what only says which of its dimensions are of one event."""
    while isinstance(law, Independent):
        law = law.base_dist
    return law
