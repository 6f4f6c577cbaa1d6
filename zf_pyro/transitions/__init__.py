"""The deterministic recursion, in two halves with the draw of z_t between them.

    prepared_t         = transition.prepare(embed(u_t))           what needs no z; over_steps for all steps at once
    context_t          = transition.predict(state_{t-1}, prepared_t)
    state_t, feature_t = transition.update(state_{t-1}, context_t, z_t)

Every tensor may have particles in front of its batch dimension.
"""

from zf_pyro.transitions.base import RecurrentInit, Transition
from zf_pyro.transitions.composed import DelayedTransition, StackedTransition
from zf_pyro.transitions.deterministic import DeterministicTransition
from zf_pyro.transitions.markov import MarkovTransition
from zf_pyro.transitions.recurrent import GRUTransition, LayerNormLSTMTransition, LSTMTransition

__all__ = [
    "DelayedTransition",
    "DeterministicTransition",
    "GRUTransition",
    "LSTMTransition",
    "LayerNormLSTMTransition",
    "MarkovTransition",
    "RecurrentInit",
    "StackedTransition",
    "Transition",
]
