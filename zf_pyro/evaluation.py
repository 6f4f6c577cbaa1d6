"""The test of a model: what is scored, and by which protocol."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from zf_pyro.bounds import SequenceBounds, filter_bounds
from zf_pyro.config import Config
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.data.corpus import Corpus, Observation
from zf_pyro.data.loader import Split, by_length, ordered_batches, subset
from zf_pyro.diagnostics import LEAST_PARTICLES, curve, effective_sample_sizes, pareto_shapes
from zf_pyro.figures import Figures, figures, of_weights
from zf_pyro.filtering import require_guide
from zf_pyro.guides import Guide
from zf_pyro.latents import active_units, unit_divergences
from zf_pyro.model import StochasticRNN
from zf_pyro.processes import share
from zf_pyro.progress import progress
from zf_pyro.scores import Scores
from zf_pyro.weights import sequence_weights

READ_TOGETHER = 64
"""Sequences read at a time; what comes of them does not depend on it."""


class Evaluation(NamedTuple):
    """A test: its figures by name, and the scores of the single sequences."""

    figures: Figures
    scores: Scores


def evaluate(model: StochasticRNN, guide: Guide, config: Config, corpus: Corpus) -> Evaluation:
    """Score the test split, or its seeded subset, by the configuration's protocol.

    Several processes share out the sequences, and all come to the same.

    Raises:
        InputError: the particle-filter bound is asked for, and the guide is no `Guide` of this model.
    """
    if config.filters:
        require_guide(model, guide)
    chosen = tested_places(config, corpus)
    total, places = len(chosen), by_length(corpus.test, chosen)
    num_particles, seed = config.evaluation.num_particles, config.seed

    def batches(what: str) -> Iterator[SequenceBatch]:
        return shown(what, corpus.test, share(places), corpus.observation)

    lengths, log_weights, log_ratios = sequence_weights(
        model, guide, batches("Evaluating"), num_particles, seed=seed, form=config.training.form
    ).of_all(total)
    bounds = SequenceBounds.of(lengths, log_weights, log_ratios)
    filtered = None
    if config.filters:
        filtered = filter_bounds(model, guide, batches("Filtering"), num_particles, seed=seed).of_all(total)
    details = weight_details(log_weights) | ({} if filtered is None else filtered._asdict())
    divergences = unit_divergences(model, guide, batches("KL by units"), seed=seed, total=total)
    found = {
        **figures(bounds, filtered, corpus, chosen, discretised=config.model.is_discretised),
        **of_weights(details),
        "active_units": active_units(divergences),
    }
    return Evaluation(found, in_order(bounds, details, places, len(corpus.test.lengths)))


def tested_places(config: Config, corpus: Corpus) -> np.ndarray:
    """The places in the test split of the sequences to test: all of it, or its seeded subset."""
    return subset(len(corpus.test.lengths), config.evaluation.eval_sequences, config.data.split_seed)


def weight_details(log_weights: Tensor) -> dict[str, Tensor]:
    """What is known of the weights of each sequence, by name: each (N,), or of the curve (N, number of its points)."""
    by_particles = curve(log_weights)
    found = {
        "curve_particles": log_weights.new_tensor(list(by_particles)),
        "curve": torch.stack(list(by_particles.values()), -1),
        "effective_sample_size": effective_sample_sizes(log_weights),
    }
    return found | ({"pareto_k": pareto_shapes(log_weights)} if len(log_weights) >= LEAST_PARTICLES else {})


def shown(what: str, split: Split, chosen: np.ndarray, observation: Observation) -> Iterator[SequenceBatch]:
    """The chosen sequences of a split in batches, with their progress shown."""
    with progress(len(chosen), what, observation.sequence) as bar:
        for batch in ordered_batches(split, chosen, READ_TOGETHER):
            yield batch
            bar.update(batch.num_sequences)


def in_order(bounds: SequenceBounds, details: dict[str, Tensor], places: np.ndarray, split_size: int) -> Scores:
    """The bounds of single sequences in the order of the split.

    Args:
        bounds: of the sequences as they were scored.
        details: of the same.
        places: (N,) of these in the split.
        split_size: sequences in the whole split.
    """
    order = np.argsort(places)
    lengths, elbo, bound = (each.numpy()[order] for each in (bounds.lengths, bounds.elbo, bounds.iw_bound))
    rest = {name: each.numpy() if name == "curve_particles" else each.numpy()[order] for name, each in details.items()}
    return Scores(places[order], lengths, elbo, bound, split_size, rest)
