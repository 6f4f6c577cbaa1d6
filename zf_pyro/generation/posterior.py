"""Latent paths z_1 .. z_n of given sequences: the guide's mean, a draw of it, or the best or one of many draws.

Of K draws z_k ~ q(z | x) the weight is w_k = p(x, z_k) / q(z_k | x). "best" is the draw of the greatest weight, as the
authors of Z-Forcing chose one. A draw picked with probability w_k / sum_j w_j is, as K grows, a draw of the model's own
posterior p(z | x), whatever the guide (sampling importance resampling).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from zf_pyro.data.batch import SequenceBatch
from zf_pyro.errors import InputError, check
from zf_pyro.generation.job import require_room
from zf_pyro.guides import Guide
from zf_pyro.inspection.encode import encode
from zf_pyro.model import StochasticRNN
from zf_pyro.noise import given_noise
from zf_pyro.resampling import effective_sizes
from zf_pyro.runs import LoadedRun
from zf_pyro.scopes import evaluating, seeded
from zf_pyro.terms import AUXILIARY, BACKWARD, skip_terms
from zf_pyro.tiles import Tile, keyed_chunks, tiles
from zf_pyro.weights import Weights, require_particles, traces, weights_of

How = Literal["mean", "draw", "best"]
DRAWS = 200
"""Of which "best" is one: as many as the authors of Z-Forcing drew."""


class Drawn(NamedTuple):
    """K paths of one sequence of n steps: (K, n, Z), and their log-weights, (K,), float64, in nats; on the CPU."""

    paths: Tensor
    log_weights: Tensor

    @property
    def effective(self) -> float:
        """(sum_k w_k)^2 / sum_k w_k^2: of how many draws the weights speak."""
        return float(effective_sizes(self.log_weights.unsqueeze(1)))


def latent_paths(
    run: LoadedRun, batch: SequenceBatch, how: How = "mean", *, draws: int = DRAWS, seed: int = 0
) -> list[Tensor]:
    """A path z_1 .. z_n of each sequence of a batch, (n, Z), on the CPU.

    It depends on the sequence and the seed, not on the others beside it.

    Args:
        run: whose guide is asked.
        batch: sequences with targets; of a sentence, </s> is the last step.
        how: "mean", the path of means (`zf_pyro.inspection.encode`); "draw", one draw of the guide; "best", the one of
            the greatest importance weight.
        draws: K of "best".
        seed: of the draws.

    Raises:
        InputError: the run has no latent variable, its guide is a program of one's own, or `draws` is below 1.
    """
    guide = require_posterior(run)
    if how == "mean":
        return [each.mean for each in encode(guide, [batch], seed=seed)[0]]
    found = drawn_paths(run, batch, draws if how == "best" else 1, seed=seed)
    return [each.paths[int(each.log_weights.argmax())] for each in found]


def drawn_paths(run: LoadedRun, batch: SequenceBatch, draws: int, *, seed: int = 0) -> list[Drawn]:
    """K draws of the guide for each sequence of a batch, with their importance weights.

    Raises:
        InputError: as `latent_paths`, or there are more draws than memory may hold.
    """
    require_particles(draws)
    guide = require_posterior(run)
    require_room(draws * batch.num_steps * run.config.model.latent_size)
    device = next(run.model.parameters()).device
    found: dict[int, Drawn] = {}
    with seeded(device, seed), evaluating(run.model, guide), skip_terms(AUXILIARY, BACKWARD):
        for tile in tiles([batch], most=1):
            here = tile._replace(batch=tile.batch.to(device))
            paths, log_weights = weighed(run.model, guide, here, draws, seed)
            for b, place in enumerate(tile.places):
                steps = int(tile.batch.lengths[b])
                found[place] = Drawn(paths[:, b, :steps].cpu(), log_weights[:, b].cpu())
    return [found[place] for place in sorted(found)]


def weighed(model: StochasticRNN, guide: Guide, tile: Tile, draws: int, seed: int) -> tuple[Tensor, Tensor]:
    """Paths (K, B, T, Z) of the sequences of a tile, and their log-weights (K, B)."""
    batch = tile.batch
    program = partial(guide, encoding=guide.encode(batch))
    paths, weights = [], Weights.empty(draws, batch)
    for particles, noise in keyed_chunks(tile, draws, seed):
        with given_noise(noise):
            found = traces(model, program, batch, len(particles), "path")
        site: Any = found[0].nodes["z"]
        paths.append(site["value"])
        weights.fill(particles.start, weights_of(*found, torch.Size((len(particles), batch.num_sequences))))
    return torch.cat(paths)[:draws], weights.log_weights


def resampled(drawn: Drawn, number: int, *, seed: int = 0) -> list[Tensor]:
    """`number` of the paths, each (n, Z), picked by their weights, one independently of the other."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.multinomial(drawn.log_weights.softmax(0), number, replacement=True, generator=generator)
    return list(drawn.paths[chosen])


def require_posterior(run: LoadedRun) -> Guide:
    """The guide of a run, where it can be asked for latent paths.

    Raises:
        InputError: the run has no latent variable, or model or guide is a program of one's own.
    """
    if run.config.model.family == "rnn":
        raise InputError("the family rnn has no latent variable, so there is none to infer")
    require_programs(run)
    return run.guide


def require_programs(run: LoadedRun) -> None:
    """Refuse programs of which only the sites are known.

    Raises:
        InputError: model or guide is one.
    """
    for program, kind, name in ((run.model, StochasticRNN, "model"), (run.guide, Guide, "guide")):
        check(type(program) is kind, f"the {name} is a program of one's own, which cannot be run a step at a time")
