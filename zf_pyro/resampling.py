"""Which particles live on: effective sample sizes, systematic resampling, and states rearranged by it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def effective_sizes(log_weights: Tensor) -> Tensor:
    """(sum_k w_k)^2 / sum_k w_k^2 of each sequence, (B,), from log w (K, B)."""
    return 1 / log_weights.softmax(0).square().sum(0)


def ancestors(log_weights: Tensor, resampled: Tensor, uniforms: Tensor) -> Tensor:
    """For each particle the one whose place it takes, (K, B): itself, where a sequence is not resampled.

    Args:
        log_weights: (K, B), up to a constant a sequence.
        resampled: whether a sequence is, (B,) booleans.
        uniforms: of each sequence, (B,), at least 0 and below 1.
    """
    themselves = torch.arange(len(log_weights), device=log_weights.device).unsqueeze(1)
    return torch.where(resampled, systematic(log_weights.softmax(0), uniforms), themselves)


def systematic(weights: Tensor, uniforms: Tensor) -> Tensor:
    """Draw K particles by their weights, with one uniform number a sequence.

    Particle j gets the place (u + j) / K on the line along which the weights are laid out, so that one of weight w
    is drawn floor(K w) or ceil(K w) times, K w times on average. Kitagawa, "Monte Carlo Filter and Smoother for
    Non-Gaussian Nonlinear State Space Models", Journal of Computational and Graphical Statistics, 1996.

    Args:
        weights: (K, B), each column adding up to 1.
        uniforms: u, (B,), at least 0 and below 1.

    Returns:
        (K, B) integers, ascending in each column.
    """
    num_particles = len(weights)
    edges = weights.t().cumsum(1)  # (B, K)
    edges = edges / edges[:, -1:]
    places = (uniforms.unsqueeze(1) + torch.arange(num_particles, device=weights.device)) / num_particles
    return torch.searchsorted(edges, places, right=True).clamp(max=num_particles - 1).t()


def rearranged(state: Any, chosen: Tensor) -> Any:
    """A transition's state with each particle's parts (K, B, size) replaced by those of the chosen ones, (K, B).

    Parts that are the same for all particles are left as they are.
    """
    if isinstance(state, Tensor):
        if state.dim() <= chosen.dim() or state.stride(0) == 0:
            return state
        num_particles, num_sequences = chosen.shape
        rows = chosen * num_sequences + torch.arange(num_sequences, device=chosen.device)
        return state.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, (num_particles, num_sequences))
    parts = [rearranged(part, chosen) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
