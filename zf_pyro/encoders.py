"""Recurrent networks over the targets, which tell the guide what is to come."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zf_pyro.transitions import RecurrentInit, initialise_recurrent


def reverse_by_length(sequences: Tensor, lengths: Tensor) -> Tensor:
    """Reverse the real steps of each sequence and leave its padding where it is. Its own inverse.

    Args:
        sequences: (T, B, D).
        lengths: (B,) integers, at most T.
    """
    steps = torch.arange(sequences.shape[0], device=sequences.device).unsqueeze(1)
    source = torch.where(steps < lengths, lengths - 1 - steps, steps)
    return sequences.gather(0, source.unsqueeze(-1).expand_as(sequences))


class BackwardEncoder(nn.Module):
    """b_t = LSTM backwards over x_T .. x_t: b_t has seen x_t and the whole future, and no padding.

    Args:
        input_size: E, of the embedded targets.
        hidden_size: H, of b_t.
        recurrent_init: as in `LSTMTransition`.
    """

    def __init__(self, input_size: int, hidden_size: int, *, recurrent_init: RecurrentInit = "orthogonal") -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_size, hidden_size)
        initialise_recurrent(self.lstm.get_parameter("weight_hh_l0"), recurrent_init)
        self.hidden_size = hidden_size

    def forward(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """b_1..b_T (T, B, H) from the embedded targets (T, B, E) and their lengths (B,)."""
        states, _ = self.lstm(reverse_by_length(embedded, lengths))
        return reverse_by_length(states, lengths)
