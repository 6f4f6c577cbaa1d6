"""Laws of whole latent paths z_1..z_T: what the path form of model and guide samples at its one latent site.

    draw          z_t ~ conditional(context_t), t = 1 .. T: the recursion runs once, and keeps its contexts and features
    log-density   sum_t log conditional(z_t | context_t): one pass over all steps at once

Between the two the recursion is not run again: the model scores the very path that the guide drew, and takes over what
the guide's recursion made of it. A site's value has time behind the batch, (..., B, T, Z), where Pyro's events are; all
else has it before, (..., T, B, size), as everywhere in this package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor, nn
from torch.distributions import kl_divergence, register_kl

from zf_pyro.conditionals import Conditional, Context, present
from zf_pyro.noise import Standard, reparametrised
from zf_pyro.stepwise import Stepwise, stack_laws
from zf_pyro.transitions import Transition

Form = Literal["step", "path"]
"""The two forms of a program: a site for each step's variables, or one site for a whole path."""

STATES = "states"
"""Key in a site's `infer` under which `sample_path` leaves the program's states for the replayed model."""


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
    version: int
    steps: Steps
    laws: list[TorchDistribution]

    def is_of(self, value: Tensor) -> bool:
        """Whether `value` is the very tensor, and nothing was written into it since."""
        return value is self.value and value._version == self.version


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
    def embedded(self) -> Tensor:
        """embed(u_1)..embed(u_T), (..., T, B, E)."""
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
        self.path = Path(value, value._version, along, laws)
        return value

    def along(self, value: Tensor) -> Steps:
        """The contexts and features along a path (..., B, T, Z): those at hand, if it is the very tensor, else anew."""
        if self.path is None or not self.path.is_of(value):
            latents = iter(value.unbind(-2))
            _, steps = self.run(lambda context: next(latents), value.shape[:-2])
            self.path = Path(value, value._version, steps, [])
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
        real: (T, B), True at real steps, False at padded ones.
        known: what the conditional reads besides the context, for all steps, (..., T, B, size).
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - torch's own form
    support = constraints.independent(constraints.real, 2)

    def __init__(
        self,
        states: PathStates,
        conditional: Conditional,
        real: Tensor,
        known: Context = Context(),  # noqa: B008 - immutable
        batch_shape: torch.Size | None = None,
    ) -> None:
        self.states, self.conditional, self.real, self.known = states, conditional, real, known
        super().__init__(real.shape[1:] if batch_shape is None else batch_shape, validate_args=False)

    @property
    def event_shape(self) -> torch.Size:
        """(T, Z); before there is a path, Z is asked of the conditional's law of the first step."""
        if self.states.path is not None:
            return self.states.path.value.shape[-2:]
        law = next(self.conditional.over_steps(self.known))(self.states.first_context)
        return torch.Size((self.real.shape[0], *law.event_shape))

    @property
    def event_dim(self) -> int:
        """2: time, and the units of z."""
        return 2

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether the path drawn is differentiable; True before any was."""
        path = self.states.path
        return path is None or all(law.has_rsample for law in path.laws)

    def expand(self, batch_shape: Any, _instance: Any = None) -> PathDistribution:
        """The same law for several particles; the states are shared."""
        return PathDistribution(self.states, self.conditional, self.real, self.known, torch.Size(batch_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw paths, (sample_shape + batch_shape + (T, Z)), step by step."""
        return self.states.draw(self.conditional, self.known, torch.Size(sample_shape) + self.batch_shape)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw paths without gradient, (sample_shape + batch_shape + (T, Z))."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def given(self, value: Tensor) -> Stepwise:
        """The laws of the steps along a path (..., B, T, Z), of the same shapes as this one."""
        steps = self.states.along(value)
        path = self.states.path
        assert path is not None
        law = stack_laws(path.laws[0], path.laws) if path.laws else None
        if law is None:
            law = self.conditional(steps.context(self.conditional.reads)._replace(**present(self.known)))
        return Stepwise(law, self.real)

    def log_probs(self, value: Tensor) -> Tensor:
        """Log conditional(z_t | context_t) of each step, zero at padded ones, (..., T, B), in nats."""
        return self.given(value).log_probs(value)

    def log_prob(self, value: Tensor) -> Tensor:
        """The sum over the real steps, (..., B), in nats."""
        return self.log_probs(value).sum(-2)


@reparametrised.register
def _path(law: PathDistribution, standard: Standard) -> Tensor:
    return law.states.draw(law.conditional, law.known, law.batch_shape, standard)


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


def sample_path(law: PathDistribution) -> Tensor:
    """The latent site of the path form, ``z``; returns its value, (..., B, T, Z).

    Where the value is replayed from a guide's trace, what that guide's recursion made of it is taken over.
    """
    infer: Any = {STATES: law.states}
    with poutine.trace() as tracer:
        value = pyro.sample("z", law, infer=infer)
    site: Any = tracer.trace.nodes["z"]
    states = site["infer"].get(STATES)
    if states is not None and states is not law.states:
        law.states.adopt(states, value)
    return value
