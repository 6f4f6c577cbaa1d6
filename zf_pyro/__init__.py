"""Z-Forcing, stochastic recurrent networks trained with a backward-running guide, in Pyro."""

from zf_pyro.bounds import Bound, estimate_bound, importance_weights
from zf_pyro.conditionals import Bernoulli, Categorical, Conditional, Context, DiagonalGaussian
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.encoders import BackwardEncoder
from zf_pyro.errors import InputError
from zf_pyro.guides import BackwardGuide
from zf_pyro.model import StochasticRNN
from zf_pyro.objectives import Terms, ZForcingELBO
from zf_pyro.runs import LoadedRun, load
from zf_pyro.schedules import LinearSchedule
from zf_pyro.transitions import LSTMTransition

__all__ = [
    "BackwardEncoder",
    "BackwardGuide",
    "Bernoulli",
    "Bound",
    "Categorical",
    "Conditional",
    "Context",
    "DiagonalGaussian",
    "InputError",
    "LSTMTransition",
    "LinearSchedule",
    "LoadedRun",
    "SequenceBatch",
    "StochasticRNN",
    "Terms",
    "ZForcingELBO",
    "estimate_bound",
    "importance_weights",
    "load",
]
