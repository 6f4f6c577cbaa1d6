"""A training step asks the device for numbers once.

Tensors of the device "meta" have a shape and no numbers: whatever asks for one, or for a shape that depends on one,
raises. As a GPU it is another device than the host, where the numbers of batches, schedules and Adam's count of steps
are; unlike one it is everywhere.
"""

import numpy as np
import pyro
import pytest
import torch

from tests.test_precision import EMISSIONS, OBJECTIVES, PARTS, SIZES, batch_of
from zf_pyro import chunks, loops, streams, training
from zf_pyro.build import build
from zf_pyro.config import Config, ModelConfig, ObjectiveConfig, TrainingConfig
from zf_pyro.parts import FAMILIES
from zf_pyro.scopes import local_parameters
from zf_pyro.training import Trainer


@pytest.fixture(autouse=True)
def _as_the_commands(monkeypatch):
    adam = torch.optim.Adam  # fused it is one kernel a device, and there is none for meta
    monkeypatch.setattr(torch.optim, "Adam", lambda *args, fused, **options: adam(*args, foreach=fused, **options))
    monkeypatch.setattr(streams, "generator", lambda device, seed: None)  # nor a generator
    with local_parameters(), pyro.validation_enabled(False):
        yield


class Lengths:
    """A split of which nothing is read."""

    def __init__(self, size):
        self.lengths = [3] * size


def make(emission="bernoulli", objective=None, training=None, device="meta", **options):
    observation, law = EMISSIONS[emission]
    model_config = ModelConfig(**{**SIZES, "input_dropout": 0.3, **options}, emission_law=law)
    parts = model_config.parts
    added = {"alpha": 0.1, "beta": 0.0 if parts.family == "srnn" else 0.1} if parts.runs_backward else {}
    config = Config(
        "arrays",
        "quick",
        model=model_config,
        objective=ObjectiveConfig(**{"alpha": 0.0, "beta": 0.0, **added, "kl_start": 0.2, **(objective or {})}),
        training=TrainingConfig(**(training or {})),
    )
    model, guide = (each.to(device) for each in build(model_config, observation))
    return Trainer(model, guide, config, Lengths(3), Lengths(3)), batch_of(observation, lengths=(2, 1))


@pytest.fixture
def fetched(monkeypatch):
    """How many numbers were fetched, each time that any were."""
    counts = []

    def fetch(values):
        stacked = torch.stack(values)
        assert stacked.device.type == "meta"
        counts.append(len(stacked))
        return [1.0] * len(stacked)

    monkeypatch.setattr(training, "fetch", fetch)
    return counts


def check(fetched, trainer, batch):
    """Two updates; in the second Adam has moments."""
    for _ in range(2):
        trainer.update(np.arange(2), batch)
    assert len(fetched) == 2
    assert trainer.optimizer.state
    assert trainer.skipped == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_an_update_of_every_family_fetches_once(family, fetched):
    check(fetched, *make(family=family))


@pytest.mark.parametrize("emission", EMISSIONS)
@pytest.mark.parametrize("family", ["vrnn", "rnn"])
def test_an_update_of_every_emission_fetches_once(family, emission, fetched):
    """Scored along a path of z, and without one."""
    check(fetched, *make(emission, family=family))


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "fivo"])
def test_an_update_of_every_objective_fetches_once(name, fetched):
    check(fetched, *make(objective=OBJECTIVES[name]))


@pytest.mark.parametrize("name", PARTS)
def test_an_update_of_other_parts_fetches_once(name, fetched):
    check(fetched, *make("categorical", **PARTS[name]))


def test_an_update_fetches_once_in_the_step_form_and_without_a_bound_on_the_gradient(fetched):
    check(fetched, *make(training={"form": "step", "clip_norm": 0.0}))


@pytest.mark.parametrize("emission", ["mixture", "categorical"])
def test_an_update_fetches_once_whatever_the_sizes(emission, fetched, monkeypatch):
    """In chunks, and with the weights' gradients taken after the loop."""
    monkeypatch.setattr(chunks, "LIMIT", 20)
    monkeypatch.setattr("zf_pyro.softmax.LIMIT", 40)
    monkeypatch.setattr(loops, "LARGE", 0)
    check(fetched, *make(emission))


def test_the_particle_filter_asks_at_every_step_whether_to_resample(fetched):
    trainer, batch = make(objective=OBJECTIVES["fivo"])
    with pytest.raises(RuntimeError, match="meta"):
        trainer.update(np.arange(2), batch)
    assert not fetched
