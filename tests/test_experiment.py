"""Which data and which parameters a run uses where."""

import json

import numpy as np
import pytest
import torch

import zf_pyro
from tests.toy_runs import SMALL, toy_documents
from tests.updates import after_update, ctrl_c
from zf_pyro import experiment
from zf_pyro.bounds import Bound
from zf_pyro.checkpoints import read_checkpoint
from zf_pyro.data.text import load_text
from zf_pyro.metrics import read_metrics
from zf_pyro.training import Trainer


def test_each_split_serves_its_purpose_alone(run_py, reviews, tmp_path, monkeypatch):
    """Trained on train, chosen on validation, and the test split read only after training."""
    seen = {}

    def prepare(config, corpus):
        seen["corpus"] = corpus
        seen["trainer"] = trainer = real_prepare(config, corpus)
        return trainer

    def evaluate(model, guide, config, corpus):
        seen["steps at the test"] = seen["trainer"].step
        return real_evaluate(model, guide, config, corpus)

    real_prepare, real_evaluate = experiment.prepare, experiment.evaluate
    monkeypatch.setattr("zf_pyro.run_commands.prepare", prepare)
    monkeypatch.setattr(experiment, "evaluate", evaluate)
    options = ["--data", reviews, "--max-steps", 8, "--output", tmp_path / "run", *SMALL]
    assert run_py("--dataset", "imdb", *options)[0] == 0
    assert seen["trainer"].train is seen["corpus"].train
    assert seen["trainer"].valid is seen["corpus"].valid
    assert seen["steps at the test"] == 8


def test_the_best_parameters_are_tested_and_loaded(run_py, zf, reviews, tmp_path, monkeypatch):
    bounds = iter([-1.0, -2.0])
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "bound_of_validation", lambda self: Bound(1, 1, -3.0, 0.0, next(bounds), 0.0, 1, 0.0))
        folder = tmp_path / "run"
        options = ["--data", reviews, "--max-steps", 8, "--output", folder, *SMALL, "--set", "learning_rate=0.1"]
        _, output, _ = run_py("--dataset", "imdb", *options)
    assert "Testing the parameters of step 4" in output
    state = read_checkpoint(folder)["trainer"]
    model, guide, *_ = zf_pyro.load(folder)
    for module, name in ((model, "model"), (guide, "guide")):
        for key, value in module.state_dict().items():
            assert torch.equal(value, state["best"][name][key])
        assert not all(torch.equal(value, state[name][key]) for key, value in module.state_dict().items())
    results = json.loads((folder / "results.json").read_text())["test"]
    assert zf("evaluate", folder, "--num-particles", results["num_particles"])[0] == 0
    again = json.loads((folder / f"evaluation-{results['num_particles']}.json").read_text())["test"]
    assert again == results


def test_the_unigram_figure_is_of_the_sentences_scored(finished, reviews):
    config = zf_pyro.load(finished).config
    corpus = load_text(reviews, config.data)
    lengths = corpus.test.lengths
    results = json.loads((finished / "results.json").read_text())["test"]
    assert results["num_sequences"] == 10 < len(corpus.test)
    chosen = np.sort(np.random.default_rng(config.data.split_seed).permutation(len(corpus.test))[:10])
    assert results["num_steps"] == lengths[chosen].sum()
    frequencies = corpus.unigram_counts + 1.0
    frequencies[:2] = 0
    frequencies /= frequencies.sum()
    nats = [-np.log(frequencies[[*corpus.test[int(i)], 2]]).sum() for i in chosen]
    assert results["unigram_perplexity"] == pytest.approx(np.exp(sum(nats) / results["num_steps"]))


def test_seeds_are_tested_on_the_same_sentences(run_py, reviews, tmp_path, finished):
    options = ["--data", reviews, "--max-steps", 8, "--output", tmp_path / "other", "--seed", 7, *SMALL]
    assert run_py("--dataset", "imdb", *options)[0] == 0
    ours, theirs = (
        json.loads((folder / "results.json").read_text())["test"] for folder in (tmp_path / "other", finished)
    )
    assert ours["unigram_perplexity"] == theirs["unigram_perplexity"]
    assert ours["elbo"] != theirs["elbo"]


@pytest.fixture
def official(tmp_path):
    """A folder in the form of aclImdb."""
    root = tmp_path / "aclImdb"
    for part, seed, count in (("train", 0, 60), ("test", 1, 20)):
        for i, text in enumerate(toy_documents(count, seed)):
            folder = root / part / ("pos" if i % 2 else "neg")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i}_1.txt").write_text(f"{text} {part} of this film .")
    return root


def test_another_test_split_is_noticed(run_py, zf, official, tmp_path):
    folder = tmp_path / "run"
    status, _, error = run_py("--dataset", "imdb", "--data", official, "--max-steps", 2, "--output", folder, *SMALL)
    assert status == 0, error
    first = next((official / "test" / "pos").iterdir())
    first.write_text(first.read_text().replace("film", "actor"))
    status, _, error = zf("evaluate", folder, "--num-particles", 2)
    assert (status, error.count("\n")) == (2, 1)
    assert "not the data that" in error


def test_a_run_and_its_text_may_move(zf, reviews, finished, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run, text = finished.rename(elsewhere / "run"), reviews.rename(elsewhere / "text.txt")
    assert zf("evaluate", run, "--num-particles", 2)[0] == 2
    assert zf("evaluate", run, "--num-particles", 2, "--data", text)[0] == 0
    assert (run / "evaluation-2.json").is_file()


def test_a_file_named_like_the_samples_is_read(run_py, reviews, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reviews.rename(tmp_path / "samples")
    status, output, error = run_py(
        "--dataset", "imdb", "--data", "samples", "--max-steps", 1, "--output", "run", *SMALL
    )
    assert status == 0, error
    assert "51 / 3 / 6 documents" in output
    assert zf_pyro.load("run").config.source == str(tmp_path / "samples")


def stop_and_go_on(run_py, reviews, folder, finished, change):
    """A run that `change` interrupts, given a patch, says how to go on, and then ends as `finished` did."""
    with pytest.MonkeyPatch.context() as patch:
        change(patch)
        options = ["--data", reviews, "--max-steps", 8, "--output", folder, *SMALL]
        status, _, error = run_py("--dataset", "imdb", *options)
    assert status == 130
    assert f"--resume {folder}" in error
    assert run_py("--resume", folder)[0] == 0
    assert (folder / "results.json").read_bytes() == (finished / "results.json").read_bytes()


def test_ctrl_c_at_the_last_step(run_py, reviews, tmp_path, finished):
    stop_and_go_on(run_py, reviews, tmp_path / "stopped", finished, lambda patch: after_update(patch, 8, ctrl_c))


def test_a_run_may_go_on_where_its_device_is_chosen_anew(run_py, reviews, tmp_path, finished):
    """The one line of a config.toml that a user moves to another machine."""
    folder = tmp_path / "stopped"

    def change(patch):
        after_update(patch, 4, ctrl_c)

    def moved(*arguments):
        written = (folder / "config.toml").read_text()
        assert 'device = "cpu"' in written
        (folder / "config.toml").write_text(written.replace('device = "cpu"', 'device = "auto"'))
        return run_py(*arguments)

    stop_and_go_on(lambda *a: moved(*a) if "--resume" in a else run_py(*a), reviews, folder, finished, change)


def test_ctrl_c_during_the_test(run_py, reviews, tmp_path, finished):
    def evaluate(*arguments):
        raise KeyboardInterrupt

    def change(patch):
        patch.setattr(experiment, "evaluate", evaluate)

    stop_and_go_on(run_py, reviews, tmp_path / "stopped", finished, change)


def test_evaluation_takes_the_particles_of_the_run(zf, finished):
    assert zf("evaluate", finished)[0] == 0
    first = json.loads((finished / "results.json").read_text())["test"]
    again = json.loads((finished / f"evaluation-{first['num_particles']}.json").read_text())["test"]
    assert again == first


def test_two_loaded_runs_stand_side_by_side(finished):
    from tests.tiny import tiny_batch

    runs_side_by_side = [zf_pyro.load(finished) for _ in range(2)]
    outcomes = []
    for model, guide, *_ in runs_side_by_side:
        torch.manual_seed(0)
        outcomes.append(guide(tiny_batch()))
        model(tiny_batch())
    assert torch.equal(*outcomes)


def test_skipped_updates_are_told(run_py, reviews, tmp_path, monkeypatch):
    real = Trainer.record

    def record(trainer, loss, norm, lengths):
        return real(trainer, loss * float("nan") if trainer.step in (2, 3) else loss, norm, lengths)

    monkeypatch.setattr(Trainer, "record", record)
    options = ["--data", reviews, "--max-steps", 8, "--output", tmp_path / "run", *SMALL]
    _, _, error = run_py("--dataset", "imdb", *options)
    assert "warning: left out 2 updates" in error
    lines = list(read_metrics(tmp_path / "run"))
    assert [line["skipped"] for line in lines if "loss" in line] == [0, 0, 1, 2, 2, 2, 2, 2]
    assert [line["step"] for line in lines if line.get("loss", 0) is None] == [3, 4]
