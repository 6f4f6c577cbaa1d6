"""What one run of a program knows of its latent path, computed once for each path that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import repeat
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from zf_pyro.conditionals import Conditional, Context, present
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.noise import Standard
from zf_pyro.recursion import Laws, Stretch, split
from zf_pyro.segments import segment_lengths
from zf_pyro.steps import Steps
from zf_pyro.stepwise import stack_laws
from zf_pyro.streams import path_normals
from zf_pyro.transitions.base import Transition, expand_state


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

    @cached_property
    def stretch(self) -> Stretch:
        """All steps."""
        return Stretch(self.transition, self.prior, self.embedded, self.known)

    def first_law(self, conditional: Conditional, beyond: Context) -> TorchDistribution:
        """The law of step 1, which no z has a say in."""
        prepared = self.transition.prepare(self.embedded[..., 0, :, :])
        context = self.transition.predict(self.transition.initial(self.batch.num_sequences), prepared)
        if "prior" in conditional.reads:
            context = context._replace(prior=self.prior(context))
        return next(self.stretch.over_steps(conditional, beyond))(context)

    def start(self, shape: torch.Size) -> Any:
        """The state before the first step, its parts (*shape, size)."""
        return expand_state(self.transition.initial(self.batch.num_sequences), shape)

    def draw(
        self, conditional: Conditional, beyond: Context, shape: torch.Size, standard: Standard | None = None
    ) -> Tensor:
        """Draw a path, (*shape, T, Z), a step after the other from `conditional`.

        Args:
            conditional: the law of a step. Where it reads the prior, the prior's laws are kept beside its own.
            beyond: what it reads besides the context, for all steps, (..., T, B, size).
            shape: (..., B).
            standard: where normal numbers come from; None takes those of `zf_pyro.streams.path_normals`.
        """
        steps = self.embedded.shape[-3]
        args = conditional, beyond, self.start(shape), shape, standard or path_normals(steps)
        lengths = segment_lengths(steps)
        found = self.stretch.draw(*args) if len(lengths) == 1 else self.stretch.draw_in_segments(*args, lengths)
        value = found.latents.transpose(-2, -3)
        self.path = Path.now(value, found.steps, found.laws, found.whole)
        return value

    def along(self, value: Tensor) -> Path:
        """What the recursion makes of a path (..., B, T, Z): what is at hand, if it is the very tensor, else anew."""
        if self.path is None or not self.path.is_of(value):
            particles = self.embedded.shape[:-3]
            shape = torch.broadcast_shapes(value.shape[:-2], (*particles, self.batch.num_sequences))
            latents = iter(value.expand(*shape, *value.shape[-2:]).unbind(-2))
            _, steps, _ = self.stretch.run(lambda context: next(latents), self.start(shape))
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

    def laws_in_segments(
        self, conditional: Conditional, beyond: Context, value: Tensor, lengths: Sequence[int]
    ) -> Iterator[Callable[[], TorchDistribution]]:
        """For each segment of so many steps what gives `laws` of it, of batch shape (..., steps, B)."""
        steps = self.along(value).steps
        priors: Iterable[Any] = repeat(None)
        if "prior" in conditional.reads:
            priors = self.laws_in_segments(self.prior, Context(), value, lengths)
        context = steps.context(conditional.reads)._replace(**present(beyond))
        for part, prior in zip(split(context, lengths), priors, strict=False):
            yield partial(law_of, conditional, part, prior)

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


def law_of(
    conditional: Conditional, context: Context, prior: Callable[[], TorchDistribution] | None
) -> TorchDistribution:
    """The law of a conditional given a context, and given the prior's law where it reads that."""
    return conditional(context if prior is None else context._replace(prior=prior()))
