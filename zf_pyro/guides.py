"""The inference program of the paper, step form.

b_t                 = backward RNN over x_T .. x_t
q(z | x)            = prod_t q(z_t | context_t, b_t)        context_t holds h_{t-1}, which has seen z_1 .. z_{t-1}
auxiliary           = sum_t log p(b_t | z_t)                b_t detached: no gradient into the encoder through it
backward            = sum_t log p(u_t | b_t)                the encoder's own language model
"""

from __future__ import annotations

import pyro
import torch
from pyro import poutine
from pyro.nn import PyroModule
from torch import Tensor, nn

from zf_pyro.conditionals import Conditional, Context
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.encoders import BackwardEncoder
from zf_pyro.model import StochasticRNN
from zf_pyro.scopes import check_store
from zf_pyro.terms import AUXILIARY, BACKWARD, record_term
from zf_pyro.transitions import unbind_steps


class BackwardGuide(PyroModule):
    """A posterior over z_1..z_T that sees the future through an RNN running backward over the targets.

    Sites: z_1 .. z_T in the plate ``sequences``, as in the model; the terms ``auxiliary`` and ``backward`` (see
    `zf_pyro.terms`), which only `ZForcingELBO` reads.

    The guide runs the model's own transition on its draws, but the model is no submodule of it: each parameter
    belongs to one of the two.

    Args:
        model: the generative program.
        encoder: maps embedded targets (T, B, E) and lengths to b_1..b_T (T, B, H).
        posterior: q(z_t | context_t, b_t).
        auxiliary: p(b_t | z_t), reading ``latent`` (z_t) and perhaps ``hidden`` (h_{t-1}); None for no such term.
        backward: p(u_t | b_t), reading ``encoding``; None for no such term.
        embedding: the encoder's own embedding of the targets; None shares the model's.
        detach_auxiliary_target: keep the auxiliary's gradient out of the encoder, as all of the authors' versions do.
        name: the prefix of the parameters in Pyro's parameter store. Two guides that train under `SVI` in one process
            need two names.
    """

    def __init__(
        self,
        model: StochasticRNN,
        encoder: BackwardEncoder,
        posterior: Conditional,
        *,
        auxiliary: Conditional | None = None,
        backward: Conditional | None = None,
        embedding: nn.Module | None = None,
        detach_auxiliary_target: bool = True,
        name: str = "guide",
    ) -> None:
        super().__init__(name)
        # In a tuple, so that PyTorch does not take the model for a submodule.
        self._model = (model,)
        self.encoder = encoder
        self.posterior = posterior
        self.auxiliary = auxiliary
        self.backward = backward
        self.embedding = embedding
        self.detach_auxiliary_target = detach_auxiliary_target

    @property
    def model(self) -> StochasticRNN:
        """The generative program that this guide was made for."""
        return self._model[0]

    def encode(self, batch: SequenceBatch) -> Tensor:
        """b_1..b_T, (T, B, H).

        Raises:
            ValueError: the batch has no targets.
        """
        if batch.targets is None:
            raise ValueError("a guide reads the targets, and this batch has none")
        embedding = self.model.embedding if self.embedding is None else self.embedding
        return self.encoder(embedding(batch.targets), batch.lengths)

    def forward(self, batch: SequenceBatch, encoding: Tensor | None = None) -> Tensor:
        """Run the program; returns z_1..z_T, (..., T, B, Z).

        Args:
            batch: sequences with targets.
            encoding: what `encode` returned for this batch, where the caller has it already.

        Raises:
            ValueError: another guide of this name has used Pyro's parameter store, or the batch has no targets.
        """
        check_store(self)
        encoding = self.encode(batch) if encoding is None else encoding
        transition, posterior = self.model.transition, self.posterior
        state = transition.initial(batch.num_sequences)
        latents, hiddens = [], []
        with pyro.plate("sequences", batch.num_sequences, dim=-1):
            prepared = unbind_steps(transition.prepare(self.embed_inputs(batch)))
            for t, prepared_t in zip(pyro.markov(range(1, batch.num_steps + 1)), prepared, strict=True):
                context = transition.predict(state, prepared_t)
                with poutine.mask(mask=batch.mask[t - 1]):  # type: ignore[call-overload]
                    z = pyro.sample(f"z_{t}", posterior(context._replace(encoding=encoding[t - 1])))
                state, _ = transition.update(state, context, z)
                latents.append(z)
                hiddens.append(context.hidden)
            self.record_terms(batch, encoding, latents, hiddens)
        return torch.stack(latents, -3)

    def embed_inputs(self, batch: SequenceBatch) -> Tensor:
        """embed(u_1)..embed(u_T) under this run's dropout, (..., T, B, E)."""
        embedded = self.model.embedding(batch.inputs)
        kept = self.model.sample_dropout(batch)
        return embedded if kept is None else embedded * kept

    def record_terms(
        self, batch: SequenceBatch, encoding: Tensor, latents: list[Tensor], hiddens: list[Tensor | None]
    ) -> None:
        """Leave the auxiliary and the backward term in the trace, in nats per sequence."""
        auxiliary, backward = self.auxiliary, self.backward
        if auxiliary is not None:
            target = encoding.detach() if self.detach_auxiliary_target else encoding
            record_term(AUXILIARY, lambda: auxiliary_term(auxiliary, batch.mask, target, latents, hiddens))
        if backward is not None:
            record_term(BACKWARD, lambda: backward_term(backward, batch, encoding))


def auxiliary_term(
    auxiliary: Conditional, mask: Tensor, target: Tensor, latents: list[Tensor], hiddens: list[Tensor | None]
) -> Tensor:
    """sum_t log p(b_t | z_t), (..., B), in nats."""
    context = Context(latent=torch.stack(latents, -3))
    if "hidden" in auxiliary.reads:
        context = context._replace(hidden=torch.stack(torch.broadcast_tensors(*hiddens), -3))
    return masked_sum(auxiliary(context).log_prob(target), mask)


def backward_term(backward: Conditional, batch: SequenceBatch, encoding: Tensor) -> Tensor:
    """sum_t log p(u_t | b_t), (B,), in nats; t = 1 counts only where u_1 is data."""
    first = 0 if batch.first_input_is_data else 1
    if batch.num_steps == first:
        return encoding.new_zeros(batch.num_sequences)
    scores = backward(Context(encoding=encoding[first:])).log_prob(batch.inputs[first:])
    return masked_sum(scores, batch.mask[first:])


def masked_sum(scores: Tensor, mask: Tensor) -> Tensor:
    """Sum scores (..., T, B) over the real steps of mask (T, B)."""
    return scores.masked_fill(~mask, 0.0).sum(-2)
