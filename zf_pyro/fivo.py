"""The particle-filter bound as an objective.

    log v_{t,k} = log p(x_t | feature_t)
                  - gamma (log q(z_t | context_t, e_t) - log p(z_t | context_t)),  k = 1 .. K
    FIVO        = log Z + sum_t mean_k [ alpha log p(b_t | z_t) + beta log p(u_t | b_t) ]

log Z as in `zf_pyro.filtering`. The gradient is that of log Z with the choice of the particles held fixed: it has no
term for how the parameters change which particles are drawn anew, whose noise is far greater than its worth (Maddison
et al., "Filtering Variational Objectives", NIPS 2017), so it is not the gradient of E[log Z]. A parameter does act on
later steps through the states of the particles that live on.

The added terms are means over the K particles as each step drew them: z_t counts with the weight 1 / K whatever its
weight was, and whether or not it lives on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from zf_pyro.divergences import require_reparametrised
from zf_pyro.filtering import THRESHOLD, ParticleFilter, log_estimate
from zf_pyro.importance import Scores, ZForcingIWAE
from zf_pyro.objectives import Terms, added_terms, stochastic_sites
from zf_pyro.paths import PathDistribution
from zf_pyro.schedules import Weight
from zf_pyro.states import Path
from zf_pyro.steps import ListedSteps
from zf_pyro.streams import path_normals, resampling_uniforms


class particle_filtering(Messenger):
    """Inside, a latent path is drawn by a particle filter, its particles those of the plate left of the sequences.

    The path's value and states are those of each step as it was drawn. It stands outside of all plates.

    Args:
        threshold: particles are drawn anew where fewer than this share of them is effective; 0 never does.
        gamma: weight of log q - log p in the increments.

    Attributes:
        path: what was drawn last; None before.
        resampled: whether the particles of a sequence were drawn anew after a step of it, (T, B) booleans.
    """

    def __init__(self, threshold: float, gamma: float) -> None:
        super().__init__()
        self.threshold, self.gamma = threshold, gamma
        self.path: Path | None = None
        self.resampled: Any = None

    def draw(self, law: PathDistribution) -> Tensor:
        """Paths, (K, B, T, Z)."""
        found = ParticleFilter(
            law,
            law.batch_shape[0],
            threshold=self.threshold,
            gamma=self.gamma,
            standard=path_normals(len(law.real)),
            uniforms=resampling_uniforms(law.real),
        )
        moments = list(found.run())
        value = torch.stack([each.latent for each in moments], -3).transpose(-2, -3)
        steps = ListedSteps([each.context for each in moments], [each.feature for each in moments])
        laws = {each: [moment.laws[each] for moment in moments] for each in moments[0].laws}
        law.states.path = self.path = Path.now(value, steps, laws)
        self.resampled = torch.stack([each.resampled for each in moments])
        return value

    def _pyro_sample(self, msg: Any) -> None:
        if isinstance(msg["fn"], PathDistribution) and not (msg["done"] or msg["is_observed"]):
            msg["value"] = self.draw(msg["fn"])
            msg["done"] = True


class ZForcingFIVO(ZForcingIWAE):
    """Minus the particle-filter objective, summed over sequences and divided by `count`.

    The programs must be in the path form, the guide one that draws its path a step after the other, as `Guide` does.
    `last_terms` are means over the particles as each step drew them, so that reconstruction - kl is no bound where
    particles were drawn anew.

    Args:
        alpha: weight of the auxiliary term; a number or a schedule.
        beta: weight of the backward language model.
        gamma: weight of log q - log p inside the weights, by which particles are drawn anew, too.
        count: what the sum is divided by.
        num_particles: K.
        threshold: particles are drawn anew where fewer than this share of them is effective; 0 never does, and is
            `ZForcingIWAE`.

    Raises:
        ValueError: the guide draws no path, or was made for another model, or one of the two has latent variables
            besides it (when evaluated).
    """

    def __init__(
        self,
        alpha: Weight = 0.0,
        beta: Weight = 0.0,
        gamma: Weight = 1.0,
        *,
        count: int = 1,
        num_particles: int = 5,
        threshold: float = THRESHOLD,
    ) -> None:
        super().__init__(alpha, beta, gamma, count=count, num_particles=num_particles)
        self.threshold = threshold

    def differentiable_loss(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> Tensor:
        """The loss as a scalar tensor, to be differentiated."""
        weights = self.weights()
        drawn = particle_filtering(self.threshold, weights.gamma)
        with weights.skipping():
            programs = self.in_plate(model), drawn(self.in_plate(guide))
            model_trace, guide_trace = self._get_trace(*programs, args, kwargs)
        require_filtered(model_trace, guide_trace, drawn)
        scores = step_scores(model_trace, guide_trace)
        auxiliary, backward = (None if t is None else t / self.num_particles for t in added_terms(guide_trace))
        ratios, increments = scores.posterior - scores.prior, scores.likelihood.double()
        if weights.gamma:
            increments = increments - weights.gamma * ratios.double()
        bound = log_estimate(increments, drawn.resampled).sum().to(scores.likelihood.dtype)
        likelihood, kl = (each.mean(0).sum() for each in (scores.likelihood, ratios))
        self.last_terms = Terms(likelihood, kl if weights.gamma else None, auxiliary, backward).detached()
        return -(bound + weights.added(auxiliary, backward)) / self.count


def step_scores(model_trace: Any, guide_trace: Any) -> Scores:
    """Log-probabilities of each particle, step and sequence, each (K, T, B), zero at padded steps."""
    site, observed = guide_trace.nodes["z"], model_trace.nodes["x"]
    require_reparametrised(site)
    latent = site["value"]
    shape = (latent.shape[0], latent.shape[2], latent.shape[1])
    likelihood = observed["fn"].log_probs(observed["value"])
    prior, posterior = (trace.nodes["z"]["fn"].log_probs(latent) for trace in (model_trace, guide_trace))
    return Scores(*(each.expand(shape) for each in (likelihood, prior, posterior)))


def require_filtered(model_trace: Any, guide_trace: Any, drawn: particle_filtering) -> None:
    """Refuse programs that are not of the path which the filter drew, and of nothing else.

    Raises:
        ValueError: so they are.
    """
    if drawn.path is None:
        raise ValueError("the particle filter needs a guide that draws its path step by step, form='path'")
    sites = (pair for trace in (model_trace, guide_trace) for pair in stochastic_sites(trace))
    others = {name for name, site in sites if "term" not in site["infer"]} - {"z", "x", "input_dropout"}
    if others:
        raise ValueError(f"the particle filter knows the sites z and x alone, and there is {min(others)!r}")
    path = model_trace.nodes["z"]["fn"].states.path
    if path is None or path.steps is not drawn.path.steps:
        raise ValueError("the particle filter needs a guide that was made for this very model")
