"""The inference program, in its two forms (see `zf_pyro.model`).

e_t                 = encoder over the targets: of the paper, b_t = backward RNN over x_T .. x_t
q(z | x)            = prod_t q(z_t | context_t, e_t)        context_t holds h_{t-1}, which has seen z_1 .. z_{t-1}
auxiliary           = sum_t log p(b_t | z_t)                b_t detached: no gradient into the encoder through it
backward            = sum_t log p(u_t | b_t)                the encoder's own language model
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyro
import torch
from pyro import poutine
from pyro.nn import PyroModule
from torch import Tensor, nn

from zf_pyro.chunks import in_chunks
from zf_pyro.conditionals import Conditional, Context, beside
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.encoders import Encoder
from zf_pyro.model import StochasticRNN
from zf_pyro.paths import Form, PathDistribution, of_form, sample_path
from zf_pyro.scopes import check_store
from zf_pyro.stepwise import masked_sum
from zf_pyro.terms import AUXILIARY, BACKWARD, record_term


class Guide(PyroModule):
    """A posterior over z_1..z_T, amortised over sequences: what it knows of one comes from an encoder of the targets.

    With a `BackwardEncoder`, which sees the future, it is the guide of Z-Forcing.

    Sites: z_1 .. z_T, or in the path form z, in the plate ``sequences``, as in the model; the terms ``auxiliary`` and
    ``backward`` (see `zf_pyro.terms`), which only `ZForcingELBO` reads.

    The guide runs the model's own transition on its draws, but the model is no submodule of it: each parameter
    belongs to one of the two.

    Args:
        model: the generative program.
        encoder: maps embedded targets (..., T, B, E) and lengths to an encoding of each step; None for a posterior that
            reads none.
        posterior: q(z_t | context_t, e_t).
        auxiliary: p(b_t | z_t), reading ``latent`` (z_t) and perhaps ``hidden``; None for no such term.
        backward: p(u_t | b_t), reading ``encoding``; None for no such term.
        embedding: the encoder's own embedding of the targets; None shares the model's.
        detach_auxiliary_target: keep the auxiliary's gradient out of the encoder, as all of the authors' versions do.
        encoder_reads: fields that the transition knows without any z, to stand beside the embedded targets, such as
            ``hidden`` for the states d_t of a `DeterministicTransition`.
        name: the prefix of the parameters in Pyro's parameter store. Two guides that train under `SVI` in one process
            need two names.

    Raises:
        ValueError: an auxiliary or a backward model is given, and the encoder has no state that runs backward; or a
            backward model, and the encoder reads more than the targets.
    """

    def __init__(
        self,
        model: StochasticRNN,
        encoder: Encoder | None,
        posterior: Conditional,
        *,
        auxiliary: Conditional | None = None,
        backward: Conditional | None = None,
        embedding: nn.Module | None = None,
        detach_auxiliary_target: bool = True,
        encoder_reads: Sequence[str] = (),
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
        self.encoder_reads = tuple(encoder_reads)
        if backward is not None and encoder_reads:
            raise ValueError("p(u_t | b_t) is no model of u_t where the encoder has read what has seen u_t")
        if not (auxiliary is None and backward is None) and not getattr(encoder, "runs_backward", False):
            kind = "no encoder" if encoder is None else type(encoder).__name__
            raise ValueError(f"the auxiliary and the backward term are of a backward network's state; {kind} has none")

    @property
    def model(self) -> StochasticRNN:
        """The generative program that this guide was made for."""
        return self._model[0]

    def encode(self, batch: SequenceBatch, known: Context | None = None) -> Tensor | None:
        """e_1..e_T, (..., T, B, size); None where there is no encoder.

        Args:
            batch: sequences with targets.
            known: what the model's transition knows without any z; by default under no dropout.

        Raises:
            ValueError: the batch has no targets, or the transition does not know what the encoder reads.
        """
        if batch.targets is None:
            raise ValueError("a guide reads the targets, and this batch has none")
        if self.encoder is None:
            return None
        embedding = self.model.embedding if self.embedding is None else self.embedding
        fields = [embedding(batch.targets)]
        if self.encoder_reads and known is None:
            known = self.model.transition.known(self.model.embed_inputs(batch, None))
        for name in self.encoder_reads:
            field = getattr(known, name)
            if field is None:
                raise ValueError(f"the encoder reads {name!r}, which this model's transition does not know beforehand")
            fields.append(field)
        return self.encoder(beside(fields), batch.lengths)

    def forward(self, batch: SequenceBatch, encoding: Tensor | None = None, form: Form = "step") -> Tensor:
        """Run the program; returns z_1..z_T, (..., T, B, Z).

        Args:
            batch: sequences with targets.
            encoding: what `encode` returned for this batch, where the caller has it already.
            form: "step" or "path", the model's.

        Raises:
            ValueError: another guide of this name has used Pyro's parameter store, the batch has no targets, or
                there is no such form.
        """
        check_store(self)
        return of_form(
            form,
            step=lambda: self.run_steps(batch, encoding),
            path=lambda: self.draw_path(batch, encoding),
        )

    def run_steps(self, batch: SequenceBatch, encoding: Tensor | None) -> Tensor:
        """The step form."""
        transition, posterior, prior = self.model.transition, self.posterior, self.model.prior
        state = transition.initial(batch.num_sequences)
        latents, hiddens = [], []
        with pyro.plate("sequences", batch.num_sequences, dim=-1):
            embedded = self.model.embed_inputs(batch, self.model.sample_dropout(batch))
            if encoding is None:
                encoding = self.encode(batch, transition.known(embedded) if self.encoder_reads else None)
            steps = pyro.markov(range(1, batch.num_steps + 1))
            for t, embedded_t in zip(steps, embedded.unbind(-3), strict=True):
                context = transition.predict(state, transition.prepare(embedded_t))
                read = context if encoding is None else context._replace(encoding=encoding[..., t - 1, :, :])
                if "prior" in posterior.reads:
                    read = read._replace(prior=prior(context))
                with poutine.mask(mask=batch.mask[t - 1]):  # type: ignore[call-overload]
                    z = pyro.sample(f"z_{t}", posterior(read))
                state, _ = transition.update(state, context, z)
                latents.append(z)
                hiddens.append(context.hidden)
            z = torch.stack(latents, -3)
            self.record_terms(batch, encoding, lambda: stacked_context(z, hiddens))
        return z

    def draw_path(self, batch: SequenceBatch, encoding: Tensor | None) -> Tensor:
        """The path form."""
        with pyro.plate("sequences", batch.num_sequences, dim=-1):
            law = self.path_law(batch, encoding)
            z = sample_path(law)
            self.record_terms(
                batch,
                law.beyond.encoding,
                lambda: law.states.along(z).steps.context(["hidden"])._replace(latent=z.transpose(-2, -3)),
            )
        return z.transpose(-2, -3)

    def path_law(self, batch: SequenceBatch, encoding: Tensor | None = None) -> PathDistribution:
        """q(z | x) of a batch as one law; in training its dropout mask is a site, which stands in the caller's plates.

        Args:
            batch: sequences with targets.
            encoding: what `encode` returned for this batch, where the caller has it already.
        """
        states = self.model.path_states(batch)
        if encoding is None:
            encoding = self.encode(batch, states.known if self.encoder_reads else None)
        return PathDistribution(states, self.posterior, batch.mask, Context(encoding=encoding))

    def record_terms(self, batch: SequenceBatch, encoding: Tensor | None, context: Callable[[], Context]) -> None:
        """Leave the auxiliary and the backward term in the trace, in nats per sequence.

        Args:
            batch: the sequences.
            encoding: e_1..e_T, (..., T, B, size).
            context: gives what the auxiliary may read, over all steps, (..., T, B, size).
        """
        auxiliary, backward = self.auxiliary, self.backward
        if self.encoder is None or encoding is None or (auxiliary is None and backward is None):
            return
        state = self.encoder.backward_state(encoding)
        if auxiliary is not None:
            target = state.detach() if self.detach_auxiliary_target else state
            record_term(AUXILIARY, lambda: auxiliary_term(auxiliary, batch.mask, target, context()))
        if backward is not None:
            record_term(BACKWARD, lambda: backward_term(backward, batch, state))


def stacked_context(latents: Tensor, hiddens: list[Tensor | None]) -> Context:
    """What the auxiliary may read, (..., T, B, size), from h_{t-1} of every step; h_0 may lack the particles."""
    present = [hidden for hidden in hiddens if hidden is not None]
    hidden = torch.stack(torch.broadcast_tensors(*present), -3) if present else None
    return Context(latent=latents, hidden=hidden)


def auxiliary_term(auxiliary: Conditional, mask: Tensor, target: Tensor, context: Context) -> Tensor:
    """sum_t log p(b_t | z_t), (..., B), in nats."""
    return masked_sum(in_chunks(auxiliary, auxiliary.own_fields(context)).log_prob(target), mask)


def backward_term(backward: Conditional, batch: SequenceBatch, state: Tensor) -> Tensor:
    """sum_t log p(u_t | b_t), (..., B), in nats; t = 1 counts only where u_1 is data."""
    first = 0 if batch.first_input_is_data else 1
    if batch.num_steps == first:
        return state.new_zeros(batch.num_sequences)
    law = in_chunks(backward, Context(encoding=state[..., first:, :, :]))
    scores = law.log_prob(batch.inputs[first:])
    return masked_sum(scores, batch.mask[first:])
