"""Importance weights of sequences, from which every bound on their likelihood is made.

log w_k = log p(x, z_k) - log q(z_k | x),      z_k ~ q,  k = 1 .. K, each summed over the real steps of a sequence
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from torch import Tensor

from zf_pyro.data.batch import MAX_STEPS, SequenceBatch
from zf_pyro.divergences import Site, log_prob
from zf_pyro.errors import InputError
from zf_pyro.guides import Guide
from zf_pyro.model import StochasticRNN
from zf_pyro.noise import given_noise
from zf_pyro.objectives import sum_scores
from zf_pyro.paths import Form, PathDistribution
from zf_pyro.processes import gathered
from zf_pyro.scopes import evaluating, seeded
from zf_pyro.stepwise import Stepwise
from zf_pyro.streams import process_seed
from zf_pyro.terms import AUXILIARY, BACKWARD, skip_terms
from zf_pyro.tiles import Tile, keyed_chunks, tiles

MAX_ROWS = 256
"""Particles times sequences scored at once, or one particle of a larger batch: it bounds the memory, whatever K."""


Program = Callable[..., Any]
"""A Pyro program of a batch: a `Guide`, or a function of a user's own."""


class Weights(NamedTuple):
    """log w_k, and its part log q(z_k | x) - log p(z_k), each (K, B), float64, in nats per sequence."""

    log_weights: Tensor
    log_ratios: Tensor

    @classmethod
    def empty(cls, num_particles: int, batch: SequenceBatch) -> Weights:
        """Room for those of all K particles: kept one by one, they would lie between large tensors that come and go.

        The memory allocator could then not use the gaps again, and the process would grow with K.
        """
        shape, device = (num_particles, batch.num_sequences), batch.mask.device
        return cls(*(torch.empty(shape, dtype=torch.float64, device=device) for _ in cls._fields))

    def fill(self, start: int, some: Weights) -> None:
        """Put in those of some particles, the first of them number `start`; those beyond its room are left out."""
        for whole, part in zip(self, some, strict=True):
            room = whole[start : start + len(part)]
            room.copy_(part[: len(room)])


def importance_weights(
    model: StochasticRNN,
    guide: Program,
    batch: SequenceBatch,
    num_particles: int,
    max_rows: int = MAX_ROWS,
    form: Form = "path",
) -> Weights:
    """K importance weights for every sequence of a batch.

    The particles stand in a plate left of the batch, so that what needs no z is computed once; transitions and heads
    fold them into their rows. They come in chunks of at most `max_rows` rows and `MAX_STEPS` steps in all of them,
    which bounds the memory.

    Args:
        model: the generative program.
        guide: a `Guide`, or any Pyro program, which is called as ``guide(batch)`` in the step form and as
            ``guide(batch, form="path")`` in the path form.
        batch: B sequences with targets.
        num_particles: K.
        max_rows: bound on the rows of a chunk, particles times sequences.
        form: of the programs, "path" or "step".

    Returns:
        ``log_weights`` and ``log_ratios``, log q(z_k | x) - log p(z_k); each (K, B), float64, nats per sequence.

    Raises:
        InputError: `num_particles` is below 1.
        ValueError: the batch has no targets.
    """
    require_particles(num_particles)
    rows = min(max_rows, MAX_STEPS // max(1, batch.num_steps))
    chunk = max(1, rows // batch.num_sequences)
    with evaluating(model, guide), skip_terms(AUXILIARY, BACKWARD):
        program = partial(guide, encoding=guide.encode(batch)) if isinstance(guide, Guide) else guide
        weights = Weights.empty(num_particles, batch)
        for start in range(0, num_particles, chunk):
            stop = min(start + chunk, num_particles)
            weights.fill(start, weigh(model, program, batch, stop - start, form))
    return weights


def weigh(model: StochasticRNN, guide: Program, batch: SequenceBatch, num_particles: int, form: Form) -> Weights:
    """Importance weights of one chunk of particles."""
    shape = torch.Size((num_particles, batch.num_sequences))
    return weights_of(*traces(model, guide, batch, num_particles, form), shape)


def traces(
    model: StochasticRNN, guide: Program, batch: SequenceBatch, num_particles: int, form: Form
) -> tuple[Trace, Trace]:
    """What one chunk of particles leaves: the guide's trace, and the model's on the same draws."""
    options: dict[str, Any] = {} if form == "step" else {"form": form}
    with pyro.plate("particles", num_particles, dim=-2):
        guide_trace = poutine.trace(guide).get_trace(batch, **options)
        return guide_trace, poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(batch, **options)


def weights_of(guide_trace: Trace, model_trace: Trace, shape: torch.Size) -> Weights:
    """Importance weights (K, B) from the two traces."""
    # All of the guide's sites: an autoguide's density is that of sites of its own. Its added terms count for nothing.
    posterior = sum_scores(guide_trace, lambda name, site: True, precise_log_prob)
    prior = sum_scores(model_trace, lambda name, site: name in guide_trace.nodes, precise_log_prob)
    likelihood = sum_scores(model_trace, lambda name, site: name not in guide_trace.nodes, precise_log_prob)
    log_ratios = (posterior - prior).expand(shape)
    return Weights((likelihood - log_ratios).expand(shape), log_ratios)


def precise_log_prob(site: Site) -> Tensor:
    """As `zf_pyro.objectives.log_prob`, the steps of a path added up in float64."""
    law, value = site["fn"], site["value"]
    if not isinstance(law, Stepwise | PathDistribution):
        return log_prob(site).double()
    return scale_and_mask(law.log_probs(value).sum(-2, dtype=torch.float64), site["scale"], site["mask"])


def require_particles(num_particles: int) -> None:
    """Refuse a number of particles below 1."""
    if num_particles < 1:
        raise InputError(f"the number of particles must be at least 1, not {num_particles}")


class SequenceWeights(NamedTuple):
    """Importance weights of N sequences.

    Attributes:
        lengths: real steps of each, (N,).
        log_weights: log w_k, (K, N), float64, in nats per sequence.
        log_ratios: log q(z_k | x) - log p(z_k), likewise.
    """

    lengths: Tensor
    log_weights: Tensor
    log_ratios: Tensor

    def of_all(self, total: int) -> SequenceWeights:
        """Those of N sequences in their order, of which every process has its share (`zf_pyro.processes`)."""
        return SequenceWeights(*(gathered(each, total) for each in self))


def sequence_weights(
    model: StochasticRNN,
    guide: Program,
    batches: Iterable[SequenceBatch],
    num_particles: int,
    *,
    seed: int = 0,
    form: Form = "path",
) -> SequenceWeights:
    """K importance weights of each sequence of `batches`, in their order, on the CPU.

    The noise of a `Guide` is that of (seed, sequence, particle), a sequence known by its content, and sequences are run
    in tiles (`zf_pyro.tiles`): the weights do not depend on how the sequences are divided into batches, nor on their
    order, on one machine not even in their last bits. A guide of another kind may belong to its batch: it is run on
    each batch as it is, and all draws come from `seed`, in order. So do draws that are not made from normal numbers.
    The caller's random state stays as it was.

    Raises:
        InputError: `num_particles` is below 1, or there is no sequence.
    """
    require_particles(num_particles)
    device = next(model.parameters()).device
    with seeded(device, process_seed(seed)):
        if isinstance(guide, Guide):
            return tiled_weights(model, guide, batches, num_particles, seed, form)
        found = []
        for batch in batches:
            weights = importance_weights(model, guide, batch.to(device), num_particles, form=form)
            found.append((batch.lengths, *weights))
    return put_together(found)


def tiled_weights(
    model: StochasticRNN, guide: Guide, batches: Iterable[SequenceBatch], num_particles: int, seed: int, form: Form
) -> SequenceWeights:
    """As `sequence_weights`, tile by tile."""
    places, found = [], []
    device = next(model.parameters()).device
    for tile in tiles(batches):
        weights = tile_weights(model, guide, tile._replace(batch=tile.batch.to(device)), num_particles, seed, form)
        places += tile.places
        real = len(tile.places)
        found.append((tile.batch.lengths[:real], *(each[:, :real] for each in weights)))
    together, order = put_together(found), torch.tensor(places).argsort()
    return SequenceWeights(*(each[..., order] for each in together))


def tile_weights(model: StochasticRNN, guide: Guide, tile: Tile, num_particles: int, seed: int, form: Form) -> Weights:
    """The importance weights of all sequences of a tile."""
    with evaluating(model, guide), skip_terms(AUXILIARY, BACKWARD):
        program = partial(guide, encoding=guide.encode(tile.batch))
        weights = Weights.empty(num_particles, tile.batch)
        for particles, noise in keyed_chunks(tile, num_particles, seed):
            with given_noise(noise):
                weights.fill(particles.start, weigh(model, program, tile.batch, len(particles), form))
    return weights


def put_together(found: Sequence[tuple[Tensor, ...]]) -> SequenceWeights:
    """Lengths and weights of some sequences, and of others, as one.

    Raises:
        InputError: there is none.
    """
    if not found:
        raise InputError("there is no sequence to evaluate")
    return SequenceWeights(*(torch.cat([part.cpu() for part in parts], -1) for parts in zip(*found, strict=True)))
