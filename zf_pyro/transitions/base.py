"""What a transition is, and what its kinds share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zf_pyro.conditionals import Context
from zf_pyro.segments import run_again, segment_lengths

RecurrentInit = Literal["orthogonal", "uniform"]


class Transition(nn.Module):
    """What a model asks of its transition. States are tuples of tensors, or of tuples."""

    def initial(self, num_sequences: int) -> Any:
        """state_0, each part (B, size)."""
        raise NotImplementedError

    def start_from(self, name: str, size: int, *, learned: bool = False) -> None:
        """Keep a part of state_0 under a name, zeros (size,): a parameter where it is learned, else a buffer.

        Without units there is nothing to learn.
        """
        if learned and size:
            self.register_parameter(name, nn.Parameter(torch.zeros(size)))
        else:
            self.register_buffer(name, torch.zeros(size), persistent=False)

    def start(self, name: str, num_sequences: int) -> Tensor:
        """The part of state_0 of that name, (B, size)."""
        return getattr(self, name).expand(num_sequences, -1)

    def known(self, embedded: Tensor) -> Context:
        """Fields that the contexts of all steps will have and that need no z, (..., T, B, size), from (..., T, B, E).

        A posterior or a prior that reads them may do part of its work before the loop, and an encoder may read them.
        """
        return Context()

    def prepare(self, embedded: Tensor) -> Any:
        """What needs no z, from the embedded input of one step, (..., B, E)."""
        raise NotImplementedError

    def over_steps(self, embedded: Tensor, known: Context) -> Iterable[Any]:
        """What `prepare` gives for each step.

        A subclass that can do part of the work for all steps at once does it here.

        Args:
            embedded: (..., T, B, E).
            known: what `known` gave for it.
        """
        return map(self.prepare, embedded.unbind(-3))

    def predict(self, state: Any, prepared: Any) -> Context:
        """What the prior and the posterior of step t may read."""
        raise NotImplementedError

    def update(self, state: Any, context: Context, latent: Tensor) -> tuple[Any, Tensor]:
        """state_t and the feature that the emission reads, given z_t (..., B, Z)."""
        raise NotImplementedError


def expand_state(state: Any, shape: torch.Size) -> Any:
    """A state whose parts are (B, size) with its parts (*shape, size)."""
    if isinstance(state, Tensor):
        return state.expand(*shape, state.shape[-1])
    parts = [expand_state(part, shape) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def fold(sequences: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Sequences (..., T, B, D) as (T, N, D), for a network of PyTorch's, and the way back for what it makes of them."""
    if sequences.dim() == 3:
        return sequences, lambda output: output
    *particles, _, batch, _ = sequences.shape
    together = sequences.movedim(-3, 0).flatten(1, -2)
    return together, lambda output: output.unflatten(1, (*particles, batch)).movedim(0, -3)


def run_over(network: nn.RNNBase, sequences: Tensor) -> Tensor:
    """The states (..., T, B, H) of a recurrent network of one layer over sequences (..., T, B, D), from zero."""
    together, apart = fold(sequences)
    return apart(run_network(network, together)[0])


def run_network(network: nn.RNNBase, sequences: Tensor, state: Any = None) -> tuple[Tensor, Any]:
    """What a network of PyTorch's gives for sequences (T, N, D), in the segments of time that are asked for."""
    lengths = segment_lengths(len(sequences))
    if len(lengths) == 1:
        return network(sequences, state)
    outputs = []
    for part in sequences.split(lengths):
        output, state = run_again(network, part, state)
        outputs.append(output)
    return torch.cat(outputs), state


def initialise_recurrent(weight: Tensor, how: RecurrentInit) -> None:
    """Draw the recurrent weights (gates * H, H) in place: an orthogonal block a gate, or PyTorch's uniform law."""
    hidden_size = weight.shape[1]
    for block in weight.split(hidden_size):
        if how == "orthogonal":
            nn.init.orthogonal_(block)
        else:
            nn.init.uniform_(block, -(hidden_size**-0.5), hidden_size**-0.5)
