"""Decoding from left to right: greedy, by draws, and the best of several draws."""

from __future__ import annotations

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from zf_pyro.data.text import END
from zf_pyro.generation import choices
from zf_pyro.generation.job import Job


def draw(job: Job) -> tuple[Tensor, Tensor]:
    """x_1 .. x_T, (T, B) or (T, B, D), and their scores, (B,), float64; of the best of each sequence's draws.

    The score is log p(x | z, u) under the model's own law, of all but the prefix and what comes after </s>.
    """
    several = job.decoder.kind == "best"
    shape = torch.Size((job.decoder.width, job.number) if several else (job.number,))
    xs, scores = run(job, shape)
    if not several:
        return xs, scores
    best, place = scores.max(0)
    place = place.reshape(1, 1, -1, *[1] * (xs.dim() - 3)).expand(len(xs), 1, *xs.shape[2:])
    return xs.gather(1, place).squeeze(1), best


def run(job: Job, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """x_1 .. x_T, (T, ..., B) or (T, ..., B, D), and their scores, (..., B), of every hypothesis."""
    rollout = job.rollout(shape)
    scores = torch.zeros(shape, dtype=torch.float64, device=job.device)
    going = torch.ones(shape, dtype=torch.bool, device=job.device)
    x, xs = job.start(shape), []
    for t in range(job.num_steps):
        law = rollout.step(job.inputs.over(t, x))
        x = job.prefix.over(t, choose(job, law, t))
        scores = scores + law.log_prob(x).double().masked_fill(job.prefix.reach(t) | ~going, 0.0)
        xs.append(x)
        if job.of_words:
            going = going & (x != END)
            if not going.any():
                break
    return torch.stack(xs), scores


def choose(job: Job, law: TorchDistribution, t: int) -> Tensor:
    """X of step t + 1."""
    decoder, kind, barred = job.decoder, job.observation.law, job.barred(t)
    if decoder.kind == "greedy":
        return choices.greedy(law, kind, barred)
    return choices.draw(law, kind, barred, decoder.temperature, decoder.top_k)
