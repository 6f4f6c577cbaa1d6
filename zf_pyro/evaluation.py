"""The test of a model: what is scored, the figures of it, and how they are told."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from zf_pyro.bounds import Bound, estimate_bound
from zf_pyro.config import Config
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.data.corpus import Corpus, Observation
from zf_pyro.data.loader import ordered_batches, subset
from zf_pyro.filtering import FilterBound, estimate_filter_bound
from zf_pyro.guides import Guide
from zf_pyro.model import StochasticRNN
from zf_pyro.progress import progress

EVALUATION_BATCH = 64
"""Sequences scored together. Which noise meets which sequence depends on it, so it is no setting."""


def evaluate(model: StochasticRNN, guide: Guide, config: Config, corpus: Corpus) -> dict[str, float | int]:
    """Score the test split, or its seeded subset, by the configuration's protocol."""
    chosen = subset(len(corpus.test.lengths), config.evaluation.eval_sequences, config.data.split_seed)
    num_particles, seed = config.evaluation.num_particles, config.seed

    def batches() -> Iterator[SequenceBatch]:
        ordered = ordered_batches(corpus.test, chosen, EVALUATION_BATCH)
        return shown(ordered, len(chosen), corpus.observation.sequence)

    bound = estimate_bound(model, guide, batches(), num_particles, seed=seed, form=config.training.form)
    filtered = estimate_filter_bound(model, guide, batches(), num_particles, seed=seed) if config.filters else None
    return figures(bound, filtered, corpus, chosen, discretised=config.model.is_discretised)


def shown(batches: Iterator[SequenceBatch], total: int, unit: str) -> Iterator[SequenceBatch]:
    """The same batches, with a progress bar over their sequences."""
    with progress(total=total, desc="Evaluating", unit=unit) as bar:
        for batch in batches:
            yield batch
            bar.update(batch.num_sequences)


BOUNDS = {"elbo": "ELBO", "iw_bound": "IW bound", "fivo_bound": "FIVO"}
"""What the bounds are called, by their names in the results."""


def figures(
    bound: Bound,
    filtered: FilterBound | None,
    corpus: Corpus,
    chosen: np.ndarray,
    *,
    discretised: bool = False,
) -> dict[str, float | int]:
    """The bounds over the chosen test sequences in all their units, beside the score of independent steps.

    Args:
        bound: over them.
        filtered: the particle-filter bound, where it is asked for.
        corpus: the data set.
        chosen: their places in its test split.
        discretised: whether real numbers were scored as points of a lattice.
    """
    observation, steps = corpus.observation, bound.num_steps / bound.num_sequences
    marginal = (corpus.marginal_mass if discretised else corpus.marginal_score)(chosen)
    found = {**asdict(bound), **({} if filtered is None else filtered._asdict())}
    bounds = {name: found[name] for name in BOUNDS if name in found}
    found |= {f"{name}_per_step": value / steps for name, value in bounds.items()}
    found["marginal"] = marginal
    if observation.law == "categorical":
        found["perplexity_elbo"] = bound.perplexity(bound.elbo)
        found["perplexity"] = bound.perplexity(bound.iw_bound)
        if filtered is not None:
            found["perplexity_fivo"] = bound.perplexity(filtered.fivo_bound)
        found["unigram_perplexity"] = bound.perplexity(marginal)
    if observation.step == "character":
        found["bits_per_character"] = -bound.iw_bound / steps / math.log(2)
    if discretised:
        found[bits_name(observation)] = -bound.iw_bound / steps / observation.size / math.log(2)
    elif observation.law == "gaussian":
        originals = {f"{name}_original": value - steps * observation.log_scale for name, value in bounds.items()}
        found |= originals | {f"{name}_per_step": value / steps for name, value in originals.items()}
    return found


def bits_name(observation: Observation) -> str:
    """What bits per number are called: of a waveform they are per sample."""
    return "bits_per_sample" if observation.rate else "bits_per_number"


def told(results: dict[str, Any]) -> Iterator[str]:
    """The outcome of a test in lines, each figure with its unit and protocol."""
    test, sequence, step = results["test"], results["sequence"], results["step"]
    k, n = test["num_particles"], test["num_sequences"]
    yield f"Test, {n:,} {sequence}s, {test['num_steps']:,} {step}s, {k} particles, gamma = 1:"
    remarks = {"elbo": " (KL {kl:.3f})", "fivo_bound": f" ({{resamplings:.1f}} resamplings per {sequence})"}
    for name in BOUNDS:
        if name in test:
            yield (
                f"  {BOUNDS[name]:<8}  {test[name]:10.3f} +- {test[name + '_se']:.3f} nats per {sequence}, "
                f"{test[name + '_per_step']:.4f} per {step}" + remarks.get(name, "").format(**test)
            )
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
