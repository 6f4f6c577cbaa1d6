"""Which combinations of parts have a kernel, and what it is to be given."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, TypeGuard

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from zf_pyro.conditionals import (
    ClippedLeakyReLU,
    Conditional,
    Context,
    DiagonalGaussian,
    FirstLayer,
    is_plain,
    is_plain_linear,
    is_plain_matrix,
    layers,
)
from zf_pyro.kernels.lstm_gaussian import LSTMGaussian
from zf_pyro.kernels.window import Clip, Clips
from zf_pyro.noise import Standard
from zf_pyro.transitions.base import Transition
from zf_pyro.transitions.recurrent import LSTMState, LSTMTransition

ALLOWED = ContextVar("ALLOWED", default=True)


@contextmanager
def generic_loop() -> Iterator[None]:
    """Inside, every recursion runs the generic loop: for comparisons."""
    token = ALLOWED.set(False)
    try:
        yield
    finally:
        ALLOWED.reset(token)


class Drawn(NamedTuple):
    """A path that a kernel drew, and what the recursion made of it.

    Attributes:
        latents: z_1..z_T, (..., T, B, Z).
        features: h_1..h_T, (..., T, B, H).
        initial: the state before the first step, its parts (..., B, size).
        last: the state after the last.
        law: of every z_t, of batch shape (..., T, B); None where it is not kept.
    """

    latents: Tensor
    features: Tensor
    initial: LSTMState
    last: LSTMState
    law: TorchDistribution | None = None


class Kernel(NamedTuple):
    """An LSTM and a Gaussian posterior for which there is one.

    Attributes:
        transition: the LSTM.
        posterior: the law of z_t.
        share: what the known fields come to in the posterior's hidden layer.
    """

    transition: LSTMTransition
    posterior: DiagonalGaussian
    share: FirstLayer

    def draw(self, embedded: Tensor, initial: LSTMState, shape: torch.Size, standard: Standard) -> Drawn:
        """Draw a path.

        Args:
            embedded: embed(u_1)..embed(u_T), (..., T, B, E).
            initial: the state before the first step, its parts (*shape, size).
            shape: (..., B).
            standard: gives the numbers of each step in turn.
        """
        noise = torch.stack([standard(initial.latent) for _ in range(embedded.shape[-3])], -3)
        bases = self.share.base, self.transition.from_input(embedded)
        *found, cell = LSTMGaussian.apply(
            torch.is_grad_enabled(),
            self.clips(),
            noise.reshape(-1, *noise.shape[-3:]),
            *(folded(base, shape) for base in bases),
            *(part.reshape(-1, *part.shape[-2:]) for part in (initial.hidden, initial.cell)),
            *self.weights(),
        )
        latents, features, parameters = (each.reshape(*shape[:-1], *each.shape[1:]) for each in found)
        last = LSTMState(features[..., -1, :, :], cell.reshape(initial.cell.shape), latents[..., -1, :, :])
        return Drawn(latents, features, initial, last, self.posterior.law(parameters))

    def clips(self) -> Clips:
        """The bounds of activations and parameters."""
        before, clamp = layers(self.transition.from_latent)[1:2], self.posterior.clamp
        hidden = clip_of(layers(self.posterior.network)[1])
        return Clips(hidden, clip_of(before[0]) if before else hidden, math.inf if clamp is None else clamp)

    def weights(self) -> list[Tensor]:
        """Those of `Weights` that there are."""
        *before, last = layers(self.transition.from_latent)
        law = layers(self.posterior.network)[2]
        gates = torch.cat([last.weight, self.transition.recurrent.weight], 1)
        return [gates, self.share.weight, law.weight, law.bias, *([before[0].weight, before[0].bias] if before else [])]


def kernel_for(transition: Transition, conditional: Conditional, known: Context, embedded: Tensor) -> Kernel | None:
    """The kernel for a transition and the law of z_t; None where the generic loop is to run.

    Args:
        transition: any.
        conditional: any.
        known: the fields that the conditional reads and that are known of all steps, (..., T, B, size).
        embedded: embed(u_1)..embed(u_T), (..., T, B, E).
    """
    elsewhere = embedded.device.type != "cpu" or torch.is_autocast_enabled("cpu") or not embedded.numel()
    if elsewhere or not ALLOWED.get() or not (is_served_lstm(transition) and is_served_gaussian(conditional)):
        return None
    of_one_type = {each.dtype for each in (embedded, *transition.parameters(), *conditional.parameters())}
    if [name for name in conditional.sizes if getattr(known, name) is None] != ["hidden"] or len(of_one_type) > 1:
        return None
    share = conditional.first_layer(known)
    return None if share is None else Kernel(transition, conditional, share)


def obstacle(transition: Transition, conditional: Conditional) -> str:
    """What it is about a transition and the law of z_t that leaves them to the generic loop; empty where nothing is."""
    if not is_served_lstm(transition):
        return "the transition is another than the LSTM of z_t and u_t"
    if not is_served_gaussian(conditional):
        return "the posterior is another than a Gaussian with a hidden layer"
    if {*conditional.sizes} - {"input", "encoding"} != {"hidden"}:
        return "the posterior reads another part of the model's state than h_{t-1}, or none"
    return ""


def is_served_lstm(transition: Transition) -> TypeGuard[LSTMTransition]:
    """Whether a transition is the LSTM itself, with the layers that it makes and no hook in any."""
    if type(transition) is not LSTMTransition or not is_plain(transition) or not is_plain(transition.from_latent):
        return False
    *before, last = layers(transition.from_latent)
    return is_plain_matrix(last) and is_plain_matrix(transition.recurrent) and (not before or are_a_layer(before))


def is_served_gaussian(conditional: Conditional) -> TypeGuard[DiagonalGaussian]:
    """Whether a law is a diagonal Gaussian with a hidden layer, both of its parameters learned and unbounded."""
    if type(conditional) is not DiagonalGaussian or not is_plain(conditional) or not is_plain(conditional.network):
        return False
    *before, last = layers(conditional.network)
    free = conditional.scale is None and conditional.mean == "identity"
    return free and is_plain_linear(last) and last.bias is not None and are_a_layer(before)


def are_a_layer(modules: Sequence[nn.Module]) -> bool:
    """Whether modules are a linear map with its bias, and the clipped activation, which does not fall anywhere."""
    if [type(module) for module in modules] != [nn.Linear, ClippedLeakyReLU] or not all(map(is_plain, modules)):
        return False
    first, activation = modules
    return first.bias is not None and getattr(activation, "slope", -1.0) >= 0


def clip_of(activation: ClippedLeakyReLU) -> Clip:
    """Its two numbers."""
    return Clip(activation.slope, activation.bound)


def folded(sequences: Tensor, shape: torch.Size) -> Tensor:
    """Sequences (..., T, B, size) of shape (..., B) as (K, T, B, size); as (1, T, B, size) for all particles alike."""
    if sequences.dim() == 3:
        return sequences.unsqueeze(0)
    return sequences.expand(*shape[:-1], *sequences.shape[-3:]).reshape(-1, *sequences.shape[-3:])
