"""The figures of a test in all their units, and how they are told."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor

from zf_pyro.bounds import FilterBounds, SequenceBounds
from zf_pyro.config import Config
from zf_pyro.data.corpus import Corpus, Observation
from zf_pyro.diagnostics import LEAST_PARTICLES, UNTRUSTWORTHY, bootstrap_errors
from zf_pyro.latents import ACTIVE

Figures = dict[str, Any]
"""Numbers by name, None where one is not known."""


def measure(config: Config, observation: Observation) -> str:
    """What a bound is on: the log of a probability, or of a density, which do not compare."""
    return "density" if observation.law == "gaussian" and not config.model.is_discretised else "probability"


BOUNDS = {"elbo": "ELBO", "iw_bound": "IW bound", "fivo_bound": "FIVO"}
"""What the bounds are called, by their names in the results."""


def figures(
    bounds: SequenceBounds,
    filtered: FilterBounds | None,
    corpus: Corpus,
    chosen: np.ndarray,
    *,
    discretised: bool = False,
) -> Figures:
    """The bounds over the chosen test sequences in all their units, beside the score of independent steps.

    Args:
        bounds: of each of them.
        filtered: the particle-filter bounds, where they are asked for.
        corpus: the data set.
        chosen: their places in its test split.
        discretised: whether real numbers were scored as points of a lattice.
    """
    observation, bound = corpus.observation, bounds.over_all()
    steps = bound.num_steps / bound.num_sequences
    errors = bootstrap_errors(bounds.iw_bound, bounds.lengths)
    marginal = (corpus.marginal_mass if discretised else corpus.marginal_score)(chosen)
    found: Figures = {
        **asdict(bound),
        "iw_bound_bootstrap_se": errors[0],
        "iw_bound_per_step_se": errors[1],
        **({} if filtered is None else filtered.over_all()._asdict()),
        "marginal": marginal,
    }
    of_sequence = {name: found[name] for name in BOUNDS if name in found}
    found |= {f"{name}_per_step": value / steps for name, value in of_sequence.items()}
    if observation.law == "categorical":
        found["perplexity_elbo"] = bound.perplexity(bound.elbo)
        found["perplexity"] = bound.perplexity(bound.iw_bound)
        if filtered is not None:
            found["perplexity_fivo"] = bound.perplexity(found["fivo_bound"])
        found["unigram_perplexity"] = bound.perplexity(marginal)
    if (name := bits_name(observation, discretised=discretised)) is not None:
        numbers = observation.size if discretised else 1
        found[name] = -bound.iw_bound / steps / numbers / math.log(2)
    if discretised:
        return found
    if observation.law == "gaussian":
        originals = {f"{name}_original": value - steps * observation.log_scale for name, value in of_sequence.items()}
        found |= originals | {f"{name}_per_step": value / steps for name, value in originals.items()}
    return found


BITS = ("bits_per_character", "bits_per_pixel", "bits_per_sample", "bits_per_number")


def bits_name(observation: Observation, *, discretised: bool) -> str | None:
    """Under which of `BITS` the bound is also given, if any: by characters, pixels, or numbers on a lattice."""
    if discretised:
        return "bits_per_sample" if observation.rate else "bits_per_number"
    return {"character": "bits_per_character", "pixel": "bits_per_pixel"}.get(observation.step)


def of_weights(details: Mapping[str, Tensor]) -> Figures:
    """What the weights of all sequences say, from what those of each do (`zf_pyro.diagnostics`)."""
    counts, means = details["curve_particles"].tolist(), details["curve"].mean(0).tolist()
    found: Figures = {
        "curve": {f"{int(count)}": mean for count, mean in zip(counts, means, strict=True)},
        "effective_sample_size": details["effective_sample_size"].mean().item(),
    }
    if "pareto_k" in details:
        found["pareto_k_above"] = (details["pareto_k"] > UNTRUSTWORTHY).double().mean().item()
    return found


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
    yield from weights_told(test, sequence)
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
    for name in BITS:
        if name in test:
            yield f"  {name.replace('_', ' ')} at most {test[name]:.3f} by the IW bound"
    if "elbo_original" in test:
        yield (
            f"  in the units of the data: ELBO {test['elbo_original']:.3f}, IW bound {test['iw_bound_original']:.3f} "
            f"nats per {sequence}, {test['elbo_original_per_step']:.4f} and {test['iw_bound_original_per_step']:.4f} "
            f"per {step}"
        )


def weights_told(test: Figures, sequence: str) -> Iterator[str]:
    """What the weights say of the bound: its curve, how many particles count, and whether to trust it.

    Older results lack some of it, and of what is not finite they hold None: that is left out.
    """
    k = test["num_particles"]
    curve, size = test.get("curve") or {}, test.get("effective_sample_size")
    if len(curve) > 1:
        points = ", ".join(f"{count}: {'-' if mean is None else f'{mean:.3f}'}" for count, mean in curve.items())
        yield f"  IW bound by number of particles: {points}"
    if k > 1 and size is not None:
        yield f"  effective sample size {size:.1f} of {k}, mean over {sequence}s"
    if test.get("pareto_k_above"):
        yield (
            f"  not to be trusted: of {test['pareto_k_above']:.0%} of the {sequence}s the largest weights have a "
            f"Pareto k-hat above {UNTRUSTWORTHY}; the bound is loose there, and more particles would raise it"
        )
    elif k < LEAST_PARTICLES:
        yield f"  whether the bound is tight is not known: take {LEAST_PARTICLES} particles or more"
