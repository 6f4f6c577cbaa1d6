"""A run that is killed at any moment, and gone on with, ends as one that was not."""

import numpy as np
import pytest

from tests.killing import Runs
from tests.toy_runs import SIZES, set_all

FIELDS = {"num_particles": 3, "num_samples": 2, "input_dropout": 0.2, "learning_rate": "linear:0.01:0.001:120"}


@pytest.fixture
def options(tmp_path):
    """Of ``run.py``, on random bits."""
    random = np.random.default_rng(0)
    np.savez(tmp_path / "bits.npz", **{f"a{n}": random.random((3 + n % 5, 3)) < 0.5 for n in range(90)})
    place = ["--data", tmp_path / "bits.npz", "--device", "cpu"]
    return ["--dataset", "arrays", "--preset", "quick", *place, *set_all(FIELDS)]


def test_five_kills_change_nothing(options, tmp_path):
    """At lines of the package's code, from the first to the last."""
    fields = {**SIZES, "batch_size": 8, "max_steps": 16, "validate_every": 3, "validation_particles": 2}
    runs = Runs(tmp_path, [*options, *set_all(fields)])
    runs.killed(0, 5, lambda source: {"last": source.randint(1, runs.moments)})


@pytest.mark.slow
def test_twenty_kills_change_nothing(options, tmp_path):
    """From outside, at moments of the clock, of a model of the preset's size."""
    runs = Runs(tmp_path, [*options, *set_all({"max_steps": 200, "validate_every": 10})])
    runs.killed(1, 20, lambda source: {"seconds": source.uniform(0, 12)})
