"""Linear-Gaussian members of four families: their exact likelihood, and their exact posterior as a guide."""

import math
from typing import NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from tests.kalman import LinearTransition, filtered
from zf_pyro import (
    Conditional,
    Context,
    DeterministicTransition,
    Encoder,
    Guide,
    MarkovTransition,
    SequenceBatch,
    StandardNormal,
    StochasticRNN,
)

DETERMINISTIC = 3
SIDE = {"zforcing": 2, "storn": 2, "srnn": DETERMINISTIC, "dmm": 0}
"""Units of what steers a family besides its state: u_t, u_t, d_t, nothing."""

FAMILIES = tuple(SIDE)


class SteeredTransition(LinearTransition):
    """h_t = A h_{t-1} + B z_t + C u_t."""

    def __init__(self):
        super().__init__()
        self.steer = nn.Parameter(torch.tensor([[0.3, -0.2], [0.1, 0.4]]))

    def known(self, embedded):
        return Context(input=embedded)

    def update(self, state, context, latent):
        state, hidden = super().update(state, context, latent)
        hidden = hidden + context.input @ self.steer.T
        return state._replace(hidden=hidden), hidden


class Affine(Conditional):
    """N(W [fields] + w, scale^2 I), as independent normals or as a multivariate normal."""

    def __init__(self, sizes, scale, full=False):
        super().__init__(*sizes)
        self.sizes, self.scale, self.full = sizes, scale, full
        self.map = nn.Linear(sum(sizes.values()), 2)

    def weight(self, field):
        """W's share for one field, (2, size)."""
        weights = self.map.weight.detach().split(list(self.sizes.values()), 1)
        return dict(zip(self.sizes, weights, strict=True)).get(field, weights[0][:, :0])

    def forward(self, context):
        mean = self.map(self.gather(context))
        if self.full:
            return dist.MultivariateNormal(mean, scale_tril=self.scale * torch.eye(2, dtype=mean.dtype))
        return dist.Normal(mean, self.scale).to_event(1)


class Chain(NamedTuple):
    """The matrices of a member of any family, in terms of its state s_t (h_t or z_t) and what steers it, r_t.

    z_t ~ N(prior s_{t-1} + prior_side r_t + prior_bias, prior_scale^2 I)
    s_t = decay s_{t-1} + gain z_t + steer r_t
    x_t ~ N(observe s_t + observe_side r_t + observe_bias, noise^2 I)
    """

    family: str
    start: Tensor
    decay: Tensor
    gain: Tensor
    steer: Tensor
    prior: Tensor
    prior_side: Tensor
    prior_bias: Tensor
    prior_scale: float
    observe: Tensor
    observe_side: Tensor
    observe_bias: Tensor
    noise: float

    @property
    def step(self):
        """What s_{t-1} becomes in s_t, z_t integrated out."""
        return self.decay + self.gain @ self.prior

    @property
    def process(self):
        """The covariance that z_t leaves in s_t."""
        return self.prior_scale**2 * self.gain @ self.gain.T

    def offsets(self, fields):
        """What r_t adds to the means of z_t, s_t (given z_t) and x_t, from x_1..x_T and perhaps d_1..d_T beside it."""
        x, side = fields[..., :2], fields[..., 2:]
        if self.family in ("zforcing", "storn"):
            side = torch.cat([torch.zeros_like(x[..., :1, :, :]), x[..., :-1, :, :]], -3)
        return (
            side @ self.prior_side.T + self.prior_bias,
            side @ self.steer.T,
            side @ self.observe_side.T + self.observe_bias,
        )


def linear_model(family: str, full_prior: bool = False) -> StochasticRNN:
    """A member of the family in double precision, z and x of two units."""
    torch.manual_seed(0)
    reads, feature = {
        "zforcing": ({"hidden": 2, "input": 2}, 2),
        "storn": ({}, 2),
        "srnn": ({"latent": 2, "hidden": DETERMINISTIC}, DETERMINISTIC + 2),
        "dmm": ({"latent": 2}, 2),
    }[family]
    transition = {
        "zforcing": SteeredTransition,
        "storn": SteeredTransition,
        "srnn": lambda: DeterministicTransition(2, 2, DETERMINISTIC, learn_initial_state=True),
        "dmm": lambda: MarkovTransition(2, learn_initial_state=True),
    }[family]()
    prior = Affine(reads, 0.8, full_prior) if reads else StandardNormal(2)
    model = StochasticRNN(nn.Identity(), transition, prior, Affine({"feature": feature}, 0.6)).double()
    for name, parameter in transition.named_parameters():
        if name.startswith("initial"):
            parameter.data = torch.randn_like(parameter)
    return model


def chain_of(family: str, model: StochasticRNN) -> Chain:
    """The matrices of a model that `linear_model` made."""
    transition, prior = model.transition, model.prior
    zeros, eye = torch.zeros(2, 2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    side = torch.zeros(2, SIDE[family], dtype=torch.float64)
    if family in ("zforcing", "storn"):
        recursion = (part.detach() for part in (transition.decay, transition.gain, transition.steer))
        start, own, other = zeros[0], "hidden", "input"
    else:
        recursion = zeros, eye, side
        start, own, other = transition.initial_latent.detach(), "latent", "hidden"
    before = (zeros, side, zeros[0], 1.0)
    if family != "storn":
        before = prior.weight(own), prior.weight(other), prior.map.bias.detach(), prior.scale
    steered, observe = model.emission.weight("feature").tensor_split([-2], 1)
    steered = steered if steered.shape[1] else side
    after = observe, steered, model.emission.map.bias.detach(), model.emission.scale
    return Chain(family, start, *recursion, *before, *after)


def fields_of(model: StochasticRNN, family: str, batch: SequenceBatch) -> Tensor:
    """x_1..x_T, with d_1..d_T beside it where the family has them, (T, B, size)."""
    if family != "srnn":
        return batch.targets
    return torch.cat([batch.targets, model.transition.known(batch.inputs).hidden.detach()], -1)


def exact_likelihoods(model: StochasticRNN, family: str, batch: SequenceBatch) -> Tensor:
    """log p(x) of every sequence, (B,), by a Kalman filter over s_t."""
    chain = chain_of(family, model)
    prior, shift, observed = chain.offsets(fields_of(model, family, batch))
    drift = prior @ chain.gain.T + shift
    noise = chain.noise**2 * torch.eye(2, dtype=torch.float64)
    matrices = chain.step, chain.process, chain.observe, noise
    return torch.stack(
        [
            filtered(batch.targets[:n, b] - observed[:n, b], *matrices, drift=drift[:n, b], start=chain.start)
            for b, n in enumerate(batch.lengths.tolist())
        ]
    )


def integral_of_quadratic(function, size: int) -> Tensor:
    """The logarithm of the integral of exp(f) over all of R^size, f quadratic with a maximum."""
    zero = torch.zeros(size, dtype=torch.float64)
    gradient = torch.autograd.functional.jacobian(function, zero)
    curvature = -torch.autograd.functional.hessian(function, zero)
    top = function(zero) + 0.5 * gradient @ torch.linalg.solve(curvature, gradient)
    return top + 0.5 * (size * math.log(2 * math.pi) - curvature.logdet())


class InformationFilter(Encoder):
    """e_t, L_t and the offsets of each step: p(x_t .. x_n | s_t = s) is proportional to exp(s' e_t - s' L_t s / 2)."""

    size = 10

    def __init__(self, chain):
        super().__init__()
        self.chain = chain

    def forward(self, embedded, lengths):
        chain = self.chain
        prior, shift, observed = chain.offsets(embedded)
        drift = prior @ chain.gain.T + shift
        real = (torch.arange(len(prior)).unsqueeze(1) < lengths).double()
        linear = (embedded[..., :2] - observed) @ chain.observe / chain.noise**2 * real.unsqueeze(-1)
        precision = chain.observe.T @ chain.observe / chain.noise**2 * real[..., None, None]
        for t in reversed(range(len(prior) - 1)):
            later = self.before(precision[t + 1], linear[t + 1], drift[t + 1])
            precision[t] += later[0]
            linear[t] += later[1]
        return torch.cat([linear, precision.flatten(-2), prior, shift], -1)

    def before(self, precision, linear, drift):
        """What is known of s_t of what comes after it, from what is known of s_{t+1}."""
        step, process = self.chain.step, self.chain.process
        shrink = (torch.eye(2, dtype=torch.float64) + precision @ process).inverse()
        residual = linear - (precision @ drift.unsqueeze(-1)).squeeze(-1)
        return step.T @ shrink @ precision @ step, (shrink @ residual.unsqueeze(-1)).squeeze(-1) @ step


class ExactPosterior(Conditional):
    """p(z_t | s_{t-1}, x_t .. x_n)."""

    def __init__(self, chain):
        super().__init__("latent" if chain.family in ("srnn", "dmm") else "hidden", "encoding")
        self.chain = chain

    def forward(self, context):
        chain = self.chain
        state = self.gather(context, self.reads[:1])
        linear, known, prior, shift = context.encoding.tensor_split([2, 6, 8], -1)
        known = known.unflatten(-1, (2, 2))
        weight = chain.prior_scale**-2
        precision = weight * torch.eye(2, dtype=torch.float64) + chain.gain.T @ known @ chain.gain
        residual = linear - (known @ (state @ chain.decay.T + shift).unsqueeze(-1)).squeeze(-1)
        pull = weight * (state @ chain.prior.T + prior) + residual @ chain.gain
        mean = torch.linalg.solve(precision, pull.unsqueeze(-1)).squeeze(-1)
        return dist.MultivariateNormal(mean, precision_matrix=precision)


def exact_guide(model: StochasticRNN, family: str) -> Guide:
    """The guide that is the posterior."""
    chain = chain_of(family, model)
    reads = ("hidden",) if family == "srnn" else ()
    return Guide(model, InformationFilter(chain), ExactPosterior(chain), encoder_reads=reads)
