"""Sequences from a model, given latent paths or the prior's: `decode`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from zf_pyro.data.batch import SequenceBatch
from zf_pyro.data.corpus import Observation
from zf_pyro.data.text import END, PAD, START
from zf_pyro.errors import check
from zf_pyro.generation.beam import search
from zf_pyro.generation.decoder import Decoder
from zf_pyro.generation.draws import draw
from zf_pyro.generation.job import Job, first_inputs
from zf_pyro.generation.rollout import Latent
from zf_pyro.model import StochasticRNN
from zf_pyro.runs import LoadedRun
from zf_pyro.scopes import evaluating, seeded


class Decoded(NamedTuple):
    """A sequence that was decoded.

    Attributes:
        sequence: of text (n,) int64, without special words but <unk>; else (n, D): bits as uint8, or real numbers in
            the units of the data. What was given as a prefix comes first.
        ended: of text, whether </s> was reached.
        score: log p(x | z, u) of what was decoded, without the prefix, under the model's own law, in nats, </s>
            included; of real numbers the log-density in normalised units. NaN of a program of one's own.
    """

    sequence: np.ndarray
    ended: bool
    score: float


def decode(
    run: LoadedRun,
    num_steps: int,
    decoder: Decoder = Decoder(),  # noqa: B008 - immutable
    *,
    count: int | None = None,
    latents: Sequence[Tensor] | None = None,
    prefix: Sequence[Tensor] | None = None,
    inputs: Sequence[Tensor] | None = None,
    latent: Latent = "draw",
    seed: int = 0,
) -> list[Decoded]:
    """Decode sequences of at most `num_steps` steps.

    What is given of a sequence is followed as far as it reaches. Then z_t comes from the prior, x_t by the decoder, and
    u_t is x_{t-1}. The draws come from `seed` alone.

    Args:
        run: the model, and what stands at a step.
        num_steps: T; text ends at </s>.
        decoder: how x_t is chosen.
        count: B; None for as many as are given.
        latents: of each sequence z_1 .. z_n, (n, Z).
        prefix: of each x_1 .. x_m, (m,) or (m, D), as the model scores them.
        inputs: of each u_1 .. u_k, (k,) or (k, D). Without them u_1 is <s> or zero.
        latent: what z_t is beyond what is given, "draw" or "mean" of the prior.
        seed: of all draws.

    Raises:
        InputError: the decoder is none for this data, a law lacks what it needs, an image has fewer pixels, memory may
            not hold all that is asked for, or of a program of one's own more than plain sampling is asked for.
        ValueError: sequences of different numbers are given, or none.
    """
    decoder.require_fit(run.observation)
    number = number_of(count, latents, prefix, inputs)
    if number < 1 or num_steps < 1:
        raise ValueError(f"{number} sequences of {num_steps} steps are asked for")
    observation = run.observation
    most = observation.sample_steps if observation.rows else num_steps
    check(num_steps <= most, f"{num_steps} {observation.step}s, and the {observation.sequence} has {most}")
    device = next(run.model.parameters()).device
    with seeded(device, seed), evaluating(run.model):
        if type(run.model) is not StochasticRNN:
            plain = decoder.is_plain and latent == "draw" and latents is prefix is inputs is None
            check(plain, "the model is a program of one's own, of which only plain samples are known")
            return own_samples(run, num_steps, number)
        job = Job.of(run.model, run.observation, decoder, num_steps, number, latents, prefix, inputs, latent)
        xs, scores = search(job) if decoder.kind == "beam" else draw(job)
    return unpacked(xs, scores, run.observation)


def number_of(count: int | None, *given: Sequence[Any] | None) -> int:
    """How many sequences are asked for.

    Raises:
        ValueError: the parts do not agree, or nothing says it.
    """
    numbers = {len(each) for each in given if each is not None} | ({count} - {None})
    if len(numbers) != 1:
        raise ValueError(
            f"how many sequences to decode is not clear: {sorted(map(str, numbers)) or 'nothing is given'}"
        )
    (number,) = numbers
    assert number is not None
    return number


def own_samples(run: LoadedRun, num_steps: int, number: int) -> list[Decoded]:
    """Plain samples of any program, by its step form."""
    parameter = next(run.model.parameters())
    first = first_inputs(run.observation, number, parameter)
    xs = run.model(SequenceBatch.start(first, num_steps))
    return unpacked(xs, torch.full((number,), torch.nan), run.observation)


def given(batch: SequenceBatch, observation: Observation) -> np.ndarray:
    """The sequence of a batch of one with targets, as `Decoded` holds it."""
    assert batch.targets is not None
    return unpacked(batch.targets, torch.zeros(1), observation)[0].sequence


def unpacked(xs: Tensor, scores: Tensor, observation: Observation) -> list[Decoded]:
    """Sequences (T, B) or (T, B, D) one by one."""
    found = []
    for x, score in zip(xs.transpose(0, 1).cpu(), scores.tolist(), strict=True):
        if observation.law == "categorical":
            words = x.long().numpy()
            ends = np.flatnonzero(words == END)
            words = words[: ends[0]] if len(ends) else words
            found.append(Decoded(words[(words != PAD) & (words != START)], bool(len(ends)), score))
        elif observation.law == "bernoulli":
            found.append(Decoded(x.numpy().astype(np.uint8), False, score))
        else:
            found.append(Decoded(observation.restored(x.numpy()), False, score))
    return found
