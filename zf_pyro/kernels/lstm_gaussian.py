"""An LSTM along the path that a Gaussian posterior draws from h_{t-1}: values and gradient, written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from zf_pyro.kernels.gradient import Carry, Inner, Outer, as_rows, go_back, weight_gradients
from zf_pyro.kernels.window import LENGTH, Clips, Weights, Window


def columns(x: Tensor) -> Tensor:
    """A view (T, size, K, B) of sequences (K, T, B, size)."""
    return x.permute(1, 3, 0, 2)


def gapless(x: Tensor, part: slice) -> Tensor:
    """Some steps of sequences (K, T, B, size), as (steps, size, K B)."""
    return columns(x)[part].flatten(2).contiguous()


def as_columns(state: Tensor) -> Tensor:
    """A state (K, B, H) as (H, K B)."""
    return state.permute(2, 0, 1).flatten(1)


def as_state(state: Tensor, particles: int) -> Tensor:
    """A state (H, K B) as (K, B, H)."""
    return state.unflatten(1, (particles, -1)).permute(1, 2, 0).contiguous()


def windows(steps: int) -> Iterator[slice]:
    """The steps of each window."""
    return (slice(first, min(steps, first + LENGTH)) for first in range(0, steps, LENGTH))


class LSTMGaussian(Function):
    """z_t, h_t, and m_t beside v_t, (K, T, B, size), and c_T, (K, B, H), of the formulas in `zf_pyro.kernels.window`.

    The gradient cannot be differentiated once more.
    """

    @staticmethod
    def forward(
        ctx: Any,
        with_gradients: bool,
        clips: Clips,
        noise: Tensor,
        hidden_base: Tensor,
        gates_base: Tensor,
        hidden: Tensor,
        cell: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, ...]:
        """Run along the path.

        Args:
            ctx: autograd's.
            with_gradients: whether gradients are wanted.
            clips: the bounds of the formulas.
            noise: e_t, (K, T, B, Z).
            hidden_base: base_t, (K, T, B, M) or (1, T, B, M).
            gates_base: base'_t, (K, T, B, 4H) or (1, T, B, 4H).
            hidden: h_0, (K, B, H).
            cell: c_0, (K, B, H).
            weights: the fields of `Weights` that there are.
        """
        shared = Weights(*weights)
        particles, steps, sequences, latent_size = noise.shape
        sizes = latent_size, hidden.shape[-1], 2 * latent_size
        latents, states, laws = (noise.new_empty(particles, steps, sequences, size) for size in sizes)
        keep = with_gradients and any(ctx.needs_input_grad)
        kept: list[Tensor] = []
        state = as_columns(hidden), as_columns(cell)
        for part in windows(steps):
            window = Window.empty(shared, gapless(noise, part))
            for buffer, base in ((window.hidden, hidden_base), (window.gates, gates_base)):
                ours = columns(base)[part]
                if particles > 1:
                    ours = ours.contiguous()  # turned once, not for every particle
                buffer.unflatten(2, (particles, sequences)).copy_(ours)
            window.start(*state)
            window.run(shared, clips)
            for output, found in ((latents, window.latents), (states, window.states[1:]), (laws, window.law)):
                columns(output)[part].copy_(found.unflatten(2, (particles, sequences)))
            state = window.states[-1], window.cells[-1]
            if keep:
                kept += window
        ctx.clips, ctx.shapes = clips, (hidden_base.shape, gates_base.shape, particles)
        ctx.save_for_backward(*kept, *weights)
        return latents, states, laws, as_state(window.cells[-1], particles)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of all arguments but the noise."""
        hidden_shape, gates_shape, particles = ctx.shapes
        _, steps, sequences, _ = gradients[0].shape
        parts = list(windows(steps))
        saved = ctx.saved_tensors
        size = len(Window._fields)
        weights = Weights(*saved[len(parts) * size :])
        bases = gradients[0].new_empty(hidden_shape), gradients[0].new_empty(gates_shape)
        *of_steps, of_cell = gradients
        cell = as_columns(of_cell).clone(memory_format=torch.contiguous_format)
        carry = Carry(torch.zeros_like(cell), cell)
        total: list[Tensor] = []
        for number, part in reversed(list(enumerate(parts))):
            window = Window(*saved[number * size : (number + 1) * size])
            outer = Outer(*(gapless(each, part) for each in of_steps))
            found = go_back(window, weights, ctx.clips, outer, carry)
            found = Inner(*(None if each is None else as_rows(each) for each in found))  # type: ignore[arg-type]
            for base, gradient in zip(bases, (found.hidden, found.gates), strict=True):
                place = base[:, part]
                by_particle = gradient.unflatten(0, (-1, particles, sequences)).transpose(0, 1)
                place.copy_(by_particle.sum_to_size(place.shape))
            total = add_up(total, weight_gradients(window, found))
        return None, None, None, *bases, *(as_state(each, particles) for each in carry), *total


def add_up(total: list[Tensor], more: list[Tensor]) -> list[Tensor]:
    """The sums of two lists, the first of which may be empty, and is overwritten."""
    return [ours.add_(theirs) for ours, theirs in zip(total, more, strict=True)] if total else more
