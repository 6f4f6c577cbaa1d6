"""The recursion along a latent path, run once for each path: what the path form of both programs rests on.

context_t          = predict(state_{t-1}, prepared_t)
z_t                drawn from a conditional given context_t, or given
state_t, feature_t = update(state_{t-1}, context_t, z_t)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from zf_pyro.conditionals import Conditional, Context, present
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.kernels.choice import Drawn, kernel_for
from zf_pyro.noise import Beforehand, Standard, reparametrised
from zf_pyro.stepwise import stack_laws
from zf_pyro.transitions.base import Transition, expand_state

Laws = Mapping[Conditional, list[TorchDistribution]]
"""The laws of the steps along a path, by the conditional that they are of."""


class Steps:
    """The contexts and features of all steps of one path, put together a field at a time when first read."""

    def __init__(self) -> None:
        self.fields: dict[str, Tensor] = {}

    def context(self, reads: Iterable[str]) -> Context:
        """The named fields over all steps, each (..., T, B, size); the others None."""
        fields: dict[str, Any] = {name: self.field(name) for name in reads}
        return Context(**fields)

    def field(self, name: str) -> Tensor | None:
        """One field over all steps; None where the transition does not provide it."""
        if name not in self.fields:
            made = self.make(name)
            if made is None:
                return None
            self.fields[name] = made
        return self.fields[name]

    def make(self, name: str) -> Tensor | None:
        """Put a field together, with gradients where its parts have them."""
        raise NotImplementedError


class ListedSteps(Steps):
    """Of a loop that left the context and the feature of each step."""

    def __init__(self, contexts: list[Context], features: list[Tensor]) -> None:
        super().__init__()
        self.contexts, self.features = contexts, features

    def make(self, name: str) -> Tensor | None:
        """From the parts of all steps."""
        parts = self.features if name == "feature" else [getattr(each, name) for each in self.contexts]
        if parts[0] is None:
            return None
        with torch.set_grad_enabled(any(part.requires_grad for part in parts)):
            return torch.stack(parts, -3) if name == "feature" else self.put_together(parts)

    def put_together(self, parts: list[Tensor]) -> Tensor:
        """The parts of all steps; from the features, where each is the feature of the step before, as h_{t-1} is."""
        if len(parts) > 1 and all(part is feature for part, feature in zip(parts[1:], self.features[:-1], strict=True)):
            features = self.field("feature")
            assert features is not None
            return after(parts[0], features)
        return torch.stack(parts, -3)


class DrawnSteps(Steps):
    """Of a kernel, which left all steps at once."""

    def __init__(self, drawn: Drawn, embedded: Tensor) -> None:
        super().__init__()
        self.drawn, self.embedded = drawn, embedded

    def make(self, name: str) -> Tensor | None:
        """From what the kernel left."""
        drawn = self.drawn
        makers: dict[str, Callable[[], Tensor]] = {
            "feature": lambda: drawn.features,
            "input": lambda: self.embedded,
            "hidden": lambda: after(drawn.initial.hidden, drawn.features),
            "latent": lambda: after(drawn.initial.latent, drawn.latents),
        }
        with torch.set_grad_enabled(drawn.features.requires_grad):
            return makers[name]() if name in makers else None


def after(first: Tensor, sequences: Tensor) -> Tensor:
    """Sequences (..., T, B, size) moved by a step, `first` (..., B, size) in front and the last step left out."""
    return torch.cat([first.unsqueeze(-3), sequences[..., :-1, :, :]], -3)


@dataclass(frozen=True)
class Path:
    """A path and what the recursion made of it.

    Attributes:
        value: z_1..z_T, (..., B, T, Z).
        steps: contexts and features.
        laws: those that were made on the way, if any, step by step.
        whole: those that were made for all steps at once.
        version: how often the value had been written into.
        with_gradients: whether gradients were wanted.
    """

    value: Tensor
    steps: Steps
    laws: Laws
    whole: Mapping[Conditional, TorchDistribution]
    version: int
    with_gradients: bool

    @classmethod
    def now(
        cls, value: Tensor, steps: Steps, laws: Laws, whole: Mapping[Conditional, TorchDistribution] | None = None
    ) -> Path:
        """A path just run along."""
        return cls(value, steps, laws, whole or {}, version(value), torch.is_grad_enabled())

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
        model: the program, or the one that a guide was made for.
        transition: its recursion.
        prior: its prior, which a posterior may read.
        batch: the sequences.
        factors: of the dropout on the inputs. Another run must share batch and factors, the very objects, to take over
            these states.
    """

    def __init__(
        self, model: Any, transition: Transition, prior: Conditional, batch: SequenceBatch, factors: Tensor | None
    ) -> None:
        self.model, self.transition, self.prior = model, transition, prior
        self.batch, self.factors = batch, factors
        self.path: Path | None = None
        self.tensors = [(tensor, version(tensor)) for tensor in (*model.parameters(), *model.buffers())]
        self.with_gradients = torch.is_grad_enabled()

    @cached_property
    def embedded(self) -> Tensor:
        """embed(u_1)..embed(u_T), (..., T, B, E)."""
        with torch.set_grad_enabled(self.with_gradients):
            return self.model.embed_inputs(self.batch, self.factors)

    @cached_property
    def known(self) -> Context:
        """What needs no z of the contexts of all steps."""
        with torch.set_grad_enabled(self.with_gradients):
            return self.transition.known(self.embedded)

    def known_of(self, conditional: Conditional, beyond: Context) -> Context:
        """What a conditional reads of all steps at once: fields that need no z, and those beyond the context."""
        return self.known._replace(
            **{name: None for name in present(self.known) if name not in conditional.reads}, **present(beyond)
        )

    def over_steps(self, conditional: Conditional, beyond: Context) -> Iterator[Callable[[Context], TorchDistribution]]:
        """For each step the function from context_t to the law of a conditional."""
        return conditional.over_steps(self.known_of(conditional, beyond))

    def first_law(self, conditional: Conditional, beyond: Context) -> TorchDistribution:
        """The law of step 1, which no z has a say in."""
        prepared = self.transition.prepare(self.embedded[..., 0, :, :])
        context = self.transition.predict(self.transition.initial(self.batch.num_sequences), prepared)
        if "prior" in conditional.reads:
            context = context._replace(prior=self.prior(context))
        return next(self.over_steps(conditional, beyond))(context)

    def run(self, choose: Callable[[Context], Tensor], shape: torch.Size) -> tuple[list[Tensor], Steps]:
        """The recursion: every z_t is what `choose` makes of context_t.

        Args:
            choose: gives z_t, (*shape, Z).
            shape: (..., B).
        """
        transition = self.transition
        state = transition.initial(self.batch.num_sequences)
        if shape != (self.batch.num_sequences,):
            state = expand_state(state, shape)
        latents, contexts, features = [], [], []
        for prepared in transition.over_steps(self.embedded, self.known):
            context = transition.predict(state, prepared)
            latent = choose(context)
            state, feature = transition.update(state, context, latent)
            latents.append(latent)
            contexts.append(context)
            features.append(feature)
        return latents, ListedSteps(contexts, features)

    def draw(
        self, conditional: Conditional, beyond: Context, shape: torch.Size, standard: Standard | None = None
    ) -> Tensor:
        """Draw a path, (*shape, T, Z), a step after the other from `conditional`.

        Args:
            conditional: the law of a step. Where it reads the prior, the prior's laws are kept beside its own.
            beyond: what it reads besides the context, for all steps, (..., T, B, size).
            shape: (..., B).
            standard: where normal numbers come from; None draws those of all steps at once.
        """
        standard = standard or Beforehand(self.embedded.shape[-3])
        kernel = kernel_for(self.transition, conditional, self.known_of(conditional, beyond), self.embedded)
        if kernel is not None:
            drawn = kernel.draw(self.embedded, shape, standard)
            value = drawn.latents.transpose(-2, -3)
            self.path = Path.now(value, DrawnSteps(drawn, self.embedded), {}, {conditional: drawn.law})
            return value
        laws_of = StepLaws(self, conditional, beyond, shape, with_prior="prior" in conditional.reads)
        kept: dict[Conditional, list[TorchDistribution]] = {each: [] for each in laws_of.steps}

        def choose(context: Context) -> Tensor:
            for each, law in laws_of(context).items():
                kept[each].append(law)
            return reparametrised(kept[conditional][-1], standard)

        latents, along = self.run(choose, shape)
        value = torch.stack(latents, -3).transpose(-2, -3)
        self.path = Path.now(value, along, kept)
        return value

    def along(self, value: Tensor) -> Path:
        """What the recursion makes of a path (..., B, T, Z): what is at hand, if it is the very tensor, else anew."""
        if self.path is None or not self.path.is_of(value):
            particles = self.embedded.shape[:-3]
            shape = torch.broadcast_shapes(value.shape[:-2], (*particles, self.batch.num_sequences))
            latents = iter(value.expand(*shape, *value.shape[-2:]).unbind(-2))
            _, steps = self.run(lambda context: next(latents), shape)
            self.path = Path.now(value, steps, {})
        return self.path

    def laws(self, conditional: Conditional, beyond: Context, value: Tensor) -> TorchDistribution:
        """The laws of all steps along a path (..., B, T, Z) as one, of batch shape (..., T, B) or what broadcasts."""
        path = self.along(value)
        if conditional in path.whole:
            return path.whole[conditional]
        drawn = path.laws.get(conditional)
        law = stack_laws(drawn[0], drawn) if drawn else None
        if law is not None:
            return law
        context = path.steps.context(conditional.reads)._replace(**present(beyond))
        if "prior" in conditional.reads:
            context = context._replace(prior=self.laws(self.prior, Context(), value))
        return conditional(context)

    def adopt(self, other: PathStates, value: Tensor) -> None:
        """Take over what another run made of the very tensor `value`, where nothing it depends on has changed."""
        if other.path is not None and other.path.is_of(value) and other.serves(self):
            laws = {self.prior: other.path.laws[self.prior]} if self.prior in other.path.laws else {}
            self.path = replace(other.path, laws=laws, whole={})

    def serves(self, other: PathStates) -> bool:
        """Whether these states are those that the run of `other` would come to on the same path."""
        return (
            self.model is other.model
            and self.batch is other.batch
            and self.factors is other.factors
            and self.with_gradients == other.with_gradients
            and len(self.tensors) == len(other.tensors)
            and all(p is q and i == j for (p, i), (q, j) in zip(self.tensors, other.tensors, strict=True))
        )


class StepLaws:
    """The laws of z_t given context_t, t = 1 .. T in this order: of a conditional, and of the prior before it.

    Args:
        states: of the run.
        conditional: the law of a step; it may read the prior.
        beyond: what it reads besides the context, for all steps, (..., T, B, size).
        shape: (..., B), the batch shape that laws are expanded to.
        with_prior: whether the prior's are made; a conditional that reads the prior needs them.
    """

    def __init__(
        self, states: PathStates, conditional: Conditional, beyond: Context, shape: torch.Size, *, with_prior: bool
    ) -> None:
        self.prior, self.shape = states.prior, shape
        wanted = dict.fromkeys((*([self.prior] if with_prior else []), conditional))
        self.steps = {each: states.over_steps(each, beyond if each is conditional else Context()) for each in wanted}

    def __call__(self, context: Context) -> dict[Conditional, TorchDistribution]:
        """Those of the next step."""
        laws: dict[Conditional, TorchDistribution] = {}
        for each, steps in self.steps.items():
            law = next(steps)(context)
            laws[each] = law if law.batch_shape == self.shape else law.expand(self.shape)
            if each is self.prior:
                context = context._replace(prior=laws[each])
        return laws
