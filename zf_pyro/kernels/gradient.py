"""The gradient of a window (see `zf_pyro.kernels.window`), a step after the other from the last to the first.

What multiplies the gradients of a step is made for all its steps at once. The weights' gradients are one product for
the whole window.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from zf_pyro.kernels.window import Clips, Weights, Window, cell_slopes


class Carry(NamedTuple):
    """The gradients of h and c between two steps, each (H, R), which a window overwrites."""

    hidden: Tensor
    cell: Tensor


class Outer(NamedTuple):
    """The gradients of what the steps give away, (steps, size, R): of z_t, of h_t, and of m_t and v_t."""

    latents: Tensor
    states: Tensor
    law: Tensor


class Inner(NamedTuple):
    """The gradients of a window's linear maps, (steps, size, R).

    Attributes:
        hidden: of A h_{t-1} + base_t.
        law: of m_t and v_t.
        latent: of L z_t + l; None where y_t is z_t.
        gates: of the gates before their sigma and tanh.
    """

    hidden: Tensor
    law: Tensor
    latent: Tensor | None
    gates: Tensor


def go_back(window: Window, weights: Weights, clips: Clips, outer: Outer, carry: Carry) -> Inner:
    """The gradients of a window, given those of what it gave away and of the states after it."""
    by_gates, by_cell = cell_slopes(window)
    by_law = window.law_slopes(clips.bound)
    direct = outer.law.unflatten(1, (2, -1)).unbind()
    found = Inner(
        clips.hidden.derivative(window.hidden),
        torch.empty_like(window.law),
        None if weights.latent is None else clips.latent.derivative(window.made),
        by_gates.flatten(1, 2),
    )
    law, pairs = found.law.unbind(), found.law.unflatten(1, (2, -1)).unbind()
    of_cell, of_leave = by_gates[:, :3].unbind(), by_gates[:, 3].unbind()
    forget = window.gates.chunk(4, 1)[1].unbind()
    inputs = torch.empty_like(window.inputs[0])
    of_made, of_state = inputs.split([len(inputs) - len(carry.hidden), len(carry.hidden)])
    of_latent, state = torch.empty_like(outer.latents[0]), torch.empty_like(carry.hidden)
    for t in reversed(range(len(window.noise))):
        torch.add(outer.states[t], carry.hidden, out=state)
        carry.cell.addcmul_(state, by_cell[t])
        of_cell[t].mul_(carry.cell)
        of_leave[t].mul_(state)
        carry.cell.mul_(forget[t])
        torch.mm(weights.gates.t(), found.gates[t], out=inputs)
        if found.latent is None or weights.latent is None:
            torch.add(outer.latents[t], of_made, out=of_latent)
        else:
            found.latent[t].mul_(of_made)
            torch.addmm(outer.latents[t], weights.latent.t(), found.latent[t], out=of_latent)
        torch.addcmul(direct[t], by_law[t], of_latent, out=pairs[t])
        found.hidden[t].mul_(weights.law.t() @ law[t])
        torch.addmm(of_state, weights.hidden.t(), found.hidden[t], out=carry.hidden)
    return found


def weight_gradients(window: Window, gradients: Inner) -> list[Tensor]:
    """Those of the fields of `Weights` that there are, summed over the window.

    Args:
        window: the steps.
        gradients: as `go_back` gave them, but as rows, (steps R, size).
    """
    latent, inputs = gradients.latent, as_rows(window.inputs[:-1])
    return [
        gradients.gates.t() @ inputs,
        gradients.hidden.t() @ inputs[:, -window.cells.shape[1] :],
        gradients.law.t() @ as_rows(window.hidden),
        gradients.law.sum(0),
        *([] if latent is None else [latent.t() @ as_rows(window.latents), latent.sum(0)]),
    ]


def as_rows(x: Tensor) -> Tensor:
    """(steps, size, R) as (steps R, size)."""
    return x.transpose(1, 2).reshape(-1, x.shape[1])
