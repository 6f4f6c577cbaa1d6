"""The test of a model: what is scored, the figures of it, and how they are told."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from zf_pyro.bounds import Bound, SequenceBounds, sequence_bounds
from zf_pyro.config import Config
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.data.corpus import Corpus, Observation
from zf_pyro.data.loader import Split, by_length, ordered_batches, subset
from zf_pyro.guides import Guide
from zf_pyro.latents import ACTIVE, active_units, unit_divergences
from zf_pyro.model import StochasticRNN
from zf_pyro.progress import progress
from zf_pyro.scores import Scores

EVALUATION_BATCH = 64
"""Sequences scored together. Which noise meets which sequence depends on it, so it is no setting."""


class Evaluation(NamedTuple):
    """A test: its figures by name, and the scores of the single sequences."""

    figures: dict[str, float | int | None]
    scores: Scores


def evaluate(model: StochasticRNN, guide: Guide, config: Config, corpus: Corpus) -> Evaluation:
    """Score the test split, or its seeded subset, by the configuration's protocol."""
    chosen = subset(len(corpus.test.lengths), config.evaluation.eval_sequences, config.data.split_seed)
    bounds = sequence_bounds(
        model,
        guide,
        shown("Evaluating", corpus.test, chosen, corpus.observation),
        config.evaluation.num_particles,
        seed=config.seed,
        form=config.training.form,
    )
    discretised = config.model.is_discretised
    again = shown("KL by units", corpus.test, chosen, corpus.observation)
    divergences = unit_divergences(model, guide, again, seed=config.seed)
    units = active_units(divergences)
    found = {**figures(bounds.over_all(), corpus, chosen, discretised=discretised), "active_units": units}
    return Evaluation(found, in_order(bounds, by_length(corpus.test, chosen), len(corpus.test.lengths)))


def shown(what: str, split: Split, chosen: np.ndarray, observation: Observation) -> Iterator[SequenceBatch]:
    """The chosen sequences of a split in batches, with a progress bar over them."""
    with progress(total=len(chosen), desc=what, unit=observation.sequence) as bar:
        for batch in ordered_batches(split, chosen, EVALUATION_BATCH):
            yield batch
            bar.update(batch.num_sequences)


def in_order(bounds: SequenceBounds, places: np.ndarray, split_size: int) -> Scores:
    """The bounds of single sequences in the order of the split.

    Args:
        bounds: of the sequences as they were scored.
        places: (N,) of these in the split.
        split_size: sequences in the whole split.
    """
    order = np.argsort(places)
    lengths, elbo, bound = (each.cpu().numpy()[order] for each in (bounds.lengths, bounds.elbo, bounds.iw_bound))
    return Scores(places[order], lengths, elbo, bound, split_size)


def measure(config: Config, observation: Observation) -> str:
    """What a bound is on: the log of a probability, or of a density, which do not compare."""
    return "density" if observation.law == "gaussian" and not config.model.is_discretised else "probability"


def figures(bound: Bound, corpus: Corpus, chosen: np.ndarray, *, discretised: bool = False) -> dict[str, float | int]:
    """A bound over the chosen test sequences in all its units, beside the score of independent steps.

    Args:
        bound: over them.
        corpus: the data set.
        chosen: their places in its test split.
        discretised: whether real numbers were scored as points of a lattice.
    """
    observation, steps = corpus.observation, bound.num_steps / bound.num_sequences
    marginal = (corpus.marginal_mass if discretised else corpus.marginal_score)(chosen)
    found = {
        **asdict(bound),
        "elbo_per_step": bound.elbo / steps,
        "iw_bound_per_step": bound.iw_bound / steps,
        "marginal": marginal,
    }
    if observation.law == "categorical":
        found["perplexity_elbo"] = bound.perplexity(bound.elbo)
        found["perplexity"] = bound.perplexity(bound.iw_bound)
        found["unigram_perplexity"] = bound.perplexity(marginal)
    if observation.step == "character":
        found["bits_per_character"] = -bound.iw_bound / steps / math.log(2)
    if discretised:
        found[bits_name(observation)] = -bound.iw_bound / steps / observation.size / math.log(2)
    elif observation.law == "gaussian":
        found["elbo_original"] = bound.elbo - steps * observation.log_scale
        found["iw_bound_original"] = bound.iw_bound - steps * observation.log_scale
        found["elbo_original_per_step"] = found["elbo_original"] / steps
        found["iw_bound_original_per_step"] = found["iw_bound_original"] / steps
    return found


def bits_name(observation: Observation) -> str:
    """What bits per number are called: of a waveform they are per sample."""
    return "bits_per_sample" if observation.rate else "bits_per_number"


def told(results: dict[str, Any]) -> Iterator[str]:
    """The outcome of a test in lines, each figure with its unit and protocol."""
    test, sequence, step = results["test"], results["sequence"], results["step"]
    k, n = test["num_particles"], test["num_sequences"]
    yield f"Test, {n:,} {sequence}s, {test['num_steps']:,} {step}s, {k} particles, gamma = 1:"
    for label, name in (("ELBO", "elbo"), ("IW bound", "iw_bound")):
        yield (
            f"  {label:<8}  {test[name]:10.3f} +- {test[name + '_se']:.3f} nats per {sequence}, "
            f"{test[name + '_per_step']:.4f} per {step}" + (f" (KL {test['kl']:.3f})" if name == "elbo" else "")
        )
    if test["active_units"] is not None:
        yield f"  active units of z: {test['active_units']}, of more than {ACTIVE:g} nats a {step} each"
    real = {"elbo_original", "bits_per_sample", "bits_per_number"} & test.keys()
    known = "means and variances" if real else "frequencies"
    yield f"  {step}s drawn independently, with training's {known}: {test['marginal']:.3f} nats per {sequence}"
    if "perplexity" in test:
        yield (
            f"  perplexity at most {test['perplexity']:.2f} by the IW bound, {test['perplexity_elbo']:.2f} by the "
            f"ELBO; unigram model {test['unigram_perplexity']:.2f}"
        )
    for name in ("bits_per_character", "bits_per_sample", "bits_per_number"):
        if name in test:
            yield f"  {name.replace('_', ' ')} at most {test[name]:.3f} by the IW bound"
    if "elbo_original" in test:
        yield (
            f"  in the units of the data: ELBO {test['elbo_original']:.3f}, IW bound {test['iw_bound_original']:.3f} "
            f"nats per {sequence}, {test['elbo_original_per_step']:.4f} and {test['iw_bound_original_per_step']:.4f} "
            f"per {step}"
        )
