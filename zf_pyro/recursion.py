"""The recursion along a latent path, over all steps of a batch or over some of them.

context_t          = predict(state_{t-1}, prepared_t)
z_t                drawn from a conditional given context_t, or given
state_t, feature_t = update(state_{t-1}, context_t, z_t)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.nn.modules.dropout import _DropoutNd

from zf_pyro.conditionals import Conditional, Context, present
from zf_pyro.kernels.choice import Drawn, kernel_for
from zf_pyro.noise import Standard, reparametrised
from zf_pyro.segments import Replayed, run_again
from zf_pyro.steps import DrawnSteps, JoinedSteps, ListedSteps, Steps
from zf_pyro.transitions.base import Transition

Laws = Mapping[Conditional, list[TorchDistribution]]
"""The laws of the steps along a path, by the conditional that they are of."""


class Passage(NamedTuple):
    """What a run of the recursion leaves.

    Attributes:
        latents: z_t, (..., T, B, Z).
        steps: contexts and features.
        laws: those that were made on the way, step by step.
        whole: those that were made for all steps at once.
        state: after the last step.
    """

    latents: Tensor
    steps: Steps
    laws: Laws
    whole: Mapping[Conditional, TorchDistribution]
    state: Any


class Stretch(NamedTuple):
    """Consecutive steps of a batch, as the recursion finds them.

    Attributes:
        transition: the recursion.
        prior: p(z_t | context_t), which a posterior may read.
        embedded: embed(u_t), (..., T, B, E).
        known: what the transition knows of the contexts of all steps without any z.
    """

    transition: Transition
    prior: Conditional
    embedded: Tensor
    known: Context

    def parts(self, lengths: Sequence[int]) -> Iterator[Stretch]:
        """The same steps in pieces."""
        for embedded, known in zip(self.embedded.split(lengths, -3), split(self.known, lengths), strict=True):
            yield self._replace(embedded=embedded, known=known)

    def known_of(self, conditional: Conditional, beyond: Context) -> Context:
        """What a conditional reads of all steps at once: fields that need no z, and those beyond the context."""
        return self.known._replace(
            **{name: None for name in present(self.known) if name not in conditional.reads}, **present(beyond)
        )

    def over_steps(self, conditional: Conditional, beyond: Context) -> Iterator[Callable[[Context], TorchDistribution]]:
        """For each step the function from context_t to the law of a conditional."""
        return conditional.over_steps(self.known_of(conditional, beyond))

    def run(self, choose: Callable[[Context], Tensor], state: Any) -> tuple[list[Tensor], ListedSteps, Any]:
        """The recursion from a state: every z_t is what `choose` makes of context_t, (..., B, Z)."""
        latents, contexts, features = [], [], []
        for prepared in self.transition.over_steps(self.embedded, self.known):
            context = self.transition.predict(state, prepared)
            latent = choose(context)
            state, feature = self.transition.update(state, context, latent)
            latents.append(latent)
            contexts.append(context)
            features.append(feature)
        return latents, ListedSteps(contexts, features), state

    def draw(
        self, conditional: Conditional, beyond: Context, state: Any, shape: torch.Size, standard: Standard
    ) -> Passage:
        """Draw a path, a step after the other from `conditional`, by a kernel where there is one.

        Args:
            conditional: the law of a step. Where it reads the prior, the prior's laws are kept beside its own.
            beyond: what it reads besides the context, for all steps, (..., T, B, size).
            state: before the first step, its parts (*shape, size).
            shape: (..., B).
            standard: where normal numbers come from.
        """
        kernel = kernel_for(self.transition, conditional, self.known_of(conditional, beyond), self.embedded)
        if kernel is not None:
            drawn = kernel.draw(self.embedded, state, shape, standard)
            whole = {} if drawn.law is None else {conditional: drawn.law}
            return Passage(drawn.latents, DrawnSteps(drawn, self.embedded), {}, whole, drawn.last)
        laws_of = StepLaws(self, conditional, beyond, shape, with_prior="prior" in conditional.reads)
        kept: dict[Conditional, list[TorchDistribution]] = {each: [] for each in laws_of.steps}

        def choose(context: Context) -> Tensor:
            for each, law in laws_of(context).items():
                kept[each].append(law)
            return reparametrised(kept[conditional][-1], standard)

        latents, steps, state = self.run(choose, state)
        return Passage(torch.stack(latents, -3), steps, kept, {}, state)

    def draw_in_segments(
        self,
        conditional: Conditional,
        beyond: Context,
        state: Any,
        shape: torch.Size,
        standard: Standard,
        lengths: Sequence[int],
    ) -> Passage:
        """As `draw`, in segments of so many steps that are drawn again for their gradient; no law is kept.

        Raises:
            NotImplementedError: a draw is not reparametrised, or a part drops units at random, other ones when it is
                run again.
        """
        if any(
            isinstance(each, _DropoutNd) and each.training
            for part in (self.transition, conditional)
            for each in part.modules()
        ):
            raise NotImplementedError("a part with dropout of its own cannot be run again, as segments of time need it")
        initial, found = state, []
        for part, others in zip(self.parts(lengths), split(beyond, lengths), strict=True):
            numbers = Replayed(standard)

            def drawn(
                state: Any, part: Stretch = part, others: Context = others, numbers: Replayed = numbers
            ) -> tuple[Tensor, dict[str, Tensor], Any]:
                numbers.rewind()
                passage = part.draw(conditional, others, state, shape, numbers)
                if not all(law.has_rsample for law in passage.laws.get(conditional, ())):
                    raise NotImplementedError("segments of time need reparametrised latent variables, and z is not")
                return passage.latents, passage.steps.computed(), passage.state

            *made, state = run_again(drawn, state)
            found.append(made)
        values, fields = zip(*found, strict=True)
        latents = torch.cat(values, -3)
        joined = {name: torch.cat([each[name] for each in fields], -3) for name in fields[0]}
        steps: Steps = JoinedSteps(joined)
        if joined.keys() == {"feature"}:
            steps = DrawnSteps(Drawn(latents, joined["feature"], initial, state), self.embedded)
        return Passage(latents, steps, {}, {}, state)


def split(context: Context, lengths: Sequence[int]) -> Iterator[Context]:
    """A context of all steps, its fields (..., T, B, size), in pieces."""
    fields = present(context)
    if not fields:
        yield from (context for _ in lengths)
        return
    for parts in zip(*(field.split(lengths, -3) for field in fields.values()), strict=True):
        named: dict[str, Any] = dict(zip(fields, parts, strict=True))
        yield Context(**named)


class StepLaws:
    """The laws of z_t given context_t, t = 1 .. T in this order: of a conditional, and of the prior before it.

    Args:
        stretch: the steps.
        conditional: the law of a step; it may read the prior.
        beyond: what it reads besides the context, for all steps, (..., T, B, size).
        shape: (..., B), the batch shape that laws are expanded to.
        with_prior: whether the prior's are made; a conditional that reads the prior needs them.
    """

    def __init__(
        self, stretch: Stretch, conditional: Conditional, beyond: Context, shape: torch.Size, *, with_prior: bool
    ) -> None:
        self.prior, self.shape = stretch.prior, shape
        wanted = dict.fromkeys((*([self.prior] if with_prior else []), conditional))
        self.steps = {each: stretch.over_steps(each, beyond if each is conditional else Context()) for each in wanted}

    def __call__(self, context: Context) -> dict[Conditional, TorchDistribution]:
        """Those of the next step."""
        laws: dict[Conditional, TorchDistribution] = {}
        for each, steps in self.steps.items():
            law = next(steps)(context)
            laws[each] = law if law.batch_shape == self.shape else law.expand(self.shape)
            if each is self.prior:
                context = context._replace(prior=laws[each])
        return laws
