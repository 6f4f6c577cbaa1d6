"""Mistakes of a user: exit status 2, one line that says what to do, nothing half-written."""

import errno
import json
import os
import shutil

import pytest
import torch

from tests.toy_runs import SMALL, TEXT_FILES
from zf_pyro import checkpoints, files, runs

BAD_OPTIONS = {
    "data set": (["--dataset", "imbd"], "near names: imdb"),
    "no data set": ([], "by --dataset: imdb, text, mnist"),
    "preset": (["--dataset", "imdb", "--preset", "papper"], "near names: paper"),
    "field": (["--dataset", "imdb", "--set", "hiden_size=3"], "near names: hidden_size"),
    "no value": (["--dataset", "imdb", "--set", "hidden_size"], "FIELD=VALUE"),
    "type": (["--dataset", "imdb", "--set", "hidden_size=many"], "hidden_size must be a whole number"),
    "real for whole": (["--dataset", "imdb", "--set", "hidden_size=2.5"], "whole number"),
    "boolean": (["--dataset", "imdb", "--set", "emission_skip=perhaps"], "true or false"),
    "choice": (["--dataset", "imdb", "--set", "auxiliary_loss=huber"], "gaussian, squared-error"),
    "range": (["--dataset", "imdb", "--set", "hidden_size=0"], "at least 1"),
    "not finite": (["--dataset", "imdb", "--alpha", "nan"], "alpha"),
    "negative": (["--dataset", "imdb", "--alpha", "-1"], "alpha must not be negative"),
    "particles": (["--dataset", "imdb", "--num-particles", "0"], "at least 1"),
    "steps": (["--dataset", "imdb", "--max-steps", "0"], "max-steps"),
    "batch": (["--dataset", "imdb", "--batch-size", "0"], "at least 1"),
    "epochs": (["--dataset", "imdb", "--epochs", "0"], "at least 1"),
    "seed": (["--dataset", "imdb", "--seed", "-1"], "seed"),
    "device": (["--dataset", "imdb", "--device", "abacus"], "take cpu"),
    "absent device": (["--dataset", "imdb", "--device", "cuda:99"], "take cpu"),
    "device without numbers": (["--dataset", "imdb", "--device", "meta"], "take cpu"),
    "device by field": (["--dataset", "imdb", "--set", "device=abacus"], "take cpu"),
    "data set by field": (["--dataset", "imdb", "--set", "dataset=mnist"], "choose it by --dataset"),
    "preset by field": (["--dataset", "imdb", "--set", "preset=paper"], "choose it by --preset"),
    "large seed": (["--dataset", "imdb", "--seed", str(2**32)], "below 2**32"),
    "large size": (["--dataset", "imdb", "--set", "hidden_size=1000000000"], "cannot be made"),
    "larger size": (["--dataset", "imdb", "--set", "hidden_size=100000000000000000000"], "sensible size"),
    "large number": (["--dataset", "imdb", "--set", "learning_rate=1e300"], "sensible size"),
    "infinite": (["--dataset", "imdb", "--alpha", "inf"], "sensible size"),
    "many samples": (["--dataset", "imdb", "--set", "num_samples=1000000000000"], "at most 10,000"),
    "annealing without steps": (["--dataset", "imdb", "--kl-start", "0.1", "--set", "kl_steps=0"], "set kl_steps too"),
    "long number": (["--dataset", "imdb", "--eval-sequences", "9" * 5000], "all"),
    "long output": (["--dataset", "imdb", "--output", "x" * 300], "File name too long"),
    "long run name": (["--resume", "x" * 300], "is no run"),
    "resume and a zero": (["--resume", "missing", "--seed", "0"], "no other option"),
    "sequences": (["--dataset", "imdb", "--eval-sequences", "some"], "all"),
    "no sequences": (["--dataset", "imdb", "--eval-sequences", "0"], "all"),
    "unknown option": (["--dataset", "imdb", "--hidden", "3"], "--hidden"),
    "data and download": (["--dataset", "imdb", "--download"], "exclude"),
    "config and preset": (["--config", "c.toml", "--preset", "quick"], "leave out"),
    "no config": (["--config", "missing.toml"], "missing.toml"),
    "no run": (["--resume", "missing"], "no run"),
    "resume and more": (["--resume", "missing", "--seed", "3"], "no other option"),
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_wrong_options(name, run_py, reviews, tmp_path, monkeypatch):
    arguments, hint = BAD_OPTIONS[name]
    monkeypatch.chdir(tmp_path)
    if "--dataset" in arguments:
        arguments = [*arguments, "--data", str(reviews)]
    status, _, error = run_py(*arguments)
    assert status == 2
    assert error.count("\n") == 1, error
    assert hint in error
    assert not (tmp_path / "runs").exists()


BAD_DATA = {
    "missing": (None, "no such"),
    "empty": (b"", "empty"),
    "not utf-8": (b"caf\xe9 is a good film indeed .\n" * 9, "UTF-8"),
    "no sentence": (b"too short\nso is this\nand this\n", "no sentence of 5 to 16"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_wrong_data(name, run_py, tmp_path, monkeypatch):
    content, hint = BAD_DATA[name]
    path = tmp_path / "bad.txt"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.chdir(tmp_path)
    status, _, error = run_py("--dataset", "imdb", "--data", path)
    assert (status, error.count("\n")) == (2, 1), error
    assert hint.lower() in error.lower()
    assert "bad.txt" in error
    assert not (tmp_path / "runs").exists()


def test_an_output_that_is_something_else_is_left_alone(run_py, reviews, tmp_path):
    for output in (reviews, tmp_path):
        status, _, error = run_py("--dataset", "imdb", "--data", reviews, "--output", output, "--force", *SMALL)
        assert (status, error.count("\n")) == (2, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["reviews.txt"]


@pytest.mark.parametrize(
    ("damage", "hint"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:1000]), "damaged"),
        (lambda path: path.write_bytes(b"nothing"), "damaged"),
        (lambda path: torch.save({"trainer": {}}, path), "damaged"),
        (lambda path: torch.save([1, 2], path), "damaged"),
        (lambda path: path.unlink(), "no checkpoint.pt"),
    ],
)
def test_a_damaged_checkpoint(zf, run_py, finished, damage, hint):
    damage(finished / "checkpoint.pt")
    (finished / "checkpoint-previous.pt").unlink()
    status, _, error = zf("evaluate", finished, "--num-particles", 3)
    assert (status, error.count("\n")) == (2, 1), error
    assert hint in error
    (finished / "results.json").unlink()
    status, _, error = run_py("--resume", finished)
    assert (status, error.count("\n")) == (2, 1), error
    assert hint in error


class Malicious:
    """A pickle that would run a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_checkpoint_with_code_is_not_run(zf, finished, tmp_path):
    torch.save({"trainer": Malicious(tmp_path / "owned")}, finished / "checkpoint.pt")
    status, _, error = zf("evaluate", finished, "--num-particles", 3)
    assert (status, error.count("\n")) == (2, 1)
    assert not (tmp_path / "owned").exists()


def test_a_checkpoint_of_other_sizes_is_refused(zf, finished):
    config = finished / "config.toml"
    config.write_text(config.read_text().replace("hidden_size = 8", "hidden_size = 9"))
    status, _, error = zf("evaluate", finished, "--num-particles", 3)
    assert (status, error.count("\n")) == (2, 1)
    assert "hidden_size = 8 (now 9)" in error


@pytest.mark.parametrize("arguments", [["--num-particles", "0"], ["--num-particles", "x"], ["--eval-sequences", "0"]])
def test_wrong_particles_of_an_evaluation(zf, finished, arguments):
    before = sorted(path.name for path in finished.iterdir())
    status, _, error = zf("evaluate", finished, *arguments)
    assert (status, error.count("\n")) == (2, 1)
    assert sorted(path.name for path in finished.iterdir()) == before


def test_evaluating_a_folder_that_is_no_run(zf, tmp_path):
    status, _, error = zf("evaluate", tmp_path, "--num-particles", "3")
    assert (status, error.count("\n")) == (2, 1)
    assert "is no run" in error


@pytest.mark.parametrize(
    "line",
    [
        *("hidden_size = 'x'", "wrong = 1", "[model", "[model.deep]\nx = 1", "[modell]\nhidden_size = 3"),
        *("[[model]]\nhidden_size = 3", f"alpha = 1{'0' * 400}", "learning_rate = inf", "seed = true"),
        *("seed = 1979-05-27", "auxiliary_loss = ['gaussian']", "preset = 'quick'"),
    ],
)
def test_a_wrong_config_file(run_py, tmp_path, line):
    config = tmp_path / "c.toml"
    config.write_text(f'dataset = "imdb"\npreset = "quick"\n{line}\n')
    status, _, error = run_py("--config", config)
    assert (status, error.count("\n")) == (2, 1)
    assert "c.toml" in error


@pytest.mark.parametrize(
    ("damage", "hint"),
    [
        (lambda run: (run / "metrics.jsonl").unlink(), "metrics.jsonl"),
        (lambda run: (run / "metrics.jsonl").write_bytes(b""), "shorter"),
        (lambda run: (run / "metrics.jsonl").write_bytes(b"x" * 9999), "line 1 is damaged"),
        (lambda run: edit_checkpoint(run, lambda state: state.pop("metrics_size")), "damaged"),
        (lambda run: edit_checkpoint(run, lambda state: state.update(metrics_size="x")), "damaged"),
        (lambda run: edit_checkpoint(run, lambda state: state["trainer"].update(best=None)), "no best parameters"),
        (lambda run: replace_in(run / "config.toml", "max_steps = 8", "max_steps = 4"), "allows 4"),
        (lambda run: (run / "vocabulary.txt").unlink(), "vocabulary.txt"),
        (lambda run: (run / "vocabulary.txt").write_bytes(b"\xff"), "vocabulary.txt"),
        (lambda run: replace_in(run / "config.toml", "seed = 0", "seed = 'x'"), "config.toml"),
    ],
)
def test_a_damaged_run_is_not_resumed(run_py, finished, damage, hint):
    (finished / "results.json").unlink()
    damage(finished)
    status, _, error = run_py("--resume", finished)
    assert status == 2
    assert hint in error.splitlines()[-1]
    assert "Traceback" not in error
    assert not (finished / "results.json").exists()


def edit_checkpoint(run, change):
    """Change a run's checkpoint in place."""
    state = checkpoints.read_checkpoint(run)
    change(state)
    torch.save(state, run / "checkpoint.pt")


def replace_in(path, old, new):
    """Change a text file in place."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_force_removes_the_whole_old_run_and_nothing_else(run_py, zf, reviews, finished):
    assert zf("evaluate", finished, "--num-particles", 3)[0] == 0
    (finished / "notes.md").write_text("mine")
    arguments = ["--dataset", "imdb", "--data", reviews, "--max-steps", 1, "--output", finished, "--force", *SMALL]
    assert run_py(*arguments)[0] == 0
    assert {path.name for path in finished.iterdir()} == {*TEXT_FILES, "notes.md"}


def test_force_does_not_take_a_project_for_a_run(run_py, reviews, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "config.toml").write_text("[tool]\nmine = 1\n")
    (project / "results.json").write_text("precious")
    status, _, error = run_py("--dataset", "imdb", "--data", reviews, "--output", project, "--force", *SMALL)
    assert (status, error.count("\n")) == (2, 1)
    assert (project / "results.json").read_text() == "precious"


def test_force_with_sizes_that_do_not_fit_keeps_the_old_run(run_py, reviews, finished):
    before = (finished / "results.json").read_bytes()
    options = ["--output", finished, "--force", *SMALL, "--set", "hidden_size=1000000000"]
    assert run_py("--dataset", "imdb", "--data", reviews, *options)[0] == 2
    assert (finished / "results.json").read_bytes() == before


def test_a_folder_that_cannot_be_written_is_found_before_the_work(zf, finished, monkeypatch):
    def refuse(**options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(files.tempfile, "TemporaryFile", refuse)
    status, _, error = zf("evaluate", finished, "--num-particles", 3)
    assert (status, error.count("\n")) == (2, 1)
    assert "Permission denied" in error


def test_a_name_that_is_not_utf8(run_py, reviews, tmp_path):
    name = os.fsdecode(bytes(tmp_path) + b"/caf\xe9.txt")
    shutil.copy(reviews, name)
    status, _, error = run_py("--dataset", "imdb", "--data", name, "--output", tmp_path / "run", *SMALL)
    assert (status, error.count("\n")) == (2, 1)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("x.json", b'[{"text": ' + b"9" * 5000 + b"}]", "broken JSON"),
        ("x.jsonl", b'{"text": ' + b"9" * 5000 + b"}\n", "broken JSON"),
        ("x.zip", b"PK\x03\x04" + bytes(50), "zip"),
        ("x.txt.bz2", b"BZh9" + bytes(50), "bzip2"),
    ],
)
def test_odd_files(run_py, tmp_path, name, content, hint):
    (tmp_path / name).write_bytes(content)
    status, _, error = run_py("--dataset", "imdb", "--data", tmp_path / name, "--output", tmp_path / "run")
    assert (status, error.count("\n")) == (2, 1)
    assert hint in error


def test_long_csv_fields_are_read(run_py, reviews, tmp_path):
    lines = [f'"{line}"' for line in reviews.read_text().splitlines()]
    long = '"' + "the film moves us again . " * 8000 + '"'
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(["text", long, *lines]))
    options = ["--data", path, "--max-steps", 1, "--output", tmp_path / "run", *SMALL]
    assert run_py("--dataset", "imdb", *options)[0] == 0


def test_no_command_shows_the_help(zf):
    status, _, error = zf()
    assert status == 2
    assert "evaluate" in error
    assert json.dumps(error).count("\\n") > 5


def test_a_vocabulary_of_another_size(zf, finished):
    path = finished / runs.VOCABULARY
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    status, _, error = zf("evaluate", finished)
    assert (status, error.count("\n")) == (2, 1)
    assert "vocabulary.txt holds" in error


def test_a_source_by_field_that_is_not_utf8(run_py, tmp_path):
    name = os.fsdecode(bytes(tmp_path) + b"/caf\xe9.txt")
    status, _, error = run_py("--dataset", "imdb", "--set", f"source={name}", "--output", tmp_path / "run")
    assert (status, error.count("\n")) == (2, 1)
    assert "is not UTF-8" in error
    assert not (tmp_path / "run").exists()
