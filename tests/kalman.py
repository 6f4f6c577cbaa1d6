"""A linear-Gaussian member of the family, for which the likelihood is known exactly."""

import math
from typing import NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zf_pyro import (
    BackwardEncoder,
    Conditional,
    Context,
    DiagonalGaussian,
    Guide,
    SequenceBatch,
    StochasticRNN,
    ZForcingELBO,
)
from zf_pyro.paths import Form
from zf_pyro.scopes import local_parameters
from zf_pyro.transitions import Transition

HIDDEN = 2


class State(NamedTuple):
    hidden: Tensor


class LinearTransition(Transition):
    """h_t = A h_{t-1} + B z_t; the input has no say."""

    def __init__(self):
        super().__init__()
        self.decay = nn.Parameter(torch.tensor([[0.9, 0.2], [-0.1, 0.7]]))
        self.gain = nn.Parameter(torch.tensor([[1.0, 0.3], [0.0, 0.8]]))

    def initial(self, num_sequences):
        return State(self.decay.new_zeros(num_sequences, HIDDEN))

    def prepare(self, embedded):
        return State(embedded)

    def predict(self, state, prepared):
        return Context(hidden=state.hidden, input=prepared.hidden)

    def update(self, state, context, latent):
        hidden = state.hidden @ self.decay.T + latent @ self.gain.T
        return State(hidden), hidden


class Linear(Conditional):
    """N(W field, scale^2 I)."""

    def __init__(self, field, weight, scale):
        super().__init__(field)
        self.weight, self.scale = nn.Parameter(torch.tensor(weight)), scale

    def forward(self, context):
        return dist.Normal(self.gather(context) @ self.weight.T, self.scale).to_event(1)


def linear_pair() -> tuple[StochasticRNN, Guide]:
    """The model, two-dimensional in h, z and x, and an untrained guide whose posterior is linear in h and b."""
    torch.manual_seed(0)
    prior = Linear("hidden", [[0.5, 0.0], [0.2, -0.3]], 0.8)
    emission = Linear("feature", [[1.0, 0.5], [-0.4, 1.0]], 0.7)
    model = StochasticRNN(nn.Identity(), LinearTransition(), prior, emission).double()
    encoder = BackwardEncoder(2, 16)
    posterior = DiagonalGaussian({"hidden": HIDDEN, "encoding": 16}, 2)
    auxiliary = DiagonalGaussian({"latent": 2}, 16, mean="tanh")
    return model, Guide(model, encoder, posterior, auxiliary=auxiliary).double()


def generate(
    model: StochasticRNN, num_sequences: int, num_steps: int, dtype: torch.dtype = torch.float64
) -> SequenceBatch:
    """Sequences from the model itself, of lengths num_steps, num_steps - 1, .. 1 and again."""
    start = SequenceBatch.start(torch.zeros(num_sequences, 2, dtype=dtype), num_steps)
    with torch.no_grad(), local_parameters():
        targets = model(start)
    lengths = num_steps - torch.arange(num_sequences) % num_steps
    mask = torch.arange(num_steps).unsqueeze(1) < lengths
    targets = targets * mask.unsqueeze(-1)
    return SequenceBatch(torch.cat([start.inputs, targets[:-1]]), targets, mask)


def train_guide(
    model: StochasticRNN,
    guide: Guide,
    steps: int = 400,
    *,
    rate: float = 0.02,
    num_sequences: int = 64,
    num_steps: int = 4,
    form: Form = "step",
) -> None:
    """Fit the guide, and only it, to fresh sequences of the model."""
    optimizer = torch.optim.Adam(guide.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    loss = ZForcingELBO(count=num_sequences)(model, guide)
    with local_parameters():
        for _ in range(steps):
            optimizer.zero_grad()
            loss(generate(model, num_sequences, num_steps), form=form).backward()
            optimizer.step()
            schedule.step()


def exact_log_likelihood(model: StochasticRNN, batch: SequenceBatch) -> Tensor:
    """log p(x) of every sequence, (B,), by a Kalman filter over h_t."""
    transition, prior, emission = model.transition, model.prior, model.emission
    with torch.no_grad():
        step = transition.decay + transition.gain @ prior.weight
        process = transition.gain @ transition.gain.T * prior.scale**2
        observe, noise = emission.weight, emission.scale**2 * torch.eye(2, dtype=torch.float64)
        return torch.stack(
            [
                filtered(batch.targets[:n, b], step, process, observe, noise)
                for b, n in enumerate(batch.lengths.tolist())
            ]
        )


def filtered(
    x: Tensor,
    step: Tensor,
    process: Tensor,
    observe: Tensor,
    noise: Tensor,
    drift: Tensor | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """log p(x_1..x_T) for h_t = step h_{t-1} + drift_t + N(0, process), x_t = observe h_t + N(0, noise), h_0 = start.

    Drift and start are zero where they are not given.
    """
    mean, covariance = torch.zeros_like(x[0]) if start is None else start, torch.zeros(2, 2, dtype=torch.float64)
    total = torch.zeros((), dtype=torch.float64)
    for value, shift in zip(x, torch.zeros_like(x) if drift is None else drift, strict=True):
        mean, covariance = step @ mean + shift, step @ covariance @ step.T + process
        innovation, spread = value - observe @ mean, observe @ covariance @ observe.T + noise
        gain = covariance @ observe.T @ spread.inverse()
        total -= 0.5 * (innovation @ spread.inverse() @ innovation + spread.logdet() + 2 * math.log(2 * math.pi))
        mean, covariance = mean + gain @ innovation, covariance - gain @ observe @ covariance
    return total
