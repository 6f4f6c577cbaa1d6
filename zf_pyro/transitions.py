"""The deterministic recursion, in two halves with the draw of z_t between them.

    prepared           = transition.prepare(embed(u))             what needs no z: any number of steps at once
    context_t          = transition.predict(state_{t-1}, prepared_t)
    state_t, feature_t = transition.update(state_{t-1}, context_t, z_t)

Every tensor may have particles in front of its batch dimension.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from zf_pyro.conditionals import ClippedLeakyReLU, Context, add_linear

RecurrentInit = Literal["orthogonal", "uniform"]


class Transition(Protocol):
    """What a model asks of its transition. States and prepared quantities are NamedTuples of tensors."""

    def initial(self, num_sequences: int) -> Any:
        """state_0, each part (B, size)."""

    def prepare(self, embedded: Tensor) -> Any:
        """What needs no z, from the embedded inputs (..., B, E), each part (..., B, size)."""

    def predict(self, state: Any, prepared: Any) -> Context:
        """What the prior and the posterior of step t may read."""

    def update(self, state: Any, context: Context, latent: Tensor) -> tuple[Any, Tensor]:
        """state_t and the feature that the emission reads, given z_t (..., B, Z)."""


def unbind_steps(prepared: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
    """The steps of a prepared NamedTuple whose parts are (..., T, B, size)."""
    return map(type(prepared)._make, zip(*(part.unbind(-3) for part in prepared), strict=True))  # type: ignore[attr-defined]


class LSTMState(NamedTuple):
    """h_t and c_t, each (..., B, H)."""

    hidden: Tensor
    cell: Tensor


class Prepared(NamedTuple):
    """The embedded input (..., B, E) and its share of the four gates (..., B, 4H)."""

    input: Tensor
    gates: Tensor


class LSTMTransition(nn.Module):
    """h_t, c_t = LSTM(h_{t-1}, c_{t-1}; embed(u_t), z_t), the transition of the paper.

    The gates are W embed(u_t) + V f(z_t) + U h_{t-1} + a. f is the identity (the authors' speech and image models)
    or one hidden layer (their text model).

    Args:
        input_size: E.
        latent_size: Z.
        hidden_size: H.
        latent_hidden: units of the hidden layer on z_t; None for none.
        recurrent_init: "orthogonal" draws each of the four blocks of U orthogonal, "uniform" is PyTorch's own.
        learn_initial_state: learn h_0 and c_0 (starting at zero) instead of keeping them zero.
        activation: of the hidden layer on z_t, `ClippedLeakyReLU()` by default.
    """

    def __init__(
        self,
        input_size: int,
        latent_size: int,
        hidden_size: int,
        *,
        latent_hidden: int | None = None,
        recurrent_init: RecurrentInit = "orthogonal",
        learn_initial_state: bool = False,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.from_input = nn.Linear(input_size, 4 * hidden_size)
        self.recurrent = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        self.from_latent: nn.Module = nn.Linear(latent_hidden or latent_size, 4 * hidden_size, bias=False)
        if latent_hidden is not None:
            layer = nn.Linear(latent_size, latent_hidden)
            self.from_latent = nn.Sequential(layer, activation or ClippedLeakyReLU(), self.from_latent)
        initialise_recurrent(self.recurrent.weight, recurrent_init)
        nn.init.zeros_(self.from_input.bias)
        initial = torch.zeros(2, hidden_size)
        self.initial_state = nn.Parameter(initial) if learn_initial_state else None
        self.hidden_size = hidden_size

    def initial(self, num_sequences: int) -> LSTMState:
        """h_0 and c_0, each (B, H)."""
        if self.initial_state is None:
            zeros = self.recurrent.weight.new_zeros(num_sequences, self.hidden_size)
            return LSTMState(zeros, zeros)
        hidden, cell = self.initial_state
        return LSTMState(hidden.expand(num_sequences, -1), cell.expand(num_sequences, -1))

    def prepare(self, embedded: Tensor) -> Prepared:
        """The inputs' share of the gates, from (..., B, E)."""
        return Prepared(embedded, self.from_input(embedded))

    def predict(self, state: LSTMState, prepared: Prepared) -> Context:
        """h_{t-1} and the embedded input."""
        return Context(hidden=state.hidden, input=prepared.input, prepared=prepared.gates)

    def update(self, state: LSTMState, context: Context, latent: Tensor) -> tuple[LSTMState, Tensor]:
        """One step of the LSTM; the emission reads h_t."""
        *layers, last = self.from_latent if isinstance(self.from_latent, nn.Sequential) else (self.from_latent,)
        for layer in layers:
            latent = layer(latent)
        gates = add_linear(context.prepared, latent, last.weight)
        gates = add_linear(gates, state.hidden, self.recurrent.weight)
        enter, forget, candidate, leave = gates.chunk(4, -1)
        cell = forget.sigmoid() * state.cell + enter.sigmoid() * candidate.tanh()
        hidden = leave.sigmoid() * cell.tanh()
        return LSTMState(hidden, cell), hidden


def initialise_recurrent(weight: Tensor, how: RecurrentInit) -> None:
    """Draw the recurrent weights (4H, H) of an LSTM in place: four orthogonal blocks, or PyTorch's uniform law."""
    hidden_size = weight.shape[1]
    for block in weight.split(hidden_size):
        if how == "orthogonal":
            nn.init.orthogonal_(block)
        else:
            nn.init.uniform_(block, -(hidden_size**-0.5), hidden_size**-0.5)
