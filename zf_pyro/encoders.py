"""Networks over the targets, which tell the guide what x_t is, what came before it, or what is to come."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from zf_pyro.transitions.base import RecurrentInit, initialise_recurrent, run_over


def reverse_by_length(sequences: Tensor, lengths: Tensor) -> Tensor:
    """Reverse the real steps of each sequence and leave its padding where it is. Its own inverse.

    Args:
        sequences: (..., T, B, D).
        lengths: (B,) integers, at most T.
    """
    steps = torch.arange(sequences.shape[-3], device=sequences.device).unsqueeze(1)
    source = torch.where(steps < lengths, lengths - 1 - steps, steps)
    rows = source * len(lengths) + torch.arange(len(lengths), device=sequences.device)
    return Swap.apply(sequences, rows.flatten())


class Swap(Function):
    """The rows of sequences (..., T, B, D) in another order that is its own inverse, hence its own gradient."""

    @staticmethod
    def forward(ctx: Any, sequences: Tensor, rows: Tensor) -> Tensor:
        """Row `rows[i]` of each T * B rows comes to the place i."""
        ctx.save_for_backward(rows)
        return sequences.flatten(-3, -2).index_select(-2, rows).view(sequences.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """The same once more."""
        return Swap.apply(gradient, *ctx.saved_tensors), None


class Encoder(nn.Module):
    """What a guide asks of its encoder.

    Attributes:
        size: units of the encoding of a step.
        runs_backward: whether a part of it, `backward_state`, is the state of a network running backward.
    """

    size: int
    runs_backward = False

    def forward(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """The encoding of every step, (..., T, B, size).

        Args:
            embedded: the embedded targets, and perhaps more beside them, (..., T, B, E).
            lengths: (B,).
        """
        raise NotImplementedError

    def backward_state(self, encoding: Tensor) -> Tensor:
        """b_1..b_T, (..., T, B, H), which the auxiliary reconstructs."""
        raise NotImplementedError


class RecurrentEncoder(Encoder):
    """What `ForwardEncoder` and `BackwardEncoder` share: an LSTM."""

    def __init__(self, input_size: int, hidden_size: int, *, recurrent_init: RecurrentInit = "orthogonal") -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_size, hidden_size)
        initialise_recurrent(self.lstm.get_parameter("weight_hh_l0"), recurrent_init)
        self.size = hidden_size


class BackwardEncoder(RecurrentEncoder):
    """b_t = LSTM backwards over x_T .. x_t: b_t has seen x_t and the whole future, and no padding.

    Args:
        input_size: E, of the embedded targets.
        hidden_size: H, of b_t.
        recurrent_init: as in `LSTMTransition`.
    """

    runs_backward = True

    def forward(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """b_1..b_T (..., T, B, H) from the embedded targets (..., T, B, E) and their lengths (B,)."""
        return reverse_by_length(run_over(self.lstm, reverse_by_length(embedded, lengths)), lengths)

    def backward_state(self, encoding: Tensor) -> Tensor:
        """All of it."""
        return encoding


class ForwardEncoder(RecurrentEncoder):
    """f_t = LSTM over x_1 .. x_t: f_t has seen x_t and what came before it.

    Args:
        input_size: E, of the embedded targets.
        hidden_size: H, of f_t.
        recurrent_init: as in `LSTMTransition`.
    """

    def forward(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """f_1..f_T (..., T, B, H) from the embedded targets (..., T, B, E)."""
        return run_over(self.lstm, embedded)


class BidirectionalEncoder(Encoder):
    """[f_t, b_t], of a forward and a backward LSTM: every step has seen the whole sequence.

    Args:
        input_size: E, of the embedded targets.
        hidden_size: H, of each of the two.
        recurrent_init: as in `LSTMTransition`.
    """

    runs_backward = True

    def __init__(self, input_size: int, hidden_size: int, *, recurrent_init: RecurrentInit = "orthogonal") -> None:
        super().__init__()
        self.past = ForwardEncoder(input_size, hidden_size, recurrent_init=recurrent_init)
        self.future = BackwardEncoder(input_size, hidden_size, recurrent_init=recurrent_init)
        self.size = 2 * hidden_size

    def forward(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """[f_t, b_t] of every step, (..., T, B, 2H), from the embedded targets (..., T, B, E)."""
        return torch.cat([self.past(embedded, lengths), self.future(embedded, lengths)], -1)

    def backward_state(self, encoding: Tensor) -> Tensor:
        """b_t, (..., T, B, H)."""
        return encoding[..., self.past.size :]


class TargetEncoder(Encoder):
    """The embedded target x_t of the step, and nothing of other steps: for a filtering posterior.

    Args:
        input_size: E, of the embedded targets.
    """

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.size = input_size

    def forward(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """The embedded targets themselves."""
        return embedded
