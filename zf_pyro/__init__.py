"""Z-Forcing, stochastic recurrent networks trained with a backward-running guide, in Pyro."""

from zf_pyro.bounds import Bound, estimate_bound, estimate_filter_bound, log_likelihood
from zf_pyro.conditionals import Conditional, Context, DiagonalGaussian, GaussianMixture
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.emissions import Bernoulli, Categorical, LogisticMixture, TiedCategorical
from zf_pyro.encoders import BackwardEncoder, BidirectionalEncoder, Encoder, ForwardEncoder, TargetEncoder
from zf_pyro.errors import InputError
from zf_pyro.filtering import filter_particles
from zf_pyro.fivo import ZForcingFIVO
from zf_pyro.flows import CouplingFlow
from zf_pyro.generation.decoding import Decoded, Decoder, decode
from zf_pyro.generation.interpolation import interpolate
from zf_pyro.generation.reconstruction import continue_prefix, reconstruct
from zf_pyro.guides import Guide
from zf_pyro.importance import ZForcingIWAE
from zf_pyro.model import StochasticRNN
from zf_pyro.objectives import Terms, ZForcingELBO
from zf_pyro.posteriors import PriorPosterior, ResidualGaussian
from zf_pyro.priors import GatedTransition, StandardNormal
from zf_pyro.runs import LoadedRun, load
from zf_pyro.schedules import Constant, Cyclic, Linear, schedule
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
from zf_pyro.weights import importance_weights

__all__ = [
    "BackwardEncoder",
    "Bernoulli",
    "BidirectionalEncoder",
    "Bound",
    "Categorical",
    "Conditional",
    "Constant",
    "Context",
    "CouplingFlow",
    "Cyclic",
    "Decoded",
    "Decoder",
    "DelayedTransition",
    "DeterministicTransition",
    "DiagonalGaussian",
    "Encoder",
    "ForwardEncoder",
    "GRUTransition",
    "GatedTransition",
    "GaussianMixture",
    "Guide",
    "InputError",
    "LSTMTransition",
    "LayerNormLSTMTransition",
    "Linear",
    "LoadedRun",
    "LogisticMixture",
    "MarkovTransition",
    "PriorPosterior",
    "ResidualGaussian",
    "SequenceBatch",
    "StackedTransition",
    "StandardNormal",
    "StochasticRNN",
    "TargetEncoder",
    "Terms",
    "TiedCategorical",
    "Transition",
    "ZForcingELBO",
    "ZForcingFIVO",
    "ZForcingIWAE",
    "continue_prefix",
    "decode",
    "estimate_bound",
    "estimate_filter_bound",
    "filter_particles",
    "importance_weights",
    "interpolate",
    "load",
    "log_likelihood",
    "reconstruct",
    "schedule",
]
