"""Laws of whole latent paths z_1..z_T: what the path form of model and guide samples at its one latent site.

    draw          z_t ~ conditional(context_t), t = 1 .. T: the recursion runs once, and keeps its contexts and features
    log-density   sum_t log conditional(z_t | context_t): one pass over all steps at once

Between the two the recursion is not run again: the model scores the very path that the guide drew, and takes over what
the guide's recursion made of it. A site's value has time behind the batch, (..., B, T, Z), where Pyro's events are; all
else has it before, (..., T, B, size), as everywhere in this package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.distributions import kl_divergence, register_kl

from zf_pyro.conditionals import Conditional, Context
from zf_pyro.noise import Standard, reparametrised
from zf_pyro.segments import run_again, segment_lengths
from zf_pyro.states import PathStates
from zf_pyro.stepwise import Stepwise, masked_sum

Form = Literal["step", "path"]
"""The two forms of a program: a site for each step's variables, or one site for a whole path."""


def of_form(form: Form, *, step: Callable[[], Tensor], path: Callable[[], Tensor]) -> Tensor:
    """Run the program of the form asked for.

    Raises:
        ValueError: there is no such form.
    """
    programs = {"step": step, "path": path}
    if form not in programs:
        raise ValueError(f"no form {form!r}; there are {' and '.join(programs)}")
    return programs[form]()


STATES = "states"
"""Key in a site's `infer` under which `sample_path` leaves the program's states for the replayed model."""


class PathDistribution(TorchDistribution):
    """prod_t conditional(z_t | context_t), a law of paths: batch shape (..., B), event shape (T, Z).

    Padded steps are drawn, for the recursion's sake, and not scored.

    Args:
        states: of the program's run.
        conditional: the law of one step.
        real: (T, B), True at real steps, False at padded ones.
        beyond: what the conditional reads besides the context, for all steps, (..., T, B, size).
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - torch's own form
    support = constraints.independent(constraints.real, 2)

    def __init__(
        self,
        states: PathStates,
        conditional: Conditional,
        real: Tensor,
        beyond: Context = Context(),  # noqa: B008 - immutable
        batch_shape: torch.Size | None = None,
    ) -> None:
        self.states, self.conditional, self.real, self.beyond = states, conditional, real, beyond
        super().__init__(real.shape[1:] if batch_shape is None else batch_shape, validate_args=False)

    @property
    def event_shape(self) -> torch.Size:
        """(T, Z); before there is a path, Z is asked of the conditional's law of the first step."""
        if self.states.path is not None:
            return self.states.path.value.shape[-2:]
        law = self.states.first_law(self.conditional, self.beyond)
        return torch.Size((self.real.shape[0], *law.event_shape))

    @property
    def event_dim(self) -> int:
        """2: time, and the units of z."""
        return 2

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether the path drawn is differentiable; True before any was."""
        path = self.states.path
        return path is None or all(law.has_rsample for law in path.laws.get(self.conditional, ()))

    def expand(self, batch_shape: Any, _instance: Any = None) -> PathDistribution:
        """The same law for several particles; the states are shared."""
        return PathDistribution(self.states, self.conditional, self.real, self.beyond, torch.Size(batch_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw paths, (sample_shape + batch_shape + (T, Z)), step by step."""
        return self.states.draw(self.conditional, self.beyond, torch.Size(sample_shape) + self.batch_shape)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw paths without gradient, (sample_shape + batch_shape + (T, Z))."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def given(self, value: Tensor) -> Stepwise:
        """The laws of the steps along a path (..., B, T, Z), of the same shapes as this one."""
        law = self.states.laws(self.conditional, self.beyond, value)
        shape = torch.broadcast_shapes(law.batch_shape, self.real.shape)
        return Stepwise(law if law.batch_shape == shape else law.expand(shape), self.real)

    def log_probs(self, value: Tensor) -> Tensor:
        """Log conditional(z_t | context_t) of each step, zero at padded ones, (..., T, B), in nats."""
        scores = scores_along([self], value, lambda laws, latents: laws[0].log_prob(latents))
        return scores.masked_fill(~self.real, 0.0)

    def log_prob(self, value: Tensor) -> Tensor:
        """The sum over the real steps, (..., B), in nats."""
        return self.log_probs(value).sum(-2)


@reparametrised.register
def _path(law: PathDistribution, standard: Standard) -> Tensor:
    return law.states.draw(law.conditional, law.beyond, law.batch_shape, standard)


@register_kl(PathDistribution, PathDistribution)
def kl_along_path(q: PathDistribution, p: PathDistribution) -> Tensor:
    """sum_t KL(q_t || p_t) along the path that q drew and p was asked about, (..., B), in nats.

    Its mean over the draws of q is the divergence of the two laws of paths.

    Raises:
        NotImplementedError: there is no such path, or no closed form for the laws of a step.
    """
    if q.states.path is None or p.states.path is None or q.states.path.value is not p.states.path.value:
        raise NotImplementedError("the two laws have no path in common")
    kl = scores_along([q, p], q.states.path.value, lambda laws, _: kl_divergence(*laws))
    return masked_sum(kl, q.real)


def scores_along(
    laws: Sequence[PathDistribution], value: Tensor, score: Callable[[list[TorchDistribution], Tensor], Tensor]
) -> Tensor:
    """What `score` makes of the laws of the steps along a path, (..., T, B), in the segments that are asked for.

    Args:
        laws: of one path.
        value: the path, (..., B, T, Z).
        score: is given the laws' steps, of batch shape (..., T, B), and z_t, (..., T, B, Z), of all or of some steps.
    """
    lengths, latents = segment_lengths(value.shape[-2]), value.transpose(-2, -3)
    if len(lengths) == 1:
        return score([law.given(value).law for law in laws], latents)
    made = (law.states.laws_in_segments(law.conditional, law.beyond, value, lengths) for law in laws)

    def scored(latents: Tensor, makers: Sequence[Callable[[], TorchDistribution]]) -> Tensor:
        found = score([maker() for maker in makers], latents)
        return found.expand(torch.broadcast_shapes(found.shape, latents.shape[:-1]))

    parts = zip(latents.split(lengths, -3), zip(*made, strict=True), strict=True)
    scores = [run_again(scored, *part) for part in parts]
    return torch.cat(scores, -2)


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
