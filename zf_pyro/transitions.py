"""The deterministic recursion, in two halves with the draw of z_t between them.

    prepared_t         = transition.prepare(embed(u_t))           what needs no z; over_steps for all steps at once
    context_t          = transition.predict(state_{t-1}, prepared_t)
    state_t, feature_t = transition.update(state_{t-1}, context_t, z_t)

Every tensor may have particles in front of its batch dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from zf_pyro.conditionals import ClippedLeakyReLU, Context, chain, in_loop, is_plain, is_plain_linear, layers
from zf_pyro.loops import loop_linear

RecurrentInit = Literal["orthogonal", "uniform"]


class Transition(nn.Module):
    """What a model asks of its transition. States are NamedTuples of tensors."""

    def initial(self, num_sequences: int) -> Any:
        """state_0, each part (B, size)."""
        raise NotImplementedError

    def prepare(self, embedded: Tensor) -> Any:
        """What needs no z, from the embedded input of one step, (..., B, E)."""
        raise NotImplementedError

    def over_steps(self, embedded: Tensor) -> Iterable[Any]:
        """What `prepare` gives for each step, from (..., T, B, E).

        A subclass that can do part of the work for all steps at once does it here.
        """
        return map(self.prepare, embedded.unbind(-3))

    def predict(self, state: Any, prepared: Any) -> Context:
        """What the prior and the posterior of step t may read."""
        raise NotImplementedError

    def update(self, state: Any, context: Context, latent: Tensor) -> tuple[Any, Tensor]:
        """state_t and the feature that the emission reads, given z_t (..., B, Z)."""
        raise NotImplementedError


class LSTMState(NamedTuple):
    """h_t and c_t, each (..., B, H)."""

    hidden: Tensor
    cell: Tensor


class Prepared(NamedTuple):
    """The embedded input (..., B, E), and the four gates (..., B, 4H) as a function of z_t and h_{t-1}."""

    input: Tensor
    gates: Callable[[Tensor, Tensor], Tensor]


class LSTMTransition(Transition):
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
        return Prepared(embedded, partial(self.gates, self.from_input(embedded)))

    def gates(self, from_input: Tensor, latent: Tensor, hidden: Tensor) -> Tensor:
        """The gates of one step."""
        return from_input + self.from_latent(latent) + self.recurrent(hidden)

    def over_steps(self, embedded: Tensor) -> Iterable[Prepared]:
        """As `prepare`, a step at a time for (..., T, B, E), with the weights' gradients taken after the loop."""
        *first, last = layers(self.from_latent)
        if not (is_plain(self.from_latent) and is_plain_linear(last) and is_plain_linear(self.recurrent)):
            return super().over_steps(embedded)
        latent_layers = chain(*map(in_loop, first))
        weight = torch.cat([last.weight, self.recurrent.weight], 1)
        product = loop_linear(self.from_input(embedded), weight)

        def gates(latent: Tensor, hidden: Tensor) -> Tensor:
            return product(torch.cat([latent_layers(latent), hidden], -1))

        return (Prepared(each, gates) for each in embedded.unbind(-3))

    def predict(self, state: LSTMState, prepared: Prepared) -> Context:
        """h_{t-1} and the embedded input."""
        return Context(hidden=state.hidden, input=prepared.input, prepared=prepared.gates)

    def update(self, state: LSTMState, context: Context, latent: Tensor) -> tuple[LSTMState, Tensor]:
        """One step of the LSTM; the emission reads h_t."""
        enter, forget, candidate, leave = context.prepared(latent, state.hidden).chunk(4, -1)
        cell = torch.addcmul(forget.sigmoid() * state.cell, enter.sigmoid(), candidate.tanh())
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
