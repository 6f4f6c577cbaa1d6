"""``zf-pyro latents``: whether the latent variable of a run is used, over its test split.

KL_t       of posterior from prior, by steps and by units (`zf_pyro.latents`)
I(x; z)    what a path says of which sequence it came from (`zf_pyro.inspection.information`)
loss       of likelihood, where z is drawn from the prior instead of the posterior, at the same K:

    E_q log p(x | z) - E_p log p(x | z)     of the reconstruction
    IW bound by q    - IW bound by p        of the bound

Both p(z_t | context_t) and q are run along the observed x_1 .. x_{t-1}. Where the bounds by q and by p are the same,
the posterior has found nothing that the prior does not give; the model may use z as noise all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from zf_pyro.bounds import SequenceBounds, sequence_bounds, standard_error
from zf_pyro.config import Config
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.data.corpus import Corpus
from zf_pyro.errors import check
from zf_pyro.evaluation import shown, tested_places
from zf_pyro.guides import Guide
from zf_pyro.inspection.information import Information, chosen_for, information
from zf_pyro.latents import StepSums, active_units, is_known, step_divergences, step_ratios, step_sums
from zf_pyro.model import StochasticRNN
from zf_pyro.posteriors import PriorPosterior
from zf_pyro.runs import LoadedRun

Batches = Callable[[str], Iterable[SequenceBatch]]
"""The test sequences, gone through anew at every call; it is told what for."""


@dataclass(frozen=True)
class Usage:
    """What is known of the use of a latent variable; None what is not.

    Attributes:
        posterior: bounds by the guide.
        prior: bounds by a guide that is the prior, of the same sequences in the same order.
        by_unit: closed forms of KL_t, (T, Z).
        by_step: KL_t, (T, Z) or, at the draws, (T, 1).
        information: bounds on I(x; z_1 .. z_t).
    """

    posterior: SequenceBounds
    prior: SequenceBounds | None
    by_unit: StepSums | None
    by_step: StepSums | None
    information: Information | None


def usage_of(run: LoadedRun, corpus: Corpus) -> Usage:
    """The use of a run's latent variable on its test split, or on its seeded subset.

    Raises:
        InputError: the run has no latent variable.
    """
    config = run.config
    check(config.model.family != "rnn", "the family rnn has no latent variable")
    chosen = tested_places(config, corpus)

    def batches(what: str) -> Iterable[SequenceBatch]:
        return shown(what, corpus.test, chosen, corpus.observation)

    posterior = bounds_by(run.guide, run.model, batches("Posterior"), config)
    if not is_known(run.model, run.guide):
        return Usage(posterior, None, None, None, None)
    prior = bounds_by(Guide(run.model, None, PriorPosterior()), run.model, batches("Prior"), config)
    return Usage(
        posterior,
        prior,
        *divergences(run.model, run.guide, batches, config.seed),
        information_in(run.model, run.guide, corpus, chosen, config.seed),
    )


def bounds_by(guide: Guide, model: StochasticRNN, batches: Iterable[SequenceBatch], config: Config) -> SequenceBounds:
    """Bounds by a guide, as the test of a run takes them."""
    return sequence_bounds(
        model, guide, batches, config.evaluation.num_particles, seed=config.seed, form=config.training.form
    )


def divergences(
    model: StochasticRNN, guide: Guide, batches: Batches, seed: int
) -> tuple[StepSums | None, StepSums | None]:
    """KL_t by units where it has a closed form, and by steps, there by the same, elsewhere at the draws."""
    found = step_sums(model, guide, batches("KL"), step_divergences, seed=seed)
    return found, found or step_sums(model, guide, batches("KL at the draws"), step_ratios, seed=seed)


def information_in(
    model: StochasticRNN, guide: Guide, corpus: Corpus, chosen: np.ndarray, seed: int
) -> Information | None:
    """Bounds on I(x; z_1 .. z_t) by some of the chosen sequences."""
    among, num_steps = chosen_for(corpus.test.lengths, chosen)
    return information(model, guide, corpus.test.batch(among), num_steps, seed=seed)


def figures(usage: Usage) -> dict[str, Any]:
    """All figures by name: nats per sequence, or as their names say; None where they are not known."""
    posterior, over = usage.posterior, usage.posterior.over_all()
    units, steps = usage.by_unit, usage.by_step
    return {
        "num_sequences": over.num_sequences,
        "num_steps": over.num_steps,
        "num_particles": over.num_particles,
        "kl": over.kl,
        "kl_per_step": over.kl * over.num_sequences / over.num_steps,
        "kl_is_closed_form": units is not None,
        "kl_by_step": None if steps is None else steps.by_step.tolist(),
        "sequences_by_step": None if steps is None else steps.counts.tolist(),
        "kl_by_unit": None if units is None else units.by_unit.tolist(),
        "active_units": None if units is None else active_units(units.by_unit),
        "information": None if usage.information is None else as_table(usage.information),
        **losses(posterior, usage.prior),
    }


def as_table(found: Information) -> dict[str, Any]:
    """The bounds on the information, in nats, t = 1 .. T."""
    curves = {name: getattr(found, name).tolist() for name in ("lower", "upper", "error")}
    return {"num_sequences": found.num_sequences, **curves}


def losses(posterior: SequenceBounds, prior: SequenceBounds | None) -> dict[str, float | None]:
    """Reconstruction and bound by posterior and by prior, and what is lost by the prior with its standard error."""
    terms = {"reconstruction": lambda bounds: bounds.elbo + bounds.kl, "iw_bound": lambda bounds: bounds.iw_bound}
    found: dict[str, float | None] = {}
    for name, term in terms.items():
        by_posterior = term(posterior)
        by_prior: Tensor | None = None if prior is None else term(prior)
        lost = None if by_prior is None else by_posterior - by_prior
        found[name] = by_posterior.mean().item()
        found[f"{name}_by_prior"] = None if by_prior is None else by_prior.mean().item()
        found[f"{name}_loss"] = None if lost is None else lost.mean().item()
        found[f"{name}_loss_se"] = None if lost is None else standard_error(lost)
    return found
