"""Objectives by their names: configurations that fit or do not, and whole runs."""

import json
import tomllib

import numpy as np
import pytest

import zf_pyro
from tests.toy_runs import TINY
from tests.updates import before_update, ctrl_c
from zf_pyro import InputError, ZForcingFIVO, ZForcingIWAE, estimate_filter_bound, experiment
from zf_pyro.build import build_objective
from zf_pyro.config import ObjectiveConfig
from zf_pyro.data.loader import ordered_batches, subset
from zf_pyro.evaluation import evaluate
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
    "fivo": ["--objective", "fivo"],
    "fivo of srnn": ["--objective", "fivo", "--family", "srnn", "--set", "input_dropout=0.3"],
    "fivo of dmm": ["--objective", "fivo", "--family", "dmm", "--gamma", "linear:0:1:2"],
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_run_under_each_objective(name, bits, run_py, tmp_path):
    folder = tmp_path / "run"
    status, _, err = run_py("--dataset", "arrays", "--data", bits, *TINY, *OPTIONS[name], "--output", folder)
    assert status == 0, err
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    updates = [record for record in records if "loss" in record]
    assert all(np.isfinite(list(record.values())).all() for record in updates)
    gauged = [record for record in updates if "kl" in record]  # all but where gamma is 0
    assert len(gauged) >= len(updates) - 1
    assert all(record["elbo"] == pytest.approx(record["reconstruction"] - record["kl"]) for record in gauged)
    assert all(("penalty" in record) == (name in ("free bits", "both")) for record in updates)
    table = tomllib.loads((folder / "config.toml").read_text())["objective"]
    assert table["objective"] == (OPTIONS[name][1] if "--objective" in OPTIONS[name] else "elbo")
    assert zf_pyro.load(folder).config.objective.objective == table["objective"]


@pytest.mark.parametrize(
    ("objective", "asked", "particles"),
    [("elbo", 0, 1), ("iwae", 0, 5), ("dreg", 0, 5), ("fivo", 0, 5), ("elbo", 3, 3), ("iwae", 2, 2)],
)
def test_particles_of_each_objective(objective, asked, particles):
    made = build_objective(ObjectiveConfig(objective=objective, train_particles=asked), count=4)
    assert made.num_particles == particles
    assert made.count == 4
    assert isinstance(made, ZForcingIWAE) == (objective != "elbo")
    assert getattr(made, "doubly", False) == (objective == "dreg")
    assert isinstance(made, ZForcingFIVO) == (objective == "fivo")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"objective": "iwea"}, "objective must be one of elbo, iwae, dreg, fivo, not 'iwea'"),
        ({"objective": "iwae", "free_bits": 1.0}, "so free_bits and kl_balance are of the objective elbo"),
        ({"objective": "dreg", "kl_balance": 0.8}, "so free_bits and kl_balance are of the objective elbo"),
        ({"objective": "fivo", "free_bits": 1.0}, "so free_bits and kl_balance are of the objective elbo"),
        ({"objective": "fivo", "form": "step"}, "fivo needs the path form; take --form path, or iwae"),
        ({"objective": "dreg", "form": "step"}, "dreg needs the path form; take --form path, or iwae"),
        ({"checkpoint_segments": 0}, "checkpoint_segments must be at least 1"),
        ({"checkpoint_segments": 2, "form": "step"}, "checkpoint_segments above 1 needs the path form"),
        (
            {"checkpoint_segments": 2, "objective": "fivo"},
            "fivo draws its paths in one piece; set checkpoint_segments to 1",
        ),
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


def test_a_run_by_the_particle_filter_stopped_and_resumed(bits, run_py, tmp_path):
    options = ["--dataset", "arrays", "--data", bits, *TINY, "--objective", "fivo", "--max-steps", 6]
    assert run_py(*options, "--output", tmp_path / "whole")[0] == 0
    with pytest.MonkeyPatch.context() as patch:
        before_update(patch, 3, ctrl_c)
        assert run_py(*options, "--output", tmp_path / "stopped")[0] == 130
    assert run_py("--resume", tmp_path / "stopped")[0] == 0
    for name in ("metrics.jsonl", "results.json"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def results_of(path):
    return json.loads(path.read_text())["test"]


def test_the_particle_filter_beside_the_other_bounds(finished, zf):
    """On text: asked for it is added, and leaves the others as they are."""
    assert "fivo_bound" not in results_of(finished / "results.json")
    found = []
    for options in ([], ["--particle-filter"]):
        status, out, err = zf("evaluate", finished, "--num-particles", 3, "--device", "cpu", *options)
        assert status == 0, err
        assert ("  FIVO      " in out) == bool(options)
        found.append(results_of(finished / "evaluation-3.json"))
    plain, more = found
    added = {"fivo_bound", "fivo_bound_se", "resamplings", "fivo_bound_per_step", "perplexity_fivo"}
    assert more.keys() - plain.keys() == added
    assert {name: more[name] for name in plain} == plain
    assert f"{more['fivo_bound']:10.3f} +- {more['fivo_bound_se']:.3f} nats per sentence" in out
    assert more["fivo_bound_per_step"] == pytest.approx(more["fivo_bound"] * more["num_sequences"] / more["num_steps"])
    assert more["perplexity_fivo"] == pytest.approx(np.exp(-more["fivo_bound_per_step"]))
    run = zf_pyro.load(finished)
    corpus = experiment.matching_corpus(run.config, finished, lambda line: None)
    chosen = subset(len(corpus.test.lengths), 10, run.config.data.split_seed)
    batches = ordered_batches(corpus.test, chosen, 64)
    bound = estimate_filter_bound(run.model, run.guide, batches, 3, seed=run.config.seed)
    assert bound._asdict() == {name: more[name] for name in bound._fields}


def test_real_numbers_in_their_own_units(run_py, tmp_path):
    path = tmp_path / "reals.npz"
    np.savez(path, **{f"a{n}": np.random.default_rng(n).normal(3, 5, (5, 2)) for n in range(30)})
    options = ["--dataset", "arrays", "--data", path, *TINY, "--set", "particle_filter=true"]
    status, out, err = run_py(*options, "--output", tmp_path / "run")
    assert status == 0, err
    test = results_of(tmp_path / "run" / "results.json")
    shift = test["iw_bound"] - test["iw_bound_original"]
    assert test["fivo_bound"] - test["fivo_bound_original"] == pytest.approx(shift, rel=1e-9)
    assert test["fivo_bound_original_per_step"] == pytest.approx(test["fivo_bound_original"] / 5)
    assert "  FIVO      " in out


@pytest.mark.parametrize("options", [["--objective", "fivo"], ["--set", "particle_filter=true"]], ids=str)
def test_a_guide_of_another_kind_is_no_proposal(options, bits, run_py, tmp_path, monkeypatch):
    """It is refused before anything is trained or written."""
    (tmp_path / "alone.py").write_text(
        "from zf_pyro import Guide, PriorPosterior\n"
        "import torch\n"
        "class Wrapped(torch.nn.Module):\n"
        "    def __init__(self, model, config, observation):\n"
        "        super().__init__()\n"
        "        self.inner = Guide(model, None, PriorPosterior())\n"
        "    def forward(self, *args, **options):\n"
        "        return self.inner(*args, **options)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    run = ["--dataset", "arrays", "--data", bits, *TINY, "--guide", "alone:Wrapped", "--output", tmp_path / "run"]
    status, _, err = run_py(*run, *options)
    assert status == 2
    assert err.count("\n") == 1
    assert "a particle filter draws a step at a time, and needs for it a zf_pyro.Guide made for this model" in err
    assert not (tmp_path / "run").exists()


def test_a_test_with_a_guide_of_another_kind_is_refused_before_anything_is_scored():
    config = override(preset("digits", "quick"), {"particle_filter": True})
    with pytest.raises(InputError, match="a particle filter draws a step at a time"):
        evaluate(None, lambda batch: None, config, None)


def test_objectives_are_listed(zf):
    _, out, _ = zf("parts")
    for name, about in OBJECTIVES.items():
        assert f"  {name:17}{about}" in out.splitlines()


def test_a_choice_that_is_none_ends_with_status_2(bits, run_py):
    status, _, err = run_py("--dataset", "arrays", "--data", bits, "--objective", "vae")
    assert status == 2
    assert err.count("\n") == 1
