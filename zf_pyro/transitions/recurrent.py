"""Recurrent networks of which z_t is an input: h_t is made after z_t was drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import hardtanh, layer_norm

from zf_pyro.conditionals import (
    ClippedLeakyReLU,
    Context,
    chain,
    in_loop,
    is_plain,
    is_plain_matrix,
    layers,
    perceptron,
)
from zf_pyro.loops import loop_linear
from zf_pyro.transitions.base import RecurrentInit, Transition, initialise_recurrent


class Prepared(NamedTuple):
    """The embedded input (..., B, E), and the gates (..., B, gates * H) as a function of z_t and h_{t-1}."""

    input: Tensor
    gates: Callable[[Tensor, Tensor], Any]


class RecurrentTransition(Transition):
    """What the networks below share: the layers, the first state, and the contexts.

    Args:
        input_size: E.
        latent_size: Z.
        hidden_size: H.
        gates: blocks of H units that a step computes.
        parts: tensors of H units that a state holds, the first of them h_t.
        latent_hidden: units of the hidden layer on z_t; None for none.
        recurrent_init: "orthogonal" draws each block of the recurrent weights orthogonal, "uniform" is PyTorch's own.
        learn_initial_state: learn the first state (starting at zero) instead of keeping it zero.
        activation: of the hidden layer on z_t, `ClippedLeakyReLU()` by default.
    """

    def __init__(
        self,
        input_size: int,
        latent_size: int,
        hidden_size: int,
        *,
        gates: int,
        parts: int,
        latent_hidden: int | None = None,
        recurrent_init: RecurrentInit = "orthogonal",
        learn_initial_state: bool = False,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.from_input: Any = self.input_map(input_size, gates * hidden_size)
        self.recurrent = nn.Linear(hidden_size, gates * hidden_size, bias=False)
        self.from_latent = self.latent_map(latent_size, gates * hidden_size, latent_hidden, activation)
        initialise_recurrent(self.recurrent.weight, recurrent_init)
        initial = torch.zeros(parts, hidden_size)
        self.initial_state = nn.Parameter(initial) if learn_initial_state else None
        self.parts, self.hidden_size, self.latent_size = parts, hidden_size, latent_size

    def input_map(self, inputs: int, outputs: int) -> nn.Module:
        """The map of embed(u_t) into the gates: linear, its bias zero at first."""
        layer = nn.Linear(inputs, outputs)
        nn.init.zeros_(layer.bias)
        return layer

    def latent_map(self, inputs: int, outputs: int, hidden: int | None, activation: nn.Module | None) -> nn.Module:
        """The map of z_t into the gates: linear, or with a hidden layer, and without a bias of its own."""
        last = nn.Linear(hidden or inputs, outputs, bias=False)
        if hidden is None:
            return last
        return nn.Sequential(nn.Linear(inputs, hidden), activation or ClippedLeakyReLU(), last)

    def initial_parts(self, num_sequences: int) -> list[Tensor]:
        """What a state holds before the first step, each (B, H), and z_0 = 0, (B, Z)."""
        zeros = self.recurrent.weight.new_zeros
        latent = zeros(num_sequences, self.latent_size)
        if self.initial_state is None:
            return [zeros(num_sequences, self.hidden_size)] * self.parts + [latent]
        return [*(part.expand(num_sequences, -1) for part in self.initial_state), latent]

    def known(self, embedded: Tensor) -> Context:
        """The embedded inputs."""
        return Context(input=embedded)

    def prepare(self, embedded: Tensor) -> Prepared:
        """The inputs' share of the gates, from (..., B, E)."""
        return Prepared(embedded, partial(self.gates, self.from_input(embedded)))

    def gates(self, from_input: Tensor, latent: Tensor, hidden: Tensor) -> Any:
        """The gates of one step."""
        raise NotImplementedError

    def predict(self, state: Any, prepared: Prepared) -> Context:
        """h_{t-1}, z_{t-1} and the embedded input."""
        return Context(hidden=state.hidden, latent=state.latent, input=prepared.input, prepared=prepared.gates)


class LSTMState(NamedTuple):
    """h_t and c_t, each (..., B, H), and z_t, (..., B, Z)."""

    hidden: Tensor
    cell: Tensor
    latent: Tensor


class LSTMTransition(RecurrentTransition):
    """h_t, c_t = LSTM(h_{t-1}, c_{t-1}; embed(u_t), z_t), the transition of the paper.

    The gates are W embed(u_t) + V f(z_t) + U h_{t-1} + a. f is the identity (the authors' speech and image models)
    or one hidden layer (their text model).

    Args as of `RecurrentTransition`, without `gates` and `parts`.
    """

    def __init__(self, input_size: int, latent_size: int, hidden_size: int, **options: Any) -> None:
        super().__init__(input_size, latent_size, hidden_size, gates=4, parts=2, **options)

    def initial(self, num_sequences: int) -> LSTMState:
        """h_0 and c_0, each (B, H), and z_0."""
        return LSTMState(*self.initial_parts(num_sequences))

    def gates(self, from_input: Tensor, latent: Tensor, hidden: Tensor) -> Tensor:
        """The four gates of one step, (..., B, 4H)."""
        return from_input + self.from_latent(latent) + self.recurrent(hidden)

    def over_steps(self, embedded: Tensor, known: Context) -> Iterable[Prepared]:
        """As `prepare`, a step at a time for (..., T, B, E), with the weights' gradients taken after the loop."""
        *first, last = layers(self.from_latent)
        if not (is_plain(self.from_latent) and is_plain_matrix(last) and is_plain_matrix(self.recurrent)):
            return super().over_steps(embedded, known)
        latent_layers = chain(*map(in_loop, first))
        weight = torch.cat([last.weight, self.recurrent.weight], 1)
        product = loop_linear(self.from_input(embedded), weight)

        def gates(latent: Tensor, hidden: Tensor) -> Tensor:
            return product(torch.cat([latent_layers(latent), hidden], -1))

        return (Prepared(each, gates) for each in embedded.unbind(-3))

    def update(self, state: LSTMState, context: Context, latent: Tensor) -> tuple[LSTMState, Tensor]:
        """One step of the LSTM; the emission reads h_t."""
        enter, forget, candidate, leave = context.prepared(latent, state.hidden).chunk(4, -1)
        cell = torch.addcmul(forget.sigmoid() * state.cell, enter.sigmoid(), candidate.tanh())
        hidden = leave.sigmoid() * cell.tanh()
        return LSTMState(hidden, cell, latent), hidden


class LayerNormLSTMTransition(LSTMTransition):
    """An LSTM whose recurrent gates are normalised, and shifted and scaled by z_t: `cond_ln` of the authors' code.

    The gates are LN(W embed(u_t)) + (1 + g) * norm(U h_{t-1}) + s, where norm has mean 0 and variance 1 over the 4H
    units, LN has a learned scale and shift besides, and (g, s) is a perceptron on z_t, clipped to plus and minus 3.

    Args as of `RecurrentTransition`, without `gates` and `parts`; `latent_hidden` is H where it is None.
    """

    BOUND = 3.0

    def input_map(self, inputs: int, outputs: int) -> nn.Module:
        """A linear map without bias, and its layer norm."""
        return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.LayerNorm(outputs))

    def latent_map(self, inputs: int, outputs: int, hidden: int | None, activation: nn.Module | None) -> nn.Module:
        """The perceptron that gives scale and shift of all gates."""
        return perceptron(inputs, 2 * outputs, hidden or outputs // 4, activation)

    def gates(self, from_input: Tensor, latent: Tensor, hidden: Tensor) -> Tensor:
        """The four gates of one step, (..., B, 4H)."""
        return self.modulated(from_input, self.from_latent(latent), self.recurrent(hidden))

    def modulated(self, from_input: Tensor, from_latent: Tensor, recurrent: Tensor) -> Tensor:
        """The gates from the three shares in them."""
        gain, shift = hardtanh(from_latent, -self.BOUND, self.BOUND).chunk(2, -1)
        return from_input + torch.addcmul(shift, 1 + gain, layer_norm(recurrent, recurrent.shape[-1:]))

    def over_steps(self, embedded: Tensor, known: Context) -> Iterable[Prepared]:
        """As `prepare`, with the weights' gradients taken after the loop."""
        if not (is_plain(self.from_latent) and is_plain_matrix(self.recurrent)):
            yield from Transition.over_steps(self, embedded, known)
            return
        latent_layers = chain(*map(in_loop, layers(self.from_latent)))
        weight = self.recurrent.weight
        recurrent = loop_linear(weight.new_zeros(weight.shape[0]), weight)

        def gates(from_input: Tensor, latent: Tensor, hidden: Tensor) -> Tensor:
            return self.modulated(from_input, latent_layers(latent), recurrent(hidden))

        for each, from_input in zip(embedded.unbind(-3), self.from_input(embedded).unbind(-3), strict=True):
            yield Prepared(each, partial(gates, from_input))


class GRUState(NamedTuple):
    """h_t, (..., B, H), and z_t, (..., B, Z)."""

    hidden: Tensor
    latent: Tensor


class GRUTransition(RecurrentTransition):
    """h_t = GRU(h_{t-1}; embed(u_t), z_t).

    r, k = sigmoid(W embed(u_t) + V f(z_t) + U h_{t-1} + a)
    h_t  = (1 - k) tanh(W' embed(u_t) + V' f(z_t) + a' + r U' h_{t-1}) + k h_{t-1}

    Args as of `RecurrentTransition`, without `gates` and `parts`.
    """

    def __init__(self, input_size: int, latent_size: int, hidden_size: int, **options: Any) -> None:
        super().__init__(input_size, latent_size, hidden_size, gates=3, parts=1, **options)

    def initial(self, num_sequences: int) -> GRUState:
        """h_0 (B, H), and z_0."""
        return GRUState(*self.initial_parts(num_sequences))

    def gates(self, from_input: Tensor, latent: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """The shares of z_t and the input, and of h_{t-1}, in the three gates of one step, each (..., B, 3H)."""
        return from_input + self.from_latent(latent), self.recurrent(hidden)

    def over_steps(self, embedded: Tensor, known: Context) -> Iterable[Prepared]:
        """As `prepare`, with the weights' gradients taken after the loop."""
        *first, last = layers(self.from_latent)
        if not (is_plain(self.from_latent) and is_plain_matrix(last) and is_plain_matrix(self.recurrent)):
            return super().over_steps(embedded, known)
        latent_layers = chain(*map(in_loop, first))
        weight = self.recurrent.weight
        product = loop_linear(self.from_input(embedded), last.weight)
        recurrent = loop_linear(weight.new_zeros(weight.shape[0]), weight)

        def gates(latent: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
            return product(latent_layers(latent)), recurrent(hidden)

        return (Prepared(each, gates) for each in embedded.unbind(-3))

    def update(self, state: GRUState, context: Context, latent: Tensor) -> tuple[GRUState, Tensor]:
        """One step of the GRU; the emission reads h_t."""
        ours, theirs = (part.chunk(3, -1) for part in context.prepared(latent, state.hidden))
        reset, keep = (ours[0] + theirs[0]).sigmoid(), (ours[1] + theirs[1]).sigmoid()
        candidate = torch.addcmul(ours[2], reset, theirs[2]).tanh()
        hidden = torch.lerp(candidate, state.hidden, keep)
        return GRUState(hidden, latent), hidden
