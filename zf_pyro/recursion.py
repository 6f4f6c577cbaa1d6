"""The recursion along a latent path, run once for each path: what the path form of both programs rests on.

context_t          = predict(state_{t-1}, prepared_t)
z_t                drawn from a conditional given context_t, or given
state_t, feature_t = update(state_{t-1}, context_t, z_t)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from zf_pyro.conditionals import Conditional, Context
from zf_pyro.noise import Beforehand, Standard, reparametrised
from zf_pyro.transitions import Transition


class Steps:
    """The contexts and features of all steps of one path, put together a field at a time when first read."""

    def __init__(self, contexts: list[Context], features: list[Tensor]) -> None:
        self.contexts, self.features = contexts, features
        self.fields: dict[str, Tensor] = {}

    def context(self, reads: Iterable[str]) -> Context:
        """The named fields over all steps, each (..., T, B, size); the others None."""
        return Context(**{name: field for name in reads if (field := self.field(name)) is not None})

    def field(self, name: str) -> Tensor | None:
        """One field over all steps; None where the transition does not provide it."""
        if name not in self.fields:
            parts = self.features if name == "feature" else [getattr(each, name) for each in self.contexts]
            if parts[0] is None:
                return None
            with torch.set_grad_enabled(any(part.requires_grad for part in parts)):
                self.fields[name] = torch.stack(parts, -3) if name == "feature" else self.put_together(parts)
        return self.fields[name]

    def put_together(self, parts: list[Tensor]) -> Tensor:
        """The parts of all steps; from the features, where each is the feature of the step before, as h_{t-1} is."""
        if len(parts) > 1 and all(part is feature for part, feature in zip(parts[1:], self.features[:-1], strict=True)):
            features = self.field("feature")
            assert features is not None
            return torch.cat([parts[0].unsqueeze(-3), features[..., :-1, :, :]], -3)
        return torch.stack(parts, -3)


@dataclass(frozen=True)
class Path:
    """A path, (..., B, T, Z), what the recursion made of it, and the laws that its steps were drawn from, if any."""

    value: Tensor
    steps: Steps
    laws: list[TorchDistribution]
    version: int
    with_gradients: bool

    @classmethod
    def now(cls, value: Tensor, steps: Steps, laws: list[TorchDistribution]) -> Path:
        """A path just run along."""
        return cls(value, steps, laws, version(value), torch.is_grad_enabled())

    def is_of(self, value: Tensor) -> bool:
        """Whether `value` is the very tensor, not written into since, and gradients are there where they are wanted."""
        wanted = self.with_gradients or not torch.is_grad_enabled()
        return value is self.value and version(value) == self.version and wanted


def version(tensor: Tensor) -> int:
    """How often a tensor was written into; tensors made in inference mode do not count."""
    return 0 if tensor.is_inference() else tensor._version


class PathStates:
    """The states of one run of a program along a latent path, computed once for each path that is asked for.

    Args:
        program: the model whose transition it is.
        transition: the recursion.
        embed: gives embed(u_1)..embed(u_T), (..., T, B, E); called only where the recursion is run.
        num_sequences: B.
        inputs: what else the states depend on, the batch and the dropout's factors: objects that the program of another
            run must share to take over these states.
    """

    def __init__(
        self,
        program: nn.Module,
        transition: Transition,
        embed: Callable[[], Tensor],
        num_sequences: int,
        inputs: tuple[object, ...],
    ) -> None:
        self.program, self.transition, self.embed = program, transition, embed
        self.num_sequences, self.inputs = num_sequences, inputs
        self.path: Path | None = None
        self.parameters = [(parameter, version(parameter)) for parameter in program.parameters()]
        self.with_gradients = torch.is_grad_enabled()

    @cached_property
    def embedded(self) -> Tensor:
        """embed(u_1)..embed(u_T), (..., T, B, E)."""
        with torch.set_grad_enabled(self.with_gradients):
            return self.embed()

    @property
    def first_context(self) -> Context:
        """context_1, which no z has a say in."""
        prepared = self.transition.prepare(self.embedded[..., 0, :, :])
        return self.transition.predict(self.transition.initial(self.num_sequences), prepared)

    def run(self, choose: Callable[[Context], Tensor], shape: torch.Size) -> tuple[list[Tensor], Steps]:
        """The recursion: every z_t is what `choose` makes of context_t.

        Args:
            choose: gives z_t, (*shape, Z).
            shape: (..., B).
        """
        state = self.transition.initial(self.num_sequences)
        if shape != (self.num_sequences,):
            state = type(state)._make(part.expand(*shape, part.shape[-1]) for part in state)
        latents, contexts, features = [], [], []
        for prepared in self.transition.over_steps(self.embedded):
            context = self.transition.predict(state, prepared)
            latent = choose(context)
            state, feature = self.transition.update(state, context, latent)
            latents.append(latent)
            contexts.append(context)
            features.append(feature)
        return latents, Steps(contexts, features)

    def draw(
        self, conditional: Conditional, known: Context, shape: torch.Size, standard: Standard | None = None
    ) -> Tensor:
        """Draw a path, (*shape, T, Z), a step after the other from `conditional`.

        Args:
            conditional: the law of a step.
            known: what it reads besides the context, for all steps, (..., T, B, size).
            shape: (..., B).
            standard: where normal numbers come from; None draws those of all steps at once.
        """
        laws: list[TorchDistribution] = []
        steps = conditional.over_steps(known)
        standard = standard or Beforehand(self.embedded.shape[-3])

        def choose(context: Context) -> Tensor:
            law = next(steps)(context)
            laws.append(law if law.batch_shape == shape else law.expand(shape))
            return reparametrised(laws[-1], standard)

        latents, along = self.run(choose, shape)
        value = torch.stack(latents, -3).transpose(-2, -3)
        self.path = Path.now(value, along, laws)
        return value

    def along(self, value: Tensor) -> Steps:
        """The contexts and features along a path (..., B, T, Z): those at hand, if it is the very tensor, else anew."""
        if self.path is None or not self.path.is_of(value):
            particles = self.embedded.shape[:-3]
            shape = torch.broadcast_shapes(value.shape[:-2], (*particles, self.num_sequences))
            latents = iter(value.expand(*shape, *value.shape[-2:]).unbind(-2))
            _, steps = self.run(lambda context: next(latents), shape)
            self.path = Path.now(value, steps, [])
        return self.path.steps

    def adopt(self, other: PathStates, value: Tensor) -> None:
        """Take over what another run made of the very tensor `value`, where nothing it depends on has changed."""
        if other.path is not None and other.path.is_of(value) and other.serves(self):
            self.path = replace(other.path, laws=[])

    def serves(self, other: PathStates) -> bool:
        """Whether these states are those that the run of `other` would come to on the same path."""
        return (
            self.program is other.program
            and all(mine is theirs for mine, theirs in zip(self.inputs, other.inputs, strict=True))
            and self.with_gradients == other.with_gradients
            and len(self.parameters) == len(other.parameters)
            and all(p is q and i == j for (p, i), (q, j) in zip(self.parameters, other.parameters, strict=True))
        )
