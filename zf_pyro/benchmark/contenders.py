"""Programs for one training step of the same model, objective and optimiser.

step_form     the definition: Pyro sites at every time step, recursion in guide and model
path_form     one latent site a sequence, the recursion once, by its kernel where there is one
generic_loop  the path form without a kernel
segments      the path form in segments of `SEGMENT` steps
plain_loop    PyTorch alone, all heads inside the loop over time, as the authors' released programs are written
floor         the path z given, so that `torch.nn.LSTM` runs the recursion and all heads run on (T, B) at once

Nothing with these layers is faster than the floor, which computes something else: it draws no z.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from zf_pyro.benchmark.sizes import Size, build, random_batch
from zf_pyro.conditionals import DiagonalGaussian
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.guides import Guide
from zf_pyro.kernels.choice import generic_loop
from zf_pyro.model import StochasticRNN
from zf_pyro.objectives import ZForcingELBO
from zf_pyro.paths import Form
from zf_pyro.segments import in_segments

ALPHA = BETA = 0.005
SEGMENT = 100


def contenders(size: Size, device: torch.device, names: Iterable[str] | None = None) -> dict[str, Callable[[], None]]:
    """One training step of each program, or of the named ones, on one random batch."""
    model, guide = build(size)
    model, guide = model.to(device), guide.to(device)
    batch = random_batch(size).to(device)
    programs: dict[str, Callable[[], nn.Module]] = {
        "step_form": lambda: InForm(model, guide, "step"),
        "path_form": lambda: InForm(model, guide, "path"),
        "generic_loop": lambda: InForm(model, guide, "path", condition=generic_loop),
        "segments": lambda: InForm(model, guide, "path", condition=partial(in_segments, -(-size.steps // SEGMENT))),
        "plain_loop": lambda: PlainLoop(model, guide),
        "floor": lambda: Floor(model, guide, size).to(device),
    }
    return {name: training_step(programs[name](), batch) for name in names or programs}


def training_step(program: nn.Module, batch: SequenceBatch) -> Callable[[], None]:
    """Loss, gradients and a step of Adam."""
    optimizer = torch.optim.Adam(program.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        program(batch).backward()
        optimizer.step()

    return step


class InForm(nn.Module):
    """The library's own loss in one of the two forms."""

    def __init__(
        self,
        model: StochasticRNN,
        guide: Guide,
        form: Form,
        alpha: float = ALPHA,
        beta: float = BETA,
        condition: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        super().__init__()
        self.loss, self.form, self.condition = ZForcingELBO(alpha, beta)(model, guide), form, condition

    def forward(self, batch: SequenceBatch) -> Tensor:
        """The loss, summed over sequences."""
        with self.condition():
            return self.loss(batch, form=self.form)


class PlainLoop(nn.Module):
    """The same loss without Pyro, a time step after the other."""

    def __init__(self, model: Any, guide: Any) -> None:
        super().__init__()
        self.model, self.guide = model, guide

    def forward(self, batch: Any) -> Tensor:
        """The loss, summed over sequences; every sequence must be whole."""
        model, guide = self.model, self.guide
        embedded = model.embedding(batch.inputs)
        encoding = guide.encoder.lstm(model.embedding(batch.targets).flip(0))[0].flip(0)
        hidden = cell = embedded.new_zeros(batch.num_sequences, model.transition.hidden_size)
        loss = BETA * negative_log(guide.backward, encoding, batch.inputs)
        for t in range(batch.num_steps):
            prior = gaussian(model.prior, hidden)
            posterior = gaussian(guide.posterior, torch.cat([hidden, encoding[t]], -1))
            latent = posterior[0] + torch.exp(0.5 * posterior[1]) * torch.randn_like(posterior[0])
            loss = loss + divergence(posterior, prior)
            loss = loss + ALPHA * gaussian_loss(gaussian(guide.auxiliary, latent), encoding[t].detach())
            hidden, cell = lstm_step(model.transition, embedded[t], latent, hidden, cell)
            loss = loss + negative_log(model.emission, hidden, batch.targets[t])
        return loss


class Floor(nn.Module):
    """The same layers along a path that is given."""

    def __init__(self, model: Any, guide: Any, size: Size) -> None:
        super().__init__()
        self.embedding, self.prior, self.emission = model.embedding, model.prior, model.emission
        self.posterior, self.auxiliary, self.backward_head = guide.posterior, guide.auxiliary, guide.backward
        self.encoder = guide.encoder.lstm
        layers = model.transition.from_latent
        self.latent_layer = layers[:-1] if size.latent_layer else nn.Identity()
        self.lstm = nn.LSTM(size.embedded + (size.mlp if size.latent_layer else size.latent), size.hidden)
        self.register_buffer("path", torch.randn(size.steps, size.sequences, size.latent))

    def forward(self, batch: Any) -> Tensor:
        """The loss, summed over sequences; every sequence must be whole."""
        path = self.get_buffer("path")
        encoding = self.encoder(self.embedding(batch.targets).flip(0))[0].flip(0)
        features = self.lstm(torch.cat([self.embedding(batch.inputs), self.latent_layer(path)], -1))[0]
        hidden = torch.cat([torch.zeros_like(features[:1]), features[:-1]])
        posterior = gaussian(self.posterior, torch.cat([hidden, encoding], -1))
        return (
            negative_log(self.emission, features, batch.targets)
            + divergence(posterior, gaussian(self.prior, hidden))
            + ALPHA * gaussian_loss(gaussian(self.auxiliary, path), encoding.detach())
            + BETA * negative_log(self.backward_head, encoding, batch.inputs)
        )


def lstm_step(transition: Any, embedded: Tensor, latent: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """One step of the model's LSTM, its gates computed where they are needed."""
    gates = transition.from_input(embedded) + transition.from_latent(latent) + transition.recurrent(hidden)
    enter, forget, candidate, leave = gates.chunk(4, -1)
    cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
    return torch.sigmoid(leave) * torch.tanh(cell), cell


def gaussian(head: Any, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log-variance."""
    mean, log_variance = head.network(inputs).clamp(-head.clamp, head.clamp).chunk(2, -1)
    return (mean.tanh() if head.mean == "tanh" else mean), log_variance


def gaussian_loss(law: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
    """-log N(x; mean, exp(log-variance)), summed over everything."""
    mean, log_variance = law
    return 0.5 * (log_variance + (x - mean) ** 2 / log_variance.exp() + math.log(2 * math.pi)).sum()


def divergence(q: tuple[Tensor, Tensor], p: tuple[Tensor, Tensor]) -> Tensor:
    """KL(q || p) of diagonal Gaussians, summed over everything."""
    (m, v), (n, w) = q, p
    return 0.5 * (w - v - 1 + (v.exp() + (m - n) ** 2) / w.exp()).sum()


def negative_log(head: Any, inputs: Tensor, x: Tensor) -> Tensor:
    """-log-probability of x, summed over everything."""
    if isinstance(head, DiagonalGaussian):
        return gaussian_loss(gaussian(head, inputs), x)
    logits = head.network(inputs)
    return cross_entropy(logits.flatten(0, -2), x.flatten(), reduction="sum")
