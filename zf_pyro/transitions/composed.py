"""Transitions made of others: one that goes before the draw of z_t, and several in layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from zf_pyro.conditionals import Context, beside
from zf_pyro.transitions.base import Transition


class Delayed(NamedTuple):
    """The inner state, and z_{t-1} (..., B, Z)."""

    inner: Any
    latent: Tensor


class DelayedTransition(Transition):
    """h_t = f(h_{t-1}; u_t, z_{t-1}) before z_t is drawn; the emission reads h_t and z_t. The transition of the VRNN.

    Chung et al., "A Recurrent Latent Variable Model for Sequential Data", NIPS 2015.

    Args:
        inner: the recursion, such as `LSTMTransition`, which is given z_{t-1} in place of z_t.
        latent_size: Z.
    """

    def __init__(self, inner: Transition, latent_size: int) -> None:
        super().__init__()
        self.inner = inner
        self.start_from("initial_latent", latent_size)

    def initial(self, num_sequences: int) -> Delayed:
        """The inner state, and z_0 = 0."""
        return Delayed(self.inner.initial(num_sequences), self.start("initial_latent", num_sequences))

    def known(self, embedded: Tensor) -> Context:
        """The embedded inputs, where the inner recursion has them."""
        return Context(input=self.inner.known(embedded).input)

    def prepare(self, embedded: Tensor) -> Any:
        """As of the inner recursion."""
        return self.inner.prepare(embedded)

    def over_steps(self, embedded: Tensor, known: Context) -> Iterable[Any]:
        """As of the inner recursion."""
        return self.inner.over_steps(embedded, self.inner.known(embedded))

    def predict(self, state: Delayed, prepared: Any) -> Context:
        """h_t, z_{t-1} and the embedded input."""
        context = self.inner.predict(state.inner, prepared)
        inner, hidden = self.inner.update(state.inner, context, state.latent)
        return Context(hidden=hidden, latent=state.latent, input=context.input, prepared=inner)

    def update(self, state: Delayed, context: Context, latent: Tensor) -> tuple[Delayed, Tensor]:
        """h_t and z_t are kept; the feature is [h_t, z_t], (..., B, H + Z)."""
        assert context.hidden is not None
        return Delayed(context.prepared, latent), beside([context.hidden, latent])


class StackedTransition(Transition):
    """Several recursions, one above the other.

    The first reads u_t and z_t, each further one u_t and the feature of the one below, in the place of z_t. h_t, and
    the feature, are those of the last.

    Args:
        layers: the recursions, the lowest first; the latent variable of each further one is the feature below it.
    """

    def __init__(self, layers: Sequence[Transition]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    @property
    def recursions(self) -> list[Any]:
        """The recursions, the lowest first."""
        return list(self.layers)

    def initial(self, num_sequences: int) -> tuple[Any, ...]:
        """state_0 of every layer."""
        return tuple(layer.initial(num_sequences) for layer in self.recursions)

    def known(self, embedded: Tensor) -> Context:
        """The embedded inputs, where the first layer has them."""
        return Context(input=self.recursions[0].known(embedded).input)

    def prepare(self, embedded: Tensor) -> tuple[Any, ...]:
        """What every layer prepares."""
        return tuple(layer.prepare(embedded) for layer in self.recursions)

    def over_steps(self, embedded: Tensor, known: Context) -> Iterable[tuple[Any, ...]]:
        """What every layer prepares, for all steps."""
        return zip(*(layer.over_steps(embedded, layer.known(embedded)) for layer in self.recursions), strict=True)

    def predict(self, state: tuple[Any, ...], prepared: tuple[Any, ...]) -> Context:
        """h_{t-1} of the last layer, z_{t-1} and the embedded input."""
        contexts = [layer.predict(*each) for layer, *each in zip(self.recursions, state, prepared, strict=True)]
        return Context(contexts[-1].hidden, contexts[0].latent, contexts[0].input, prepared=contexts)

    def update(self, state: tuple[Any, ...], context: Context, latent: Tensor) -> tuple[tuple[Any, ...], Tensor]:
        """The state of every layer, and the feature of the last."""
        states = []
        for layer, *each in zip(self.recursions, state, context.prepared, strict=True):
            new, latent = layer.update(*each, latent)
            states.append(new)
        return tuple(states), latent
