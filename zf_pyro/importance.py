"""Importance-weighted objectives, of K particles a sequence.

    log w_k  = log p(x | z_k) - gamma (log q(z_k | x) - log p(z_k)),     z_k ~ q,   k = 1 .. K
    IWAE     = log mean_k w_k + mean_k [ alpha log p(b | z_k) + beta log p(u | b) ]

gamma = 1 makes it a bound on log p(x); below 1 it anneals the KL term, as in `ZForcingELBO`. Burda, Grosse,
Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016.

Doubly reparametrised, the guide's own parameters get the gradient of

    sum_k (gamma v_k^2 + (1 - gamma) v_k) log w_k,   v_k = w_k / sum_j w_j held fixed

with log q a function of z alone, which has the same mean and less noise; gamma = 1 is the published form. Tucker,
Lawson, Gu, Maddison, "Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives", ICLR 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pyro
import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from zf_pyro.conditionals import Conditional, Context, present
from zf_pyro.divergences import require_reparametrised
from zf_pyro.objectives import Terms, ZForcingELBO, added_terms, stochastic_sites, sum_scores
from zf_pyro.paths import PathDistribution
from zf_pyro.schedules import Weight
from zf_pyro.segments import in_segments


class Same(Conditional):
    """A conditional under another identity, by which the laws that the guide has made are not known."""

    def __init__(self, conditional: Conditional) -> None:
        super().__init__(*conditional.reads)
        self.conditional = conditional

    def forward(self, context: Context) -> Any:
        """The law itself."""
        return self.conditional(context)


class Scorer(nn.Module):
    """log q(z | x) along a path as a module, in whose call the posterior's parameters may be replaced.

    Args:
        law: of the path, under the guide.
    """

    def __init__(self, law: PathDistribution) -> None:
        super().__init__()
        self.posterior = Same(law.conditional)
        beyond = Context(**{name: field.detach() for name, field in present(law.beyond).items()})
        self.law = PathDistribution(law.states, self.posterior, law.real, beyond, law.batch_shape)

    def forward(self, value: Tensor) -> Tensor:
        """(K, B), in nats."""
        return self.law.log_prob(value)


class WithGradients(Function):
    """A number whose gradients have been computed already."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: Sequence[Tensor | None], *parameters: Tensor) -> Tensor:
        """The number itself."""
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients, times what the number is multiplied by."""
        return None, None, *(None if each is None else each * outer[0] for each in ctx.gradients)


class Scores(NamedTuple):
    """Log-probabilities of each particle and sequence, each (K, B) or what broadcasts to it, in nats."""

    likelihood: Tensor
    prior: Tensor
    posterior: Tensor


class ZForcingIWAE(ZForcingELBO):
    """Minus the importance-weighted objective, summed over sequences and divided by `count`.

    All K particles are drawn in one pass, in a plate left of the batch.

    Args:
        alpha: weight of the auxiliary term, averaged over particles; a number or a schedule.
        beta: weight of the backward language model.
        gamma: weight of log q - log p inside the weights.
        count: what the sum is divided by.
        num_particles: K.
        doubly: take the guide's own parameters' gradient doubly reparametrised. The model's parameters keep the
            gradient of IWAE, those that the guide uses too (transition, shared embedding, and the prior of a posterior
            that starts from it) among them.

    Raises:
        ValueError: `doubly`, and the programs are not in the path form or the guide is no `Guide` (when evaluated).
    """

    def __init__(
        self,
        alpha: Weight = 0.0,
        beta: Weight = 0.0,
        gamma: Weight = 1.0,
        *,
        count: int = 1,
        num_particles: int = 5,
        doubly: bool = False,
    ) -> None:
        super().__init__(alpha, beta, gamma, count=count, num_particles=num_particles)
        self.doubly = doubly

    def differentiable_loss(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> Tensor:
        """The loss as a scalar tensor, to be differentiated."""
        weights = self.weights()
        with weights.skipping():
            model_trace, guide_trace = self._get_trace(self.in_plate(model), self.in_plate(guide), args, kwargs)
        scores = particle_scores(model_trace, guide_trace, with_latents=weights.gamma != 0)
        log_weights = self.log_weights(scores, weights.gamma)
        auxiliary, backward = (None if t is None else t / self.num_particles for t in added_terms(guide_trace))
        added = weights.added(auxiliary, backward)
        bound = log_weights.logsumexp(0) - math.log(self.num_particles)
        loss = -(bound.sum() + added) / self.count
        kl = (scores.posterior - scores.prior).expand_as(log_weights).mean(0).sum() if weights.gamma else None
        likelihood = scores.likelihood.expand_as(log_weights).mean(0).sum()
        self.last_terms = Terms(likelihood, kl, auxiliary, backward).detached()
        if not (self.doubly and torch.is_grad_enabled()):
            return loss
        if not isinstance(guide, nn.Module) or not isinstance(model, nn.Module):
            raise ValueError(
                "the doubly reparametrised gradient needs model and guide as modules, a Guide in its path form"
            )
        held = scores._replace(posterior=held_posterior(guide_trace))
        share = log_weights.detach().softmax(0)
        share = weights.gamma * share.square() + (1 - weights.gamma) * share
        other = -((share * self.log_weights(held, weights.gamma)).sum() + added) / self.count
        return with_two_gradients(loss, model, other, guide)

    def in_plate(self, program: Callable) -> Callable:
        """A program of K particles at once."""

        def run(*args: Any, **kwargs: Any) -> Any:
            with pyro.plate("particles", self.num_particles, dim=-2):
                return program(*args, **kwargs)

        return run

    def log_weights(self, scores: Scores, gamma: float) -> Tensor:
        """Log w_k, (K, B)."""
        log_weights = scores.likelihood - gamma * (scores.posterior - scores.prior) if gamma else scores.likelihood
        return log_weights.expand(self.num_particles, log_weights.shape[-1])


def particle_scores(model_trace: Any, guide_trace: Any, *, with_latents: bool) -> Scores:
    """What the sites of a pair of traces add up to; of latent variables nothing, where their weight is 0."""
    for _, site in stochastic_sites(guide_trace):
        require_reparametrised(site)
    return Scores(
        sum_scores(model_trace, lambda name, site: site["is_observed"]),
        sum_scores(
            model_trace, lambda name, site: with_latents and name in guide_trace.nodes and not site["is_observed"]
        ),
        sum_scores(guide_trace, lambda name, site: with_latents and "term" not in site["infer"]),
    )


def held_posterior(guide_trace: Any) -> Tensor:
    """Log q(z | x) as a function of z and of the model alone, (K, B): the guide's parameters are held fixed.

    The posterior is run once more, so that of one with a dropout of its own another mask is scored than was drawn by;
    over all steps at once, since what is run again later would not find the parameters held.
    """
    site = guide_trace.nodes.get("z")
    law = None if site is None else site["fn"]
    if not isinstance(law, PathDistribution):
        raise ValueError("the doubly reparametrised gradient needs a Guide in its path form, form='path'")
    scorer = Scorer(law)
    tensors = {name: each.detach() for name, each in (*scorer.named_parameters(), *scorer.named_buffers())}
    with in_segments(1):
        scores = functional_call(scorer, tensors, (site["value"],))
    return scale_and_mask(scores, site["scale"], site["mask"])


def with_two_gradients(loss: Tensor, model: Any, other: Tensor, guide: Any) -> Tensor:
    """The loss, whose gradient is its own for the model's parameters, and that of `other` for the guide's own."""
    models = [parameter for parameter in model.parameters() if parameter.requires_grad]
    shared = {id(parameter) for parameter in model.parameters()}
    guides = [each for each in guide.parameters() if each.requires_grad and id(each) not in shared]
    of_guide = torch.autograd.grad(other, guides, retain_graph=True, allow_unused=True) if guides else ()
    of_model = torch.autograd.grad(loss, models, allow_unused=True) if models else ()
    return WithGradients.apply(loss.detach(), (*of_guide, *of_model), *guides, *models)
