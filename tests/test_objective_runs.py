"""Objectives by their names: configurations that fit or do not, and whole runs."""

import json
import tomllib

import numpy as np
import pytest

import zf_pyro
from tests.toy_runs import TINY
from zf_pyro import InputError, ZForcingIWAE
from zf_pyro.build import build_objective
from zf_pyro.config import ObjectiveConfig
from zf_pyro.fields import override
from zf_pyro.parts import OBJECTIVES
from zf_pyro.presets import preset


@pytest.fixture
def bits(tmp_path):
    generator = np.random.default_rng(0)
    path = tmp_path / "bits.npz"
    np.savez(path, **{f"a{n}": generator.integers(0, 2, (5 + n % 3, 3)).astype(bool) for n in range(30)})
    return path


OPTIONS = {
    "elbo": [],
    "elbo of particles": ["--set", "train_particles=3"],
    "free bits": ["--set", "free_bits=0.5"],
    "balanced": ["--set", "kl_balance=0.8"],
    "both": ["--set", "kl_balance=0.8", "--set", "free_bits=0.5", "--form", "step"],
    "iwae": ["--objective", "iwae"],
    "iwae in steps": ["--objective", "iwae", "--form", "step", "--set", "train_particles=2"],
    "dreg": ["--objective", "dreg"],
    "dreg of vrnn": ["--objective", "dreg", "--family", "vrnn"],
    "iwae of rnn": ["--objective", "iwae", "--family", "rnn"],
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_run_under_each_objective(name, bits, run_py, tmp_path):
    folder = tmp_path / "run"
    status, _, err = run_py("--dataset", "arrays", "--data", bits, *TINY, *OPTIONS[name], "--output", folder)
    assert status == 0, err
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    updates = [record for record in records if "loss" in record]
    assert all(np.isfinite(list(record.values())).all() for record in updates)
    assert all(record["elbo"] == pytest.approx(record["reconstruction"] - record["kl"]) for record in updates)
    assert all(("penalty" in record) == (name in ("free bits", "both")) for record in updates)
    table = tomllib.loads((folder / "config.toml").read_text())["objective"]
    assert table["objective"] == (OPTIONS[name][1] if "--objective" in OPTIONS[name] else "elbo")
    assert zf_pyro.load(folder).config.objective.objective == table["objective"]


@pytest.mark.parametrize(
    ("objective", "asked", "particles"),
    [("elbo", 0, 1), ("iwae", 0, 5), ("dreg", 0, 5), ("elbo", 3, 3), ("iwae", 2, 2)],
)
def test_particles_of_each_objective(objective, asked, particles):
    made = build_objective(ObjectiveConfig(objective=objective, train_particles=asked), count=4)
    assert made.num_particles == particles
    assert made.count == 4
    assert isinstance(made, ZForcingIWAE) == (objective != "elbo")
    assert getattr(made, "doubly", False) == (objective == "dreg")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"objective": "iwea"}, "objective must be one of elbo, iwae, dreg, not 'iwea'"),
        ({"objective": "iwae", "free_bits": 1.0}, "so free_bits and kl_balance are of the objective elbo"),
        ({"objective": "dreg", "kl_balance": 0.8}, "so free_bits and kl_balance are of the objective elbo"),
        ({"objective": "dreg", "form": "step"}, "dreg needs the path form; take --form path, or iwae"),
        ({"kl_balance": 1.0}, "kl_balance must be above 0 and below 1"),
        ({"kl_balance": 0.8, "prior": "mixture"}, "free_bits and kl_balance need a Gaussian prior and posterior"),
        ({"free_bits": 0.8, "guide": "flow"}, "free_bits and kl_balance need a Gaussian prior and posterior"),
        ({"kl_balance": 0.8, "family": "srnn"}, "a residual posterior moves with the prior"),
        ({"free_bits": -1.0}, "free_bits must not be negative"),
        ({"train_particles": -1}, "train_particles must be at least 0 and at most 10,000"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_with_the_reason(values, reason):
    with pytest.raises(InputError) as caught:
        override(preset("arrays", "quick"), values)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_objectives_are_listed(zf):
    _, out, _ = zf("parts")
    for name, about in OBJECTIVES.items():
        assert f"  {name:17}{about}" in out.splitlines()


def test_a_choice_that_is_none_ends_with_status_2(bits, run_py):
    status, _, err = run_py("--dataset", "arrays", "--data", bits, "--objective", "vae")
    assert status == 2
    assert err.count("\n") == 1
