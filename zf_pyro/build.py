"""From a configuration to a model and its guide."""

from __future__ import annotations

from functools import partial
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from zf_pyro.conditionals import ClippedLeakyReLU, Conditional, DiagonalGaussian, GaussianMixture
from zf_pyro.config import ModelConfig, ObjectiveConfig
from zf_pyro.data.corpus import Observation
from zf_pyro.emissions import Bernoulli, Categorical, LogisticMixture, TiedCategorical
from zf_pyro.encoders import BackwardEncoder, BidirectionalEncoder, Encoder, ForwardEncoder, TargetEncoder
from zf_pyro.errors import check
from zf_pyro.fivo import ZForcingFIVO
from zf_pyro.flows import CouplingFlow
from zf_pyro.guides import Guide
from zf_pyro.importance import ZForcingIWAE
from zf_pyro.imported import imported
from zf_pyro.model import StochasticRNN
from zf_pyro.objectives import ZForcingELBO
from zf_pyro.parts import FAMILIES, is_own, require_emission
from zf_pyro.posteriors import PriorPosterior, ResidualGaussian
from zf_pyro.priors import GatedTransition, StandardNormal
from zf_pyro.transitions import (
    DelayedTransition,
    DeterministicTransition,
    GRUTransition,
    LayerNormLSTMTransition,
    LSTMTransition,
    MarkovTransition,
    StackedTransition,
    Transition,
)


def build(config: ModelConfig, observation: Observation) -> tuple[StochasticRNN, Guide]:
    """A model and its guide over a kind of data, freshly initialised from PyTorch's random state.

    Args:
        config: parts, sizes and numerics.
        observation: what stands at a step of the data.

    Raises:
        InputError: a part of a user's own cannot be imported or made, or the emission is none for this data.
    """
    if is_own(config.family):
        pair = imported(config.family, tuple)(config, observation)
        modules = len(pair) == 2 and all(isinstance(each, nn.Module) for each in pair)
        check(modules, f"{config.family} made {len(pair)} things, not a model and a guide, both torch.nn.Modules")
        return pair
    return Builder(config, observation).build()


def build_objective(config: ObjectiveConfig, count: int) -> ZForcingELBO:
    """What training minimises.

    Args:
        config: its kind and its weights.
        count: what the sum over sequences is divided by.
    """
    if config.objective == "elbo":
        several = {"num_particles": config.particles, "vectorize_particles": config.particles > 1}
        options = {"free_bits": config.free_bits, "kl_balance": config.kl_balance, **several}
        elbo = ZForcingELBO(**config.weights, count=count, **options)  # type: ignore[arg-type]
        if config.particles > 1:
            elbo.max_plate_nesting = 2  # sequences, and particles left of them
        return elbo
    if config.objective == "fivo":
        return ZForcingFIVO(**config.weights, count=count, num_particles=config.particles)  # type: ignore[arg-type]
    doubly = config.objective == "dreg"
    return ZForcingIWAE(**config.weights, count=count, num_particles=config.particles, doubly=doubly)


class Unread(nn.Module):
    """embed(u_t) of a model that reads no input: no units.

    Args:
        event_dim: dimensions of u_t at a step: 0 for a class, 1 for bits or real numbers.
    """

    def __init__(self, event_dim: int) -> None:
        super().__init__()
        self.event_dim = event_dim

    def forward(self, u: Tensor) -> Tensor:
        """(..., B, 0), from (..., B) or (..., B, D)."""
        shape = u.shape[: u.dim() - self.event_dim]
        return torch.empty(*shape, 0, device=u.device)


class Builder:
    """The parts of one model and its guide, each made when it is asked for.

    Args:
        config: parts, sizes and numerics.
        observation: what stands at a step of the data.
    """

    def __init__(self, config: ModelConfig, observation: Observation) -> None:
        self.config, self.observation, self.parts = config, observation, config.parts
        self.family = FAMILIES[self.parts.family]
        self.activation = ClippedLeakyReLU(config.activation_slope, config.activation_bound)
        self.latent = 0 if self.parts.family == "rnn" else config.latent_size
        self.prior_reads = self.family.prior_reads + (("input",) if self.parts.prior == "learned-input" else ())
        self.reads_input = self.parts.family != "dmm" or "input" in self.prior_reads
        self.law = config.emission_law or observation.law
        require_emission(self.law, observation.law, lattice=bool(observation.limits), embedding=self.reads_input)

    def build(self) -> tuple[StochasticRNN, Guide]:
        """The model and its guide."""
        tied = self.embedding() if self.law == "tied" else None
        emission = self.emission(tied)
        embedding = (tied or self.embedding()) if self.reads_input else self.unread()
        dropout = self.config.input_dropout if self.reads_input else 0.0
        model = StochasticRNN(embedding, self.transition(), self.prior(), emission, input_dropout=dropout)
        return model, self.guide(model)

    def sizes(self, *fields: str) -> dict[str, int]:
        """The fields of a context and their sizes."""
        config = self.config
        known = {"hidden": config.hidden_size, "latent": self.latent, "input": config.embedding_size}
        return {name: known[name] for name in fields}

    @property
    def perceptron(self) -> dict[str, Any]:
        """What priors and posteriors are made with besides their sizes."""
        config = self.config
        return {"hidden": config.mlp_size, "clamp": config.parameter_clamp, "activation": self.activation}

    def embedding(self) -> nn.Module:
        """embed(u_t): a vector for each class, or a linear map of bits or real numbers."""
        kind = nn.Embedding if self.observation.law == "categorical" else nn.Linear
        return kind(self.observation.size, self.config.embedding_size)

    def unread(self) -> nn.Module:
        """What stands for the embedding of a model that reads no input."""
        return Unread(0 if self.observation.law == "categorical" else 1)

    def emission(self, tied: Any) -> Conditional:
        """p(x_t | feature_t): linear in h_t; with a hidden layer where it reads z_t, or a skip is asked for.

        Args:
            tied: the embedding whose weights are the emission's, None for weights of its own.
        """
        reads = self.family.emission_reads
        skip = self.config.emission_skip and self.parts.family != "dmm"
        sizes = {"feature": sum(self.sizes(*reads).values()), **(self.sizes("input") if skip else {})}
        hidden = self.config.mlp_size if skip or "latent" in reads else None
        if tied is not None:
            return TiedCategorical(sizes, tied, hidden=hidden, activation=self.activation)
        return self.output(sizes, hidden)

    def output(self, sizes: dict[str, int], hidden: int | None = None) -> Conditional:
        """The law of an observation, from some fields and perhaps a hidden layer: of emission and backward model."""
        if is_own(self.law):
            return imported(self.law, Conditional)(sizes, self.observation)
        options: dict[str, Any] = {"hidden": hidden, "activation": self.activation}
        if self.observation.law == "gaussian":
            options["clamp"] = self.config.emission_clamp or None
        components = self.config.emission_components
        makers: dict[str, Any] = {
            "categorical": Categorical,
            "tied": Categorical,  # the backward model's own weights
            "bernoulli": Bernoulli,
            "gaussian": DiagonalGaussian,
            "gaussian-mixture": partial(GaussianMixture, components=components),
            "logistic-mixture": partial(LogisticMixture, components=components, **self.observation.lattice),
        }
        return makers[self.law](sizes, self.observation.size, **options)

    def transition(self) -> Transition:
        """The deterministic recursion of the family."""
        config, family = self.config, self.parts.family
        if family == "dmm":
            return MarkovTransition(self.latent, learn_initial_state=config.learn_initial_state)
        if family in ("srnn", "rnn"):
            return DeterministicTransition(
                config.embedding_size,
                self.latent,
                config.hidden_size,
                kind="gru" if self.parts.transition == "gru" else "lstm",
                num_layers=config.num_layers,
                recurrent_init=config.recurrent_init,
                learn_initial_state=config.learn_initial_state,
            )
        first = self.recurrence(self.latent)
        above = [self.recurrence(config.hidden_size, above=True) for _ in range(config.num_layers - 1)]
        inner = StackedTransition([first, *above]) if above else first
        return DelayedTransition(inner, self.latent) if family == "vrnn" else inner

    def recurrence(self, latent: int, *, above: bool = False) -> Transition:
        """A recurrent network that reads z_t, or in the layers above the first the feature below it."""
        config, name = self.config, self.parts.transition
        sizes = config.embedding_size, latent, config.hidden_size
        if is_own(name):
            return imported(name, Transition)(*sizes)
        kind: Any = {"lstm": LSTMTransition, "gru": GRUTransition, "cond-ln": LayerNormLSTMTransition}[name]
        layer = name == "cond-ln" or (config.transition_mlp and not above)
        return kind(
            *sizes,
            latent_hidden=config.mlp_size if layer else None,
            recurrent_init=config.recurrent_init,
            learn_initial_state=config.learn_initial_state,
            activation=self.activation,
        )

    def prior(self) -> Conditional:
        """p(z_t | context_t)."""
        config, name = self.config, self.parts.prior
        sizes = self.sizes(*self.prior_reads)
        options = self.perceptron
        if is_own(name):
            return imported(name, Conditional)(sizes, self.latent)
        makers: dict[str, Any] = {
            "learned": partial(DiagonalGaussian, sizes, **options),
            "learned-input": partial(DiagonalGaussian, sizes, **options),
            "standard-normal": StandardNormal,
            "transition": partial(GatedTransition, **options),
            "mixture": partial(GaussianMixture, sizes, components=config.mixture_components, **options),
            "flow": partial(CouplingFlow, sizes, layers=config.flow_layers, **options),
        }
        return makers[name](self.latent)

    def guide(self, model: StochasticRNN) -> Guide:
        """The inference network."""
        config, parts, reads = self.config, self.parts, self.family.encoder_reads
        if is_own(parts.guide):
            return imported(parts.guide, nn.Module)(model, config, self.observation)
        encoder = None if parts.posterior == "prior" else self.encoder()
        posterior = self.posterior(encoder)
        backward = encoder is not None and encoder.runs_backward
        return Guide(
            model,
            encoder,
            posterior,
            auxiliary=self.auxiliary() if backward else None,
            backward=self.output({"encoding": config.hidden_size}) if backward and not reads else None,
            embedding=None if encoder is None or (config.share_embedding and self.reads_input) else self.embedding(),
            detach_auxiliary_target=config.detach_auxiliary_target,
            encoder_reads=reads,
        )

    def encoder(self) -> Encoder:
        """What the posterior knows of the targets."""
        config = self.config
        inputs = config.embedding_size + sum(self.sizes(*self.family.encoder_reads).values())
        if self.parts.encoder == "none":
            return TargetEncoder(inputs)
        kinds = {"backward": BackwardEncoder, "forward": ForwardEncoder, "bidirectional": BidirectionalEncoder}
        return kinds[self.parts.encoder](inputs, config.hidden_size, recurrent_init=config.recurrent_init)

    def posterior(self, encoder: Encoder | None) -> Conditional:
        """q(z_t | context_t, e_t)."""
        config, name = self.config, self.parts.posterior
        if encoder is None:
            return PriorPosterior()
        fields = () if name == "mean-field" else self.family.posterior_reads
        sizes = {**self.sizes(*fields), "encoding": encoder.size}
        if name == "flow":
            return CouplingFlow(sizes, self.latent, layers=config.flow_layers, **self.perceptron)
        kind = ResidualGaussian if name == "residual" else DiagonalGaussian
        return kind(sizes, self.latent, **self.perceptron)

    def auxiliary(self) -> Conditional:
        """p(b_t | z_t), or p(b_t | z_t, h_{t-1})."""
        config = self.config
        return DiagonalGaussian(
            self.sizes("latent", *(["hidden"] if config.auxiliary_reads == "latent+hidden" else [])),
            config.hidden_size,
            hidden=config.mlp_size,
            clamp=config.parameter_clamp,
            mean=config.auxiliary_mean,
            scale=sqrt(0.5) if config.auxiliary_loss == "squared-error" else None,
            activation=self.activation,
        )
