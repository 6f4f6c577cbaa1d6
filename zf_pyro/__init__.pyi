from .bounds import Bound, estimate_bound, estimate_filter_bound, log_likelihood
from .conditionals import Conditional, Context, DiagonalGaussian, GaussianMixture
from .data.batch import SequenceBatch
from .emissions import Bernoulli, Categorical, LogisticMixture, TiedCategorical
from .encoders import BackwardEncoder, BidirectionalEncoder, Encoder, ForwardEncoder, TargetEncoder
from .errors import InputError
from .filtering import filter_particles
from .fivo import ZForcingFIVO
from .flows import CouplingFlow
from .generation.decoder import Decoder
from .generation.decoding import Decoded, decode
from .generation.interpolation import interpolate
from .generation.reconstruction import continue_prefix, reconstruct
from .guides import Guide
from .importance import ZForcingIWAE
from .model import StochasticRNN
from .objectives import Terms, ZForcingELBO
from .posteriors import PriorPosterior, ResidualGaussian
from .priors import GatedTransition, StandardNormal
from .runs import LoadedRun, load
from .schedules import Constant, Cyclic, Linear, schedule
from .transitions import (
    DelayedTransition,
    DeterministicTransition,
    GRUTransition,
    LayerNormLSTMTransition,
    LSTMTransition,
    MarkovTransition,
    StackedTransition,
    Transition,
)
from .weights import importance_weights

__version__: str

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
