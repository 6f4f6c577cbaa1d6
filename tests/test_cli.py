"""The commands as a user meets them, on a small text."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import torch

import zf_pyro
from tests.toy_runs import SMALL, TEXT_FILES
from tests.updates import after_update, ctrl_c
from zf_pyro.checkpoints import read_checkpoint
from zf_pyro.fields import override
from zf_pyro.metrics import read_metrics
from zf_pyro.presets import PRESETS

ROOT = Path(__file__).parents[1]


def test_a_run_from_beginning_to_end(finished):
    assert {path.name for path in finished.iterdir()} == TEXT_FILES
    results = json.loads((finished / "results.json").read_text())
    assert list(results) == [
        *("dataset", "preset", "seed", "device", "form", "sequence", "step", "measure", "steps"),
        *("num_parameters", "test"),
    ]
    assert list(results["test"]) == [
        *("num_sequences", "num_steps", "elbo", "elbo_se", "iw_bound", "iw_bound_se", "num_particles", "kl"),
        *("iw_bound_bootstrap_se", "iw_bound_per_step_se", "marginal", "elbo_per_step", "iw_bound_per_step"),
        *("perplexity_elbo", "perplexity", "unigram_perplexity", "curve", "effective_sample_size", "active_units"),
    ]
    assert results["steps"] == 8
    assert results["test"]["num_sequences"] == 10
    assert results["test"]["elbo"] <= results["test"]["iw_bound"] < 0
    assert results["test"]["perplexity"] <= results["test"]["perplexity_elbo"]
    model, guide, config, observation, vocabulary = zf_pyro.load(finished)
    sizes = sum(p.numel() for module in (model, guide) for p in module.parameters())
    assert results["num_parameters"] == sizes
    assert config.training.max_steps == 8
    assert observation.size == len(vocabulary) == len((finished / "vocabulary.txt").read_text().splitlines())
    lines = list(read_metrics(finished))
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 9))
    assert [line["step"] for line in lines if "valid_elbo" in line] == [4, 8]
    assert len((finished / "samples.txt").read_text().splitlines()) == 20
    assert (finished / "curves.png").read_bytes().startswith(b"\x89PNG")
    table = tomllib.loads((finished / "config.toml").read_text())
    assert table["versions"]["torch"] == torch.__version__
    assert table["model"]["hidden_size"] == 8


def test_the_run_announces_itself(run_py, reviews, tmp_path):
    status, output, _ = run_py(
        *("--dataset", "imdb", "--data", reviews, "--device", "cpu", "--max-steps", 1, "--output", tmp_path / "r"),
        *SMALL,
    )
    first = output.splitlines()[0]
    assert status == 0
    assert "preset quick (no GPU in use), device cpu, seed 0" in first
    assert "nats per sentence" in output
    assert "10 sentences" in output


def test_the_same_seed_gives_the_same_results(run_py, reviews, tmp_path, finished):
    folder = tmp_path / "again"
    run_py("--dataset", "imdb", "--data", reviews, "--max-steps", 8, "--output", folder, *SMALL)
    for name in ("results.json", "metrics.jsonl", "samples.txt"):
        assert (folder / name).read_bytes() == (finished / name).read_bytes()


def test_a_config_file_runs_again(run_py, tmp_path, finished):
    folder = tmp_path / "again"
    status, _, error = run_py("--config", finished / "config.toml", "--output", folder)
    assert status == 0, error
    assert (folder / "results.json").read_bytes() == (finished / "results.json").read_bytes()


def test_runs_without_output_get_numbered_folders(run_py, reviews, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        assert run_py("--dataset", "imdb", "--data", "reviews.txt", "--max-steps", 1, "--seed", 5, *SMALL)[0] == 0
        assert (tmp_path / "runs" / f"imdb-quick-5-{number}" / "results.json").is_file()


def test_a_finished_run_is_kept_without_force(run_py, reviews, finished):
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    arguments = ["--dataset", "imdb", "--data", reviews, "--max-steps", 2, "--output", finished, *SMALL]
    status, _, error = run_py(*arguments)
    assert (status, error.count("\n")) == (2, 1)
    assert "--force" in error
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before
    assert run_py(*arguments, "--force")[0] == 0
    assert json.loads((finished / "results.json").read_text())["steps"] == 2


def test_force_with_bad_data_keeps_the_old_run(run_py, tmp_path, finished):
    arguments = ["--dataset", "imdb", "--data", tmp_path / "none", "--output", finished, "--force", *SMALL]
    assert run_py(*arguments)[0] == 2
    assert (finished / "results.json").is_file()


def test_evaluation_again_with_more_particles(zf, finished):
    status, _, error = zf("evaluate", finished, "--num-particles", 7)
    assert status == 0, error
    again = json.loads((finished / "evaluation-7.json").read_text())["test"]
    first = json.loads((finished / "results.json").read_text())["test"]
    assert again["num_particles"] == 7
    assert again["num_sequences"] == 10
    assert again["unigram_perplexity"] == first["unigram_perplexity"]
    assert abs(again["elbo"] - first["elbo"]) < 1
    assert zf("evaluate", finished, "--num-particles", 2, "--eval-sequences", "all")[0] == 0
    assert json.loads((finished / "evaluation-2.json").read_text())["test"]["num_sequences"] > 10


def test_either_form_trains_and_evaluates(run_py, zf, reviews, tmp_path, finished):
    folder = tmp_path / "step"
    arguments = ["--dataset", "imdb", "--data", reviews, "--max-steps", 8, "--form", "step", "--output", folder, *SMALL]
    assert run_py(*arguments)[0] == 0
    assert 'form = "step"' in (folder / "config.toml").read_text()
    assert 'form = "path"' in (finished / "config.toml").read_text()
    for form in ("step", "path"):
        assert zf("evaluate", folder, "--num-particles", 200, "--form", form)[0] == 0
        bound = json.loads((folder / "evaluation-200.json").read_text())["test"]
        (folder / "evaluation-200.json").rename(folder / f"{form}.json")
        assert bound["num_particles"] == 200
    step, path = (json.loads((folder / f"{form}.json").read_text())["test"] for form in ("step", "path"))
    assert step["elbo"] != path["elbo"]
    assert step["elbo"] == pytest.approx(path["elbo"], abs=0.1)
    assert all(bound["elbo"] < bound["iw_bound"] for bound in (step, path))


def test_evaluation_is_blind_to_the_weights_of_training(zf, finished):
    def evaluated():
        assert zf("evaluate", finished, "--num-particles", 3)[0] == 0
        return (finished / "evaluation-3.json").read_bytes()

    before = evaluated()
    config = finished / "config.toml"
    text = config.read_text()
    changed = text.replace("alpha = 0.005", "alpha = 3.0").replace("beta = 0.005", "beta = 0.0")
    changed = changed.replace("kl_start = 0.2", "kl_start = 0.7").replace('gamma = ""', 'gamma = "cyclic:0:0.5:3"')
    assert changed.count("\n") == text.count("\n")
    assert changed != text
    assert "cyclic" in changed
    config.write_text(changed)
    assert evaluated() == before


def test_evaluation_on_other_text_is_refused(zf, reviews, finished):
    reviews.write_text(reviews.read_text().replace("story", "novel"))
    status, _, error = zf("evaluate", finished, "--num-particles", 3)
    assert (status, error.count("\n")) == (2, 1)
    assert "not the data that" in error


@pytest.mark.parametrize("step", [2, 4, 7])
def test_interrupt_and_resume_equals_no_interrupt(run_py, reviews, tmp_path, finished, step):
    folder = tmp_path / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        after_update(patch, step, ctrl_c)
        arguments = ["--dataset", "imdb", "--data", reviews, "--max-steps", 8, "--output", folder, *SMALL]
        status, _, error = run_py(*arguments)
    assert status == 130
    assert f"--resume {folder}" in error
    assert not (folder / "results.json").exists()
    status, _, error = run_py("--resume", folder, pictures=True)
    assert status == 0, error
    for name in ("results.json", "metrics.jsonl", "samples.txt", "curves.png"):
        assert (folder / name).read_bytes() == (finished / name).read_bytes(), name
    ours, theirs = zf_pyro.load(folder), zf_pyro.load(finished)
    for a, b in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_finished_run_is_not_resumed(run_py, finished):
    status, _, error = run_py("--resume", finished)
    assert (status, error.count("\n")) == (2, 1)
    assert "finished" in error


def test_every_field_of_a_preset_can_be_set():
    config = PRESETS["imdb"]["quick"]
    values = {}
    for section in fields(config):
        value = getattr(config, section.name)
        inner = (
            {f.name: getattr(value, f.name) for f in fields(value)} if is_dataclass(value) else {section.name: value}
        )
        assert not values.keys() & inner.keys()
        values |= inner
    assert override(config, values) == config
    spelled = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}
    assert override(config, spelled) == config


def test_no_terminal_needed_and_ctrl_c_saves(reviews, tmp_path):
    """The real process: it is told to stop from outside, saves, says how to go on, and goes on."""
    folder = tmp_path / "run"
    command = [sys.executable, str(ROOT / "run.py")]
    options = ["--dataset", "imdb", "--data", str(reviews), "--max-steps", "4000"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*command, *options, "--output", str(folder), *SMALL, "--epochs", "4000"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (folder / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"interrupted and saved; go on with: python run.py --resume {folder}" in error
    state = read_checkpoint(folder)
    assert 0 < state["trainer"]["counters"][0] < 4000
    assert state["metrics_size"] == (folder / "metrics.jsonl").stat().st_size
