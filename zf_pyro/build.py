"""From a configuration to a model and its guide."""

from __future__ import annotations

from math import sqrt

from torch import nn

from zf_pyro.conditionals import Bernoulli, Categorical, ClippedLeakyReLU, Conditional, DiagonalGaussian
from zf_pyro.config import ModelConfig
from zf_pyro.data.corpus import Observation
from zf_pyro.encoders import BackwardEncoder
from zf_pyro.guides import BackwardGuide
from zf_pyro.model import StochasticRNN
from zf_pyro.transitions import LSTMTransition


def build(config: ModelConfig, observation: Observation) -> tuple[StochasticRNN, BackwardGuide]:
    """Z-Forcing over a kind of data, freshly initialised from PyTorch's random state.

    Args:
        config: sizes and numerics.
        observation: what stands at a step of the data.
    """
    embedded, hidden, latent, mlp = config.embedding_size, config.hidden_size, config.latent_size, config.mlp_size
    activation = ClippedLeakyReLU(config.activation_slope, config.activation_bound)

    def gaussian(sizes: dict[str, int]) -> Conditional:
        return DiagonalGaussian(sizes, latent, hidden=mlp, clamp=config.parameter_clamp, activation=activation)

    emission = (
        build_output(config, observation, activation, {"feature": hidden, "input": embedded}, mlp)
        if config.emission_skip
        else build_output(config, observation, activation, {"feature": hidden})
    )
    model = StochasticRNN(
        build_embedding(config, observation),
        build_transition(config, activation),
        gaussian({"hidden": hidden}),
        emission,
        input_dropout=config.input_dropout,
    )
    guide = BackwardGuide(
        model,
        BackwardEncoder(embedded, hidden, recurrent_init=config.recurrent_init),
        gaussian({"hidden": hidden, "encoding": hidden}),
        auxiliary=build_auxiliary(config, activation),
        backward=build_output(config, observation, activation, {"encoding": hidden}),
        embedding=None if config.share_embedding else build_embedding(config, observation),
        detach_auxiliary_target=config.detach_auxiliary_target,
    )
    return model, guide


def build_embedding(config: ModelConfig, observation: Observation) -> nn.Module:
    """embed(u_t): a vector for each class, or a linear map of bits or real numbers."""
    kind = nn.Embedding if observation.law == "categorical" else nn.Linear
    return kind(observation.size, config.embedding_size)


def build_output(
    config: ModelConfig,
    observation: Observation,
    activation: nn.Module,
    sizes: dict[str, int],
    hidden: int | None = None,
) -> Conditional:
    """The law of an observation, from some fields and perhaps a hidden layer: an emission, or the backward model."""
    if observation.law == "gaussian":
        clamp = config.emission_clamp or None
        return DiagonalGaussian(sizes, observation.size, hidden=hidden, clamp=clamp, activation=activation)
    kind = Categorical if observation.law == "categorical" else Bernoulli
    return kind(sizes, observation.size, hidden=hidden, activation=activation)


def build_transition(config: ModelConfig, activation: nn.Module) -> LSTMTransition:
    """h_t from h_{t-1}, embed(u_t) and z_t."""
    return LSTMTransition(
        config.embedding_size,
        config.latent_size,
        config.hidden_size,
        latent_hidden=config.mlp_size if config.transition_mlp else None,
        recurrent_init=config.recurrent_init,
        learn_initial_state=config.learn_initial_state,
        activation=activation,
    )


def build_auxiliary(config: ModelConfig, activation: nn.Module) -> Conditional:
    """p(b_t | z_t), or p(b_t | z_t, h_{t-1})."""
    sizes = {"latent": config.latent_size}
    if config.auxiliary_reads == "latent+hidden":
        sizes["hidden"] = config.hidden_size
    return DiagonalGaussian(
        sizes,
        config.hidden_size,
        hidden=config.mlp_size,
        clamp=config.parameter_clamp,
        mean=config.auxiliary_mean,
        scale=sqrt(0.5) if config.auxiliary_loss == "squared-error" else None,
        activation=activation,
    )
