"""The generative program, in its two forms.

p(x, z | u) = prod_t p(z_t | context_t) p(x_t | feature_t),     u_t = x_{t-1}

context_t            what the transition lets the prior read: h_{t-1} and embed(u_t), see `zf_pyro.transitions`
feature_t            from the updated state, which has seen z_t: z_t reaches x_t only through it

The step form has a site for each z_t and each x_t. It is the definition, and generates. The path form has one site z
and one site x, time in the event shape, and scores the same density faster; see `zf_pyro.paths`.
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.nn import PyroModule
from torch import Tensor, nn

from zf_pyro.chunks import in_chunks
from zf_pyro.conditionals import Conditional
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.paths import Form, PathDistribution, of_form, sample_path
from zf_pyro.scopes import check_store
from zf_pyro.states import PathStates
from zf_pyro.stepwise import Stepwise
from zf_pyro.streams import dropout_factors
from zf_pyro.transitions.base import Transition


class StochasticRNN(PyroModule):
    """A recurrent network with a latent variable at every step.

    Sites: z_1 .. z_T and x_1 .. x_T, or in the path form z and x, in the plate ``sequences``; in training with input
    dropout also ``input_dropout``. Given targets it scores them. Without targets the step form generates: u_t is the
    value of the site x_{t-1}, so that sites replaced by `poutine.condition` are what the next step sees.

    Args:
        embedding: maps u_t, (..., B) or (..., B, D), to (..., B, E).
        transition: the deterministic recursion.
        prior: p(z_t | context_t).
        emission: p(x_t | feature_t); it may also read the context.
        input_dropout: the rate at which units of embed(u_t) are dropped in training. The guide draws the mask, and the
            model, replayed, uses the same one.
        name: the prefix of the parameters in Pyro's parameter store.
    """

    def __init__(
        self,
        embedding: nn.Module,
        transition: Transition,
        prior: Conditional,
        emission: Conditional,
        *,
        input_dropout: float = 0.0,
        name: str = "model",
    ) -> None:
        super().__init__(name)
        self.embedding = embedding
        self.transition: Any = transition
        self.prior = prior
        self.emission = emission
        self.input_dropout = input_dropout

    def forward(self, batch: SequenceBatch, form: Form = "step") -> Tensor:
        """Run the program; returns x_1..x_T, (T, ..., B) or (T, ..., B, D).

        Args:
            batch: sequences, with targets to score or without.
            form: "step" or "path".

        Raises:
            ValueError: another model of this name has used Pyro's parameter store, the batch has no targets for the
                path form to score, or there is no such form.
        """
        check_store(self)
        return of_form(form, step=lambda: self.run_steps(batch), path=lambda: self.score_paths(batch))

    def run_steps(self, batch: SequenceBatch) -> Tensor:
        """The step form."""
        embedding, transition, prior, emission = self.embedding, self.transition, self.prior, self.emission
        state = transition.initial(batch.num_sequences)
        x, xs = batch.inputs[0], []
        with pyro.plate("sequences", batch.num_sequences, dim=-1):
            factors = self.sample_dropout(batch)
            for t in pyro.markov(range(1, batch.num_steps + 1)):
                embedded = embedding(x) if factors is None else embedding(x) * factors[..., t - 1, :]
                context = transition.predict(state, transition.prepare(embedded))
                with poutine.mask(mask=batch.mask[t - 1]):  # type: ignore[call-overload]
                    z = pyro.sample(f"z_{t}", prior(context))
                    state, feature = transition.update(state, context, z)
                    target = None if batch.targets is None else batch.targets[t - 1]
                    x = pyro.sample(f"x_{t}", emission(context._replace(feature=feature)), obs=target)
                xs.append(x)
        return torch.stack(torch.broadcast_tensors(*xs))

    def score_paths(self, batch: SequenceBatch) -> Tensor:
        """The path form; (T, B) or (T, B, D)."""
        if batch.targets is None:
            raise ValueError("the path form scores targets, and this batch has none; the step form generates")
        with pyro.plate("sequences", batch.num_sequences, dim=-1):
            states = self.path_states(batch)
            z = sample_path(PathDistribution(states, self.prior, batch.mask))
            emission = self.emission
            law = in_chunks(emission, states.along(z).steps.context(emission.reads))
            pyro.sample("x", Stepwise(law, batch.mask), obs=batch.targets.transpose(0, 1))
        return batch.targets

    def path_states(self, batch: SequenceBatch) -> PathStates:
        """The states of one run of the path form, of this program or its guide, under this run's dropout."""
        factors = self.sample_dropout(batch)
        # Every part is named within the program's call, by which SVI comes to know its parameters; the states may never
        # ask for it, where they take over what another run has made.
        _, transition, prior = self.embedding, self.transition, self.prior
        return PathStates(self, transition, prior, batch, factors)

    def embed_inputs(self, batch: SequenceBatch, factors: Tensor | None) -> Tensor:
        """embed(u_1)..embed(u_T), (..., T, B, E), times the factors of `sample_dropout`."""
        embedded = self.embedding(batch.inputs)
        return embedded if factors is None else embedded * factors.transpose(-2, -3)

    def sample_dropout(self, batch: SequenceBatch) -> Tensor | None:
        """The factors on the embedded inputs, (..., B, T, E): 0 or 1 / (1 - rate); None outside training.

        A site of zero weight, so that the draw of the guide reaches the model through the trace, under any objective.
        """
        if not (self.training and self.input_dropout):
            return None
        embedded = self.embedding(batch.inputs[:1])
        like = embedded.new_empty(batch.num_sequences, batch.num_steps, embedded.shape[-1])
        factors = dist.Delta(dropout_factors(like, self.input_dropout), event_dim=2)
        return pyro.sample("input_dropout", factors.mask(False))
