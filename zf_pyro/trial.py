"""A first run of programs that hold a user's own parts, before anything is trained or written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pyro import poutine
from torch.nn import Module

from zf_pyro.config import ModelConfig
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.data.corpus import Observation
from zf_pyro.errors import InputError
from zf_pyro.imported import told
from zf_pyro.objectives import Weights, ZForcingELBO
from zf_pyro.parts import is_own
from zf_pyro.paths import Form
from zf_pyro.scopes import evaluating, local_parameters, seeded
from zf_pyro.training import Trainer
from zf_pyro.weights import importance_weights

STEPS = 2


def try_out(trainer: Trainer, config: ModelConfig, observation: Observation) -> None:
    """Train, score and draw two steps; parameters, gradients and random state are then as they were.

    Raises:
        InputError: the parts do not fit together, with what they said.
    """
    # More sequences than z has units: a law without its event dimension would pass where the two are equal.
    batch = zeros(observation, config.latent_size + 2).to(trainer.device)
    form = trainer.options.form
    try:
        with seeded(trainer.device, 0), local_parameters():
            require_sites(trainer.guide, batch, form)
            require_units(trainer.model, batch, config)
            with greatest_weights(trainer.elbo):
                trainer.loss_of(batch).backward()
            importance_weights(trainer.model, trainer.guide, batch, 2, form=form)
    except Exception as error:  # whatever a user's parts raise
        raise InputError(f"the parts named do not work together: {told(error)}") from error
    finally:
        trainer.loss.zero_grad()


@contextmanager
def greatest_weights(elbo: ZForcingELBO) -> Iterator[None]:
    """Inside, each weight of an objective has the greatest value of its schedule."""
    schedules: dict[str, Any] = {name: getattr(elbo, name) for name in Weights._fields}
    try:
        for name, schedule in schedules.items():
            setattr(elbo, name, schedule.peak)
        yield
    finally:
        for name, schedule in schedules.items():
            setattr(elbo, name, schedule)


def zeros(observation: Observation, num_sequences: int) -> SequenceBatch:
    """Sequences of zeros, of two steps."""
    if observation.law == "categorical":
        words = torch.zeros(STEPS, num_sequences, dtype=torch.long)
        return SequenceBatch(words, words, torch.ones_like(words, dtype=torch.bool))
    return SequenceBatch.from_sequences([torch.zeros(STEPS, observation.size)] * num_sequences)


def require_sites(guide: Module, batch: SequenceBatch, form: Form) -> None:
    """Refuse a guide that does not draw what the model asks for."""
    trace = poutine.trace(guide).get_trace(batch, form=form)
    for name in ["z"] if form == "path" else [f"z_{t}" for t in range(1, STEPS + 1)]:
        if name not in trace.nodes:
            raise ValueError(f"the guide has no site {name!r}, which its {form} form is to draw")


def require_units(model: Module, batch: SequenceBatch, config: ModelConfig) -> None:
    """Generate, and refuse a prior whose laws are not of Z units in one event."""
    with evaluating(model):
        trace = poutine.trace(model).get_trace(SequenceBatch.start(batch.inputs[0], STEPS))
    law: Any = trace.nodes["z_1"]["fn"]
    shape = tuple(law.event_shape)
    if shape != (config.latent_size,) and not is_own(config.family):
        raise ValueError(f"the prior's laws have the event shape {shape}, not ({config.latent_size},)")
