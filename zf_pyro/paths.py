"""Laws of whole latent paths z_1..z_T: what the path form of model and guide samples at its one latent site.

    draw          z_t ~ conditional(context_t), t = 1 .. T: the recursion runs once, and keeps its contexts and features
    log-density   sum_t log conditional(z_t | context_t): one pass over all steps at once

Between the two the recursion is not run again: the model scores the very path that the guide drew, and takes over what
the guide's recursion made of it. Tensors over all steps of a path have time behind the batch, (..., B, T, size), where
Pyro's events are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, singledispatch
from typing import Any, Literal

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor, nn
from torch.distributions import Independent, Normal, kl_divergence, register_kl

from zf_pyro.conditionals import Conditional, Context, present
from zf_pyro.noise import Standard, reparametrised
from zf_pyro.transitions import Transition, unbind_steps

Form = Literal["step", "path"]
"""The two forms of a program: a site for each step's variables, or one site for a whole path."""

STATES = "states"
"""Key in a site's `infer` under which `sample_path` leaves the program's states for the replayed model."""


class Steps:
    """The contexts and features of all steps of one path, put together a field at a time when first read."""

    def __init__(self, contexts: Sequence[Context], features: Sequence[Tensor]) -> None:
        self.contexts, self.features = contexts, features
        self.fields: dict[str, Tensor] = {}

    def context(self, reads: Iterable[str]) -> Context:
        """The named fields over all steps, each (..., B, T, size); the others None."""
        return Context(**{name: field for name in reads if (field := self.field(name)) is not None})

    def field(self, name: str) -> Tensor | None:
        """One field over all steps; None where the transition does not provide it."""
        if name not in self.fields:
            parts = self.features if name == "feature" else [getattr(context, name) for context in self.contexts]
            if parts[0] is None:
                return None
            self.fields[name] = torch.stack(parts, -2)
        return self.fields[name]


@dataclass(frozen=True)
class Path:
    """A path, (..., B, T, Z), what the recursion made of it, and the laws that its steps were drawn from, if any."""

    value: Tensor
    steps: Steps
    laws: list[TorchDistribution]


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
        self.parameters = [(parameter, parameter._version) for parameter in program.parameters()]
        self.with_gradients = torch.is_grad_enabled()

    @cached_property
    def prepared(self) -> list[Any]:
        """What the transition makes of each step's input without any z."""
        return list(unbind_steps(self.transition.prepare(self.embed())))

    @property
    def first_context(self) -> Context:
        """context_1, which no z has a say in."""
        return self.transition.predict(self.transition.initial(self.num_sequences), self.prepared[0])

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
        for prepared in self.prepared:
            context = self.transition.predict(state, prepared)
            latent = choose(context)
            state, feature = self.transition.update(state, context, latent)
            latents.append(latent)
            contexts.append(context)
            features.append(feature)
        return latents, Steps(contexts, features)

    def draw(self, conditional: Conditional, known: Context, shape: torch.Size, standard: Standard | None) -> Tensor:
        """Draw a path, (*shape, T, Z), a step after the other from `conditional`."""
        laws: list[TorchDistribution] = []
        steps = conditional.over_steps(known)
        standard = standard or Beforehand(len(self.prepared))

        def choose(context: Context) -> Tensor:
            law = next(steps)(context)
            laws.append(law if law.batch_shape == shape else law.expand(shape))
            return reparametrised(laws[-1], standard)

        latents, along = self.run(choose, shape)
        self.path = Path(torch.stack(latents, -2), along, laws)
        return self.path.value

    def along(self, value: Tensor) -> Steps:
        """The contexts and features along a path (..., B, T, Z): those at hand, if it is the very tensor, else anew."""
        if self.path is None or self.path.value is not value:
            latents = iter(value.unbind(-2))
            _, steps = self.run(lambda context: next(latents), value.shape[:-2])
            self.path = Path(value, steps, [])
        return self.path.steps

    def adopt(self, other: PathStates, value: Tensor) -> None:
        """Take over what another run made of the very tensor `value`, where nothing it depends on has changed."""
        if other.path is not None and other.path.value is value and other.serves(self):
            self.path = replace(other.path, laws=[])

    def serves(self, other: PathStates) -> bool:
        """Whether these states are those that the run of `other` would come to on the same path."""
        return (
            self.program is other.program
            and all(mine is theirs for mine, theirs in zip(self.inputs, other.inputs, strict=True))
            and self.with_gradients == other.with_gradients
            and len(self.parameters) == len(other.parameters)
            and all(
                p is q and i == j for (p, i), (q, j) in zip(self.parameters, other.parameters, strict=True)
            )
        )


class Beforehand:
    """Standard normal numbers for a number of steps of equal shape, all drawn when the first are asked for."""

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps
        self.numbers: Any = None

    def __call__(self, like: Tensor) -> Tensor:
        """The numbers of the next step."""
        if self.numbers is None:
            self.numbers = iter(torch.randn(self.num_steps, *like.shape, dtype=like.dtype, device=like.device).unbind())
        return next(self.numbers)


class PathDistribution(TorchDistribution):
    """prod_t conditional(z_t | context_t), a law of paths: batch shape (..., B), event shape (T, Z).

    Padded steps are drawn, for the recursion's sake, and not scored.

    Args:
        states: of the program's run.
        conditional: the law of one step.
        mask: (B, T), True at real steps.
        known: what the conditional reads besides the context, for all steps, (..., T, B, size).
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - torch's own form
    support = constraints.independent(constraints.real, 2)

    def __init__(
        self,
        states: PathStates,
        conditional: Conditional,
        mask: Tensor,
        known: Context = Context(),  # noqa: B008 - immutable
        batch_shape: torch.Size | None = None,
    ) -> None:
        self.states, self.conditional, self.mask, self.known = states, conditional, mask, known
        super().__init__(mask.shape[:1] if batch_shape is None else batch_shape, validate_args=False)

    @property
    def event_shape(self) -> torch.Size:
        """(T, Z); before there is a path, Z is asked of the conditional's law of the first step."""
        if self.states.path is not None:
            return self.states.path.value.shape[-2:]
        law = next(self.conditional.over_steps(self.known))(self.states.first_context)
        return torch.Size((self.mask.shape[1], *law.event_shape))

    @property
    def event_dim(self) -> int:
        """2: time, and the units of z."""
        return 2

    @property
    def has_rsample(self) -> bool:
        """Whether the path drawn is differentiable; True before any was."""
        path = self.states.path
        return path is None or all(law.has_rsample for law in path.laws)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> PathDistribution:
        """The same law for several particles; the states are shared."""
        return PathDistribution(self.states, self.conditional, self.mask, self.known, torch.Size(batch_shape))

    def rsample(self, sample_shape: torch.Size = torch.Size(), standard: Standard | None = None) -> Tensor:  # noqa: B008
        """Draw paths, (sample_shape + batch_shape + (T, Z)), step by step.

        Args:
            sample_shape: independent draws.
            standard: where the normal numbers come from; None draws those of all steps at once.
        """
        return self.states.draw(self.conditional, self.known, torch.Size(sample_shape) + self.batch_shape, standard)

    def given(self, value: Tensor) -> TorchDistribution:
        """The laws of the steps along a path (..., B, T, Z), of the same shapes as this one."""
        steps = self.states.along(value)
        path = self.states.path
        assert path is not None
        law = stack_laws(path.laws[0], path.laws) if path.laws else None
        if law is None:
            known = {name: field.transpose(-2, -3) for name, field in present(self.known).items()}
            law = self.conditional(steps.context(self.conditional.reads)._replace(**known))
        return law.mask(self.mask).to_event(1)

    def log_prob(self, value: Tensor) -> Tensor:
        """sum_t log conditional(z_t | context_t) over the real steps, (..., B), in nats."""
        return self.given(value).log_prob(value)


@reparametrised.register
def _path(law: PathDistribution, standard: Standard) -> Tensor:
    return law.rsample(standard=standard)


@register_kl(PathDistribution, PathDistribution)
def kl_along_path(q: PathDistribution, p: PathDistribution) -> Tensor:
    """sum_t KL(q_t || p_t) along the path that q drew and p was asked about, (..., B), in nats.

    Its mean over the draws of q is the divergence of the two laws of paths.

    Raises:
        NotImplementedError: there is no such path, or no closed form for the laws of a step.
    """
    if q.states.path is None or p.states.path is None or q.states.path.value is not p.states.path.value:
        raise NotImplementedError("the two laws have no path in common")
    path = q.states.path.value
    return kl_divergence(q.given(path), p.given(path))


@singledispatch
def stack_laws(first: Any, laws: list[Any], dim: int = -1) -> TorchDistribution | None:
    """The laws of T steps, each of batch shape (..., B), as one of batch shape (..., B, T).

    None for a family that is not registered: the conditional is then run again, on all steps at once.

    Args:
        first: one of them, by whose type the family is known.
        laws: the laws of the steps.
        dim: where the steps go among the dimensions of the parameters.
    """
    return None


@stack_laws.register
def _normals(first: Normal, laws: list[Any], dim: int = -1) -> TorchDistribution:
    return dist.Normal(torch.stack([law.loc for law in laws], dim), torch.stack([law.scale for law in laws], dim))


@stack_laws.register
def _independents(first: Independent, laws: list[Any], dim: int = -1) -> TorchDistribution | None:
    rightmost = first.reinterpreted_batch_ndims
    base = stack_laws(first.base_dist, [law.base_dist for law in laws], dim - rightmost)
    return None if base is None else base.to_event(rightmost)


def sample_path(law: PathDistribution) -> Tensor:
    """The latent site of the path form, ``z``; returns its value, (..., B, T, Z).

    Where the value is replayed from a guide's trace, what that guide's recursion made of it is taken over.
    """
    with poutine.trace() as tracer:
        value = pyro.sample("z", law, infer={STATES: law.states})
    states = tracer.trace.nodes["z"]["infer"].get(STATES)
    if states is not None and states is not law.states:
        law.states.adopt(states, value)
    return value
