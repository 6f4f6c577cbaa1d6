"""No recurrent network at all."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from zf_pyro.conditionals import Context
from zf_pyro.transitions.base import Transition


class MarkovState(NamedTuple):
    """z_t, (..., B, Z)."""

    latent: Tensor


class MarkovTransition(Transition):
    """No recursion but that of z itself: the emission reads z_t. The transition of the deep Markov model.

    Krishnan, Shalit, Sontag, "Structured Inference Networks for Nonlinear State Space Models", AAAI 2017.

    Args:
        latent_size: Z.
        learn_initial_state: learn z_0 (starting at zero) instead of keeping it zero.
    """

    def __init__(self, latent_size: int, *, learn_initial_state: bool = False) -> None:
        super().__init__()
        self.start_from("initial_latent", latent_size, learned=learn_initial_state)

    def initial(self, num_sequences: int) -> MarkovState:
        """z_0."""
        return MarkovState(self.start("initial_latent", num_sequences))

    def known(self, embedded: Tensor) -> Context:
        """The embedded inputs."""
        return Context(input=embedded)

    def prepare(self, embedded: Tensor) -> Tensor:
        """The embedded input."""
        return embedded

    def predict(self, state: MarkovState, prepared: Tensor) -> Context:
        """z_{t-1} and the embedded input."""
        return Context(latent=state.latent, input=prepared)

    def update(self, state: MarkovState, context: Context, latent: Tensor) -> tuple[MarkovState, Tensor]:
        """z_t is the state and the feature."""
        return MarkovState(latent), latent
