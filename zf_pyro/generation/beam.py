"""The search for the sentence of the greatest log p(x | z), several hypotheses at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from zf_pyro.data.text import END
from zf_pyro.generation.choices import word_scores
from zf_pyro.generation.job import Job


def search(job: Job) -> tuple[Tensor, Tensor]:
    """The best hypothesis of each sentence, (T, B), and its score, (B,), float64.

    At every step each hypothesis that goes on is followed by every word, and the W best of all that come of it and of
    those that have ended are kept, by the sum of their words' log-probabilities. Nothing is divided by the length, so
    short sentences are preferred. A hypothesis that is cut off after T words competes with its score so far. With as
    many hypotheses as there are sentences, what is found is the greatest of all. The prefix is not scored.
    """
    shape = torch.Size((job.decoder.width, job.number))
    rollout = job.rollout(shape)
    scores = torch.full(shape, -torch.inf, dtype=torch.float64, device=job.device)
    scores[0] = 0.0  # the others are there when there are words to tell them apart
    ended = torch.zeros(shape, dtype=torch.bool, device=job.device)
    words = job.start(shape)
    sentences = words.new_zeros(0, *shape)
    for t in range(job.num_steps):
        law = rollout.step(job.inputs.over(t, words))
        steps = word_scores(law, job.barred(t)).double()  # (W, B, V)
        given = alone(job.prefix.over(t, words), steps)
        steps = torch.where(job.prefix.reach(t).unsqueeze(-1), given, steps)
        steps = torch.where(ended.unsqueeze(-1), alone(torch.full_like(words, END), steps), steps)
        candidates = (scores.unsqueeze(-1) + steps).transpose(0, 1).flatten(1)  # (B, W V)
        scores, places = (each.t() for each in candidates.topk(len(scores), -1))
        chosen, words = places // steps.shape[-1], places % steps.shape[-1]
        rollout.keep(chosen)
        ended = ended.gather(0, chosen) | (words == END)
        sentences = torch.cat([sentences.gather(1, chosen.expand_as(sentences)), words.unsqueeze(0)])
        if settled(scores, ended):
            break
    best, place = scores.max(0)
    return sentences.gather(1, place.expand(len(sentences), 1, -1)).squeeze(1), best


def alone(words: Tensor, like: Tensor) -> Tensor:
    """Scores (..., V) by which only one word can follow: 0 of it, without end below for the others."""
    return torch.full_like(like, -torch.inf).scatter(-1, words.unsqueeze(-1), 0.0)


def settled(scores: Tensor, ended: Tensor) -> bool:
    """Whether no hypothesis that goes on can come to a greater score than the best that has ended."""
    going, over = scores.masked_fill(ended, -torch.inf), scores.masked_fill(~ended, -torch.inf)
    return bool((over.amax(0) >= going.amax(0)).all())
