"""Some consecutive steps of an LSTM and a Gaussian posterior: what they compute, and their gradient.

    a_t        = clip(A h_{t-1} + base_t)                     the posterior's hidden layer
    m_t, v_t   = V a_t + b,   z_t = clip(m_t) + exp(clip(v_t) / 2) e_t
    y_t        = z_t, or clip(L z_t + l)                      on the way into the LSTM
    i, f, g, o = U [y_t, h_{t-1}] + base'_t
    c_t        = sigma(f) c_{t-1} + sigma(i) tanh(g),   h_t = sigma(o) tanh(c_t)

Every tensor here is (steps, size, rows), a row for each particle of each sequence: the products W x of a weight and a
few columns are faster than x W^T, and the four gates of a step lie one after the other, each without gaps. tanh(x) is
2 sigma(2x) - 1, which takes a third of PyTorch's tanh (docs/performance.md).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

LENGTH = 16
"""Steps of a window: enough for products of some size, few enough for a cache."""


class Weights(NamedTuple):
    """The parameters that the steps share.

    Attributes:
        gates: U, (4H, Y + H).
        hidden: A, (M, H).
        law: V, (2Z, M).
        bias: b, (2Z,).
        latent: L, (Y, Z); None where y_t is z_t.
        latent_bias: l, (Y,).
    """

    gates: Tensor
    hidden: Tensor
    law: Tensor
    bias: Tensor
    latent: Tensor | None = None
    latent_bias: Tensor | None = None


class Clip(NamedTuple):
    """max(x, slope * x), clipped to [-bound, bound]."""

    slope: float
    bound: float

    def apply_(self, x: Tensor) -> Tensor:
        """In place."""
        return functional.hardtanh_(functional.leaky_relu_(x, self.slope), -self.bound, self.bound)

    def derivative(self, y: Tensor) -> Tensor:
        """At x, from y = clip(x)."""
        inside = torch.ops.aten.hardtanh_backward(torch.ones_like(y), y, -self.bound, self.bound)
        return torch.ops.aten.leaky_relu_backward(inside, y, self.slope, True)


class Clips(NamedTuple):
    """The clips of the posterior's hidden layer and of the one on z_t, and the bound on m_t and v_t."""

    hidden: Clip
    latent: Clip
    bound: float


class Window(NamedTuple):
    """What the steps start from and leave for their gradient.

    Attributes:
        noise: e_t, (steps, Z, R).
        inputs: [y_t, h_{t-1}], (steps + 1, Y + H, R); of the last only the half of h is filled.
        hidden: base_t, then a_t, (steps, M, R).
        law: m_t and v_t, (steps, 2Z, R).
        latents: z_t, (steps, Z, R).
        gates: base'_t, then the four gates, (steps, 4H, R).
        cells: c_{t-1}, (steps + 1, H, R).
        squashed: tanh(c_t), (steps, H, R).
    """

    noise: Tensor
    inputs: Tensor
    hidden: Tensor
    law: Tensor
    latents: Tensor
    gates: Tensor
    cells: Tensor
    squashed: Tensor

    @classmethod
    def empty(cls, weights: Weights, noise: Tensor) -> Window:
        """One to be filled, for noise (steps, Z, R)."""
        steps, latent_size, rows = noise.shape
        size, width = weights.gates.shape[0] // 4, weights.gates.shape[1]

        def new(steps: int, units: int) -> Tensor:
            return noise.new_empty(steps, units, rows)

        inputs = new(steps + 1, width)
        return cls(
            noise,
            inputs,
            new(steps, len(weights.hidden)),
            new(steps, 2 * latent_size),
            inputs[:-1, :latent_size] if weights.latent is None else new(steps, latent_size),
            new(steps, 4 * size),
            new(steps + 1, size),
            new(steps, size),
        )

    @property
    def made(self) -> Tensor:
        """y_t, (steps, Y, R)."""
        return self.inputs[:-1, : -self.cells.shape[1]]

    @property
    def states(self) -> Tensor:
        """h_{t-1}, (steps + 1, H, R)."""
        return self.inputs[:, -self.cells.shape[1] :]

    def start(self, hidden: Tensor, cell: Tensor) -> None:
        """Set what stands before the first step, each (H, R)."""
        self.states[0].copy_(hidden)
        self.cells[0].copy_(cell)

    def run(self, weights: Weights, clips: Clips) -> None:
        """All steps, the bases being in `hidden` and `gates`."""
        steps, latent_size, _ = self.noise.shape
        made, states, inputs = self.made.unbind(), self.states.unbind(), self.inputs.unbind()
        hidden, law, latents, noise, gates = (
            each.unbind() for each in (self.hidden, self.law, self.latents, self.noise, self.gates)
        )
        cell, bias = Cell(self), weights.bias.unsqueeze(1)
        clipped = torch.empty_like(law[0])
        mean, scale = clipped.split(latent_size)
        for t in range(steps):
            clips.hidden.apply_(hidden[t].addmm_(weights.hidden, states[t]))
            torch.addmm(bias, weights.law, hidden[t], out=law[t])
            torch.clamp(law[t], -clips.bound, clips.bound, out=clipped)
            torch.addcmul(mean, scale.mul_(0.5).exp_(), noise[t], out=latents[t])
            if weights.latent is not None:
                torch.addmm(weights.latent_bias.unsqueeze(1), weights.latent, latents[t], out=made[t])  # type: ignore[union-attr]
                clips.latent.apply_(made[t])
            gates[t].addmm_(weights.gates, inputs[t])
            cell.step(t, states[t + 1])

    def law_slopes(self, bound: float) -> Tensor:
        """The derivatives of z_t by m_t and by v_t, (steps, 2, Z, R)."""
        slopes = torch.ops.aten.hardtanh_backward(torch.ones_like(self.law), self.law, -bound, bound)
        slopes = slopes.unflatten(1, (2, -1))
        scale = self.law[:, self.noise.shape[1] :].clamp(-bound, bound).mul_(0.5).exp_()
        slopes[:, 1].mul_(scale.mul_(self.noise).mul_(0.5))
        return slopes


class Cell:
    """The elementwise half of the LSTM's steps in a window."""

    def __init__(self, window: Window) -> None:
        self.all, self.cells, self.squashed = (each.unbind() for each in (window.gates, window.cells, window.squashed))
        self.enter, self.forget, self.candidate, self.leave = (each.unbind() for each in window.gates.chunk(4, 1))
        self.minus = window.gates.new_tensor(-1.0)

    def step(self, t: int, hidden: Tensor) -> None:
        """The gates of step t, then c_t, and h_t into `hidden`."""
        candidate, cell, squashed = self.candidate[t], self.cells[t + 1], self.squashed[t]
        candidate.mul_(2.0)
        self.all[t].sigmoid_()
        torch.add(self.minus, candidate, alpha=2.0, out=candidate)
        torch.mul(self.forget[t], self.cells[t], out=cell).addcmul_(self.enter[t], candidate)
        torch.mul(cell, 2.0, out=squashed).sigmoid_()
        torch.add(self.minus, squashed, alpha=2.0, out=squashed)
        torch.mul(self.leave[t], squashed, out=hidden)


def cell_slopes(window: Window) -> tuple[Tensor, Tensor]:
    """The derivatives by the gates before their sigma and tanh, (steps, 4, H, R), and of h_t by c_t, (steps, H, R).

    Those of i, f and g are of c_t, that of o is of h_t.
    """
    enter, forget, candidate, leave = window.gates.chunk(4, 1)
    slopes = torch.empty_like(window.gates)
    by_enter, by_forget, by_candidate, by_leave = slopes.chunk(4, 1)
    torch.mul(enter, candidate, out=by_enter)
    torch.addcmul(enter, by_enter, candidate, value=-1, out=by_candidate)
    by_enter.addcmul_(by_enter, enter, value=-1)
    torch.mul(forget, window.cells[:-1], out=by_forget)
    by_forget.addcmul_(by_forget, forget, value=-1)
    torch.mul(leave, window.squashed, out=by_leave)
    by_cell = torch.addcmul(leave, by_leave, window.squashed, value=-1)
    by_leave.addcmul_(by_leave, leave, value=-1)
    return slopes.unflatten(1, (4, -1)), by_cell
