"""A recurrent network that no latent variable has a say in: it runs over all steps at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from zf_pyro.conditionals import Context, beside
from zf_pyro.transitions.base import RecurrentInit, Transition, fold, initialise_recurrent, run_network


class DeterministicState(NamedTuple):
    """What the network holds after step t, (..., B, parts * layers * H), and z_t, (..., B, Z)."""

    network: Tensor
    latent: Tensor


class Advance(NamedTuple):
    """The embedded input, (..., B, E), and what gives d_t and the network's next state from its state before."""

    input: Tensor
    network: Callable[[Tensor], tuple[Tensor, Tensor]]


class DeterministicTransition(Transition):
    """d_t = RNN(d_{t-1}; u_t), which no z has a say in; the emission reads d_t and z_t. The transition of the SRNN.

    With a latent variable of no units it is the plain recurrent network. Fraccaro, Sonderby, Paquet, Winther,
    "Sequential Neural Models with Stochastic Layers", NIPS 2016.

    Args:
        input_size: E.
        latent_size: Z.
        hidden_size: H.
        kind: "gru" or "lstm".
        num_layers: of the network.
        recurrent_init: as in `LSTMTransition`.
        learn_initial_state: learn the network's first state and z_0 (starting at zero) instead of keeping them zero.
    """

    def __init__(
        self,
        input_size: int,
        latent_size: int,
        hidden_size: int,
        *,
        kind: Literal["gru", "lstm"] = "gru",
        num_layers: int = 1,
        recurrent_init: RecurrentInit = "orthogonal",
        learn_initial_state: bool = False,
    ) -> None:
        super().__init__()
        self.network: nn.RNNBase = {"gru": nn.GRU, "lstm": nn.LSTM}[kind](input_size, hidden_size, num_layers)
        for layer in range(num_layers):
            initialise_recurrent(self.network.get_parameter(f"weight_hh_l{layer}"), recurrent_init)
        self.parts = (2 if kind == "lstm" else 1, num_layers)
        self.start_from("initial_network", self.parts[0] * num_layers * hidden_size, learned=learn_initial_state)
        self.start_from("initial_latent", latent_size, learned=learn_initial_state)

    def initial(self, num_sequences: int) -> DeterministicState:
        """The network's first state, and z_0."""
        return DeterministicState(*(self.start(f"initial_{part}", num_sequences) for part in ("network", "latent")))

    def run(self, embedded: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """d_1..d_T (..., T, B, H) and the network's last state, from (..., T, B, E) and the state before."""
        *particles, steps, sequences, _ = embedded.shape
        *particles, sequences = torch.broadcast_shapes((*particles, sequences), state.shape[:-1])
        embedded = embedded.expand(*particles, steps, sequences, embedded.shape[-1])
        state = state.expand(*particles, sequences, state.shape[-1])
        first = state.reshape(-1, *self.parts, self.network.hidden_size).permute(1, 2, 0, 3).contiguous()
        together, apart = fold(embedded)
        output, last = run_network(self.network, together, tuple(first) if len(first) == 2 else first[0])
        last = torch.stack(last) if isinstance(last, tuple) else last.unsqueeze(0)
        return apart(output), last.permute(2, 0, 1, 3).reshape(state.shape)

    def known(self, embedded: Tensor) -> Context:
        """d_1..d_T and the embedded inputs."""
        states, _ = self.run(embedded, self.initial(embedded.shape[-2]).network)
        return Context(hidden=states, input=embedded)

    def prepare(self, embedded: Tensor) -> Advance:
        """One step of the network, to be done when its state is known."""

        def advance(state: Tensor) -> tuple[Tensor, Tensor]:
            hidden, state = self.run(embedded.unsqueeze(-3), state)
            return hidden.squeeze(-3), state

        return Advance(embedded, advance)

    def over_steps(self, embedded: Tensor, known: Context) -> Iterable[Advance]:
        """As `prepare`, the network having run already."""
        assert known.hidden is not None
        for each, hidden in zip(embedded.unbind(-3), known.hidden.unbind(-3), strict=True):
            yield Advance(each, partial(lambda hidden, state: (hidden, state), hidden))

    def predict(self, state: DeterministicState, prepared: Advance) -> Context:
        """d_t, z_{t-1} and the embedded input."""
        hidden, network = prepared.network(state.network)
        return Context(hidden=hidden, latent=state.latent, input=prepared.input, prepared=network)

    def update(self, state: DeterministicState, context: Context, latent: Tensor) -> tuple[DeterministicState, Tensor]:
        """z_t is kept; the feature is [d_t, z_t], (..., B, H + Z)."""
        assert context.hidden is not None
        return DeterministicState(context.prepared, latent), beside([context.hidden, latent])
