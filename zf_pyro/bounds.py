"""Lower bounds on the log-likelihood of sequences, by importance sampling from the guide or by filtering.

    log w_k  = log p(x, z_k) - log q(z_k | x),      z_k ~ q,  k = 1 .. K
    ELBO     = mean_k log w_k
    IW bound = log mean_k w_k

Each log w_k is summed over the real steps of a sequence. The two come from the same K weights, so that ELBO <= IW bound
always (Burda et al., "Importance Weighted Autoencoders", ICLR 2016). A third, FIVO, is of a particle filter
(`zf_pyro.filtering`). All stay below log p(x) in expectation. gamma = 1 and alpha = beta = 0, whatever the weights of
training were.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from zf_pyro.data.batch import SequenceBatch
from zf_pyro.errors import InputError
from zf_pyro.filtering import Filtered, ParticleFilter, require_guide
from zf_pyro.guides import Guide
from zf_pyro.keyed import KeyedNormals, keyed_uniforms
from zf_pyro.model import StochasticRNN
from zf_pyro.paths import Form
from zf_pyro.processes import gathered
from zf_pyro.scopes import evaluating, seeded
from zf_pyro.streams import process_seed
from zf_pyro.tiles import SEQUENCES, Tile, tiles
from zf_pyro.weights import MAX_ROWS, Program, require_particles, sequence_weights


@dataclass(frozen=True)
class Bound:
    """Bounds over a set of sequences: means over sequences, nats per sequence, with their standard errors.

    Attributes:
        num_sequences: N.
        num_steps: real steps of all sequences together.
        elbo: mean over sequences and particles of log w.
        elbo_se: its standard error over sequences.
        iw_bound: mean over sequences of log mean_k w_k.
        iw_bound_se: its standard error over sequences.
        num_particles: K.
        kl: mean of log q(z | x) - log p(z) at the same samples, so that elbo = reconstruction - kl.
    """

    num_sequences: int
    num_steps: int
    elbo: float
    elbo_se: float
    iw_bound: float
    iw_bound_se: float
    num_particles: int
    kl: float

    def perplexity(self, bound: float) -> float:
        """exp(-bound in nats per step), for a bound in nats per sequence; infinite beyond the reals of the machine."""
        nats = -bound * self.num_sequences / self.num_steps
        return math.exp(nats) if nats < 700 else math.inf


class SequenceBounds(NamedTuple):
    """Bounds of single sequences, each (N,), in nats per sequence.

    Attributes:
        num_particles: K.
        lengths: real steps of each sequence.
        elbo: mean over particles of log w, float64.
        iw_bound: log mean_k w_k, float64.
        kl: mean over particles of log q(z | x) - log p(z), float64.
    """

    num_particles: int
    lengths: Tensor
    elbo: Tensor
    iw_bound: Tensor
    kl: Tensor

    @classmethod
    def of(cls, lengths: Tensor, log_weights: Tensor, log_ratios: Tensor) -> SequenceBounds:
        """From lengths (N,) and K weights of each sequence, (K, N); see `zf_pyro.weights`."""
        bound = log_weights.logsumexp(0) - math.log(len(log_weights))
        return cls(len(log_weights), lengths, log_weights.mean(0), bound, log_ratios.mean(0))

    def of_all(self, total: int) -> SequenceBounds:
        """Those of N sequences in their order, of which every process has its share (`zf_pyro.processes`)."""
        return SequenceBounds(self.num_particles, *(gathered(each, total) for each in self[1:]))

    def over_all(self) -> Bound:
        """The means over sequences, and their standard errors."""
        return Bound(
            num_sequences=len(self.elbo),
            num_steps=int(self.lengths.sum()),
            elbo=self.elbo.mean().item(),
            elbo_se=standard_error(self.elbo),
            iw_bound=self.iw_bound.mean().item(),
            iw_bound_se=standard_error(self.iw_bound),
            num_particles=self.num_particles,
            kl=self.kl.mean().item(),
        )


def estimate_bound(
    model: StochasticRNN,
    guide: Program,
    batches: Iterable[SequenceBatch],
    num_particles: int,
    *,
    seed: int = 0,
    form: Form = "path",
) -> Bound:
    """ELBO and importance-weighted bound over all sequences of `batches`: the means of `sequence_bounds`.

    Args:
        model: the generative program.
        guide: a `Guide`, or any Pyro program, which is called as ``guide(batch)`` in the step form and as
            ``guide(batch, form="path")`` in the path form.
        batches: sequences with targets.
        num_particles: K.
        seed: of the noise, which depends on it, on the sequence and on the particle, and on nothing else.
        form: of the programs, "path" or "step".

    Raises:
        InputError: `num_particles` is below 1, or there is no sequence.
        ValueError: a batch has no targets.
    """
    return sequence_bounds(model, guide, batches, num_particles, seed=seed, form=form).over_all()


def sequence_bounds(
    model: StochasticRNN,
    guide: Program,
    batches: Iterable[SequenceBatch],
    num_particles: int,
    *,
    seed: int = 0,
    form: Form = "path",
) -> SequenceBounds:
    """ELBO and importance-weighted bound of each sequence of `batches`, in their order, from `sequence_weights`.

    Args as of `estimate_bound`.

    Raises:
        InputError: `num_particles` is below 1, or there is no sequence.
        ValueError: a batch has no targets.
    """
    return SequenceBounds.of(*sequence_weights(model, guide, batches, num_particles, seed=seed, form=form))


def log_likelihood(
    model: StochasticRNN,
    guide: Program,
    batch: SequenceBatch,
    num_particles: int,
    *,
    seed: int = 0,
    form: Form = "path",
) -> Tensor:
    """The importance-weighted bound on log p(x | u) of each sequence of a batch, (B,), float64, in nats, on the CPU.

    It is below log p(x | u) in expectation, and comes up to it with K. Args as of `estimate_bound`.

    Raises:
        InputError: `num_particles` is below 1, or there is no sequence.
        ValueError: the batch has no targets.
    """
    return sequence_bounds(model, guide, [batch], num_particles, seed=seed, form=form).iw_bound


class FilterBound(NamedTuple):
    """The particle-filter bound over a set of sequences: means over sequences, in nats per sequence.

    Attributes:
        fivo_bound: of log Z.
        fivo_bound_se: its standard error over sequences.
        resamplings: how often the particles of a sequence were drawn anew.
    """

    fivo_bound: float
    fivo_bound_se: float
    resamplings: float


class FilterBounds(NamedTuple):
    """The particle-filter bounds of single sequences.

    Attributes:
        fivo_bound: log Z, (N,), float64, in nats per sequence.
        resamplings: how often the particles of a sequence were drawn anew, (N,), float64.
    """

    fivo_bound: Tensor
    resamplings: Tensor

    def of_all(self, total: int) -> FilterBounds:
        """Those of N sequences in their order, of which every process has its share."""
        return FilterBounds(*(gathered(each, total) for each in self))

    def over_all(self) -> FilterBound:
        """The means over sequences."""
        bound = self.fivo_bound
        return FilterBound(bound.mean().item(), standard_error(bound), self.resamplings.mean().item())


def filter_bounds(
    model: StochasticRNN, guide: Guide, batches: Iterable[SequenceBatch], num_particles: int, *, seed: int = 0
) -> FilterBounds:
    """The particle-filter bound of each sequence of `batches`, in their order, on the CPU.

    Noise and tiles are as of `zf_pyro.weights.sequence_weights`, but all K particles of a sequence are run together, so
    that tiles hold fewer sequences where K is large. Batches and their order change nothing.

    Raises:
        InputError: as `filter_particles`; or there is no sequence.
    """
    require_particles(num_particles)
    require_guide(model, guide)
    device = next(model.parameters()).device
    places, found = [], []
    with seeded(device, process_seed(seed)), evaluating(model, guide):
        for tile in tiles(batches, particle_tile(num_particles)):
            filtered = filter_tile(guide, tile._replace(batch=tile.batch.to(device)), num_particles, seed)
            places += tile.places
            each = torch.stack([filtered.log_likelihood, filtered.resampled.sum(0).double()])
            found.append(each[:, : len(tile.places)].cpu())
    if not found:
        raise InputError("there is no sequence to evaluate")
    return FilterBounds(*torch.cat(found, 1)[:, torch.tensor(places).argsort()])


def particle_tile(num_particles: int) -> int:
    """Sequences of a tile whose K particles are run together: as many as make `MAX_ROWS` rows, one at least."""
    return max(1, min(SEQUENCES, MAX_ROWS // num_particles))


def filter_tile(guide: Guide, tile: Tile, num_particles: int, seed: int) -> Filtered:
    """Filter all sequences of a tile."""
    steps = tile.batch.num_steps
    return Filtered.of(
        ParticleFilter(
            guide.path_law(tile.batch),
            num_particles,
            standard=KeyedNormals(seed, tile.keys, range(num_particles), steps),
            uniforms=keyed_uniforms(seed, tile.keys, steps).to(tile.batch.mask.device),
        )
    )


def estimate_filter_bound(
    model: StochasticRNN, guide: Guide, batches: Iterable[SequenceBatch], num_particles: int, *, seed: int = 0
) -> FilterBound:
    """The particle-filter bound over all sequences of `batches`: the means of `filter_bounds`, nats per sequence.

    Args:
        model: the generative program.
        guide: the proposal, made for this model.
        batches: sequences with targets.
        num_particles: K.
        seed: of the noise, as of `estimate_bound`.

    Raises:
        InputError: as `filter_bounds`.
        ValueError: a batch has no targets.
    """
    return filter_bounds(model, guide, batches, num_particles, seed=seed).over_all()


def standard_error(values: Tensor) -> float:
    """Standard error of the mean of (N,) values; 0 for a single one."""
    return (values.std() / math.sqrt(len(values))).item() if len(values) > 1 else 0.0
