"""Many runs from one file: which there are, what is refused, and how an interrupted sweep goes on."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.test_compare import lines_of
from tests.toy_runs import call, not_drawn
from zf_pyro import experiment, opening, sweep
from zf_pyro.cli import cli
from zf_pyro.errors import TrainingError
from zf_pyro.presets import read_config
from zf_pyro.sweep import read_sweep
from zf_pyro.training import Trainer

ROOT = Path(__file__).parents[1]

FIELDS = """
dataset = "arrays"
preset = "quick"
data = "bits.npz"
device = "cpu"
max_steps = 6
validate_every = 2
validation_sequences = 3
validation_particles = 1
batch_size = 4
embedding_size = 6
hidden_size = 8
latent_size = 3
mlp_size = 5
num_particles = 3
num_samples = 2
test_fraction = 0.3
"""

TWO = """
seed = [0, 1]

[[run]]
name = "zforcing"

[[run]]
name = "rnn"
family = "rnn"
"""

FOLDERS = ("zforcing-0", "zforcing-1", "rnn-0", "rnn-1")
SAME = ("results.json", "metrics.jsonl", "evaluation-3.npz")


def enter(folder, monkeypatch):
    """Go into a folder, given data to write a sweep for."""
    not_drawn(monkeypatch)
    numbers = np.random.default_rng(0)
    np.savez(folder / "bits.npz", **{f"a{n}": numbers.integers(0, 2, (3 + n % 5, 3)).astype(bool) for n in range(60)})
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working directory, with data to write a sweep for."""
    return enter(tmp_path, monkeypatch)


def write(place, text=TWO, fields=FIELDS):
    (place / "s.toml").write_text(fields + text)
    return place / "s.toml"


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The folder of a sweep that ran through."""
    with pytest.MonkeyPatch.context() as patch:
        folder = enter(tmp_path_factory.mktemp("whole"), patch)
        assert call(patch, cli, "compare", "--sweep", write(folder)) == 0
    return folder / "runs" / "s"


def outcome(folder, names=FOLDERS):
    """What must not depend on interruptions."""
    return {f"{name}/{file}": (folder / name / file).read_bytes() for name in names for file in SAME}


def figures(folder):
    """The lines of a comparison without what the clock decides."""
    return [{k: v for k, v in line.items() if k != "seconds_per_step"} for line in lines_of(folder / "comparison.csv")]


def members(place, text, fields=FIELDS):
    return read_sweep(write(place, text, fields), place / "out")


def test_every_combination_is_a_run(place):
    found = members(place, 'seed = [3, 4]\n[[run]]\n[[run]]\nname = "flat"\nalpha = [0, 0.5]\nlatent_size = [2, 5]')
    assert [(each.name, each.config.seed) for each in found] == [
        *(("arrays", 3), ("arrays", 4)),
        *((f"flat,alpha={a},latent_size={z}", seed) for seed in (3, 4) for a in ("0", "0.5") for z in (2, 5)),
    ]
    assert [each.config.objective.alpha for each in found[2:6]] == [0, 0, 0.5, 0.5]
    assert found[0].config.model.latent_size == 3
    assert found[5].folder == place / "out" / "flat,alpha=0.5,latent_size=5-3"
    assert found[0].config.source == str(place / "bits.npz")


def test_names_are_made_of_what_a_run_sets_itself(place):
    found = members(place, '[[run]]\nfamily = "rnn"\n[[run]]\nobjective = "iwae"\nlearning_rate = 1e-5')
    assert [each.name for each in found] == ["family=rnn", "objective=iwae,learning_rate=1e-05"]
    (only,) = members(place, "")
    assert only.name == "arrays"


def test_a_family_has_the_weights_that_it_has_on_the_command_line(place):
    zforcing, rnn, own = members(
        place, '[[run]]\n[[run]]\nfamily = "rnn"\n[[run]]\nfamily = "storn"\nguide = "backward"\nalpha = 1'
    )
    assert zforcing.config.objective.alpha > 0
    assert (rnn.config.objective.alpha, rnn.config.objective.beta) == (0, 0)
    assert (own.config.objective.alpha, own.config.objective.beta) == (1, 0)


def test_the_example_of_the_documentation(place):
    page = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    found = members(place, "", text)
    assert list(dict.fromkeys(each.name for each in found)) == [
        *("zforcing", "rnn", "prior=standard-normal", "prior=mixture")
    ]
    assert all(each.config.training.epochs == 5 for each in found)
    assert sorted(each.config.seed for each in found) == [0] * 4 + [1] * 4


WRONG = {
    "no data set": ('[[run]]\nname = "a"', "name the data set", 'preset = "quick"'),
    "an unknown field": ("latent_sise = 3", "no arrays field 'latent_sise'; near names: latent_size"),
    "a wrong type": ('[[run]]\nlatent_size = "few"', "latent_size must be a whole number"),
    "a table": ("[model]\nlatent_size = 3", "no arrays field 'model'"),
    "a list of lists": ("seed = [[1, 2]]", "seed must be a whole number"),
    "out of range": ("[[run]]\nlatent_size = [2, 0]", "latent_size must be at least 1"),
    "parts that do not fit": ('[[run]]\nfamily = "rnn"\nguide = "flow"', "rnn has no latent variable"),
    "an empty list": ("seed = []", "the list seed is empty"),
    "no runs": ("run = []", "there is no run"),
    "runs that are none": ("run = 3", "a run is written [[run]]"),
    "one name and seed twice": ('[[run]]\nname = "a"\n[[run]]\nname = "a"\nlatent_size = 2', "two runs a, seed 0"),
    "one run twice": ('[[run]]\nname = "a"\n[[run]]\nname = "b"', "is the run a, seed 0 once more"),
    "a seed twice": ("seed = [1, 1]", "two runs arrays, seed 1"),
    "a name with a slash": ('[[run]]\nname = "../a"', "take letters, digits"),
    "a hidden name": ('[[run]]\nname = ".a"', "take letters, digits"),
    "a name that is no text": ("[[run]]\nname = 3", "name is a text"),
    "a long name": (f'[[run]]\nname = "{"a" * 200}"', "more than 100 characters"),
    "a name for all": ('name = "a"', "name is of one [[run]]"),
    "other data in a run": ('[[run]]\ndata = "other.npz"', "data stands above the runs"),
    "a source": ('source = "bits.npz"', "by data"),
    "a place that is none": ("", "data names a place", FIELDS.replace('"bits.npz"', "3")),
    "data that is not there": ("", "no such file", FIELDS.replace("bits.npz", "none.npz")),
    "an unknown preset": ("", "near names", FIELDS.replace('"quick"', '"quik"')),
    "a preset that is no text": ("", "preset is a text", FIELDS.replace('"quick"', "3")),
    "an unknown device": ("", "take cpu", FIELDS.replace('"cpu"', '"gpu"')),
    "no TOML": ("alpha = = 3", "is no TOML file"),
    "data read in two ways": ("[[run]]\n[[run]]\ntest_fraction = 0.2", "reads the data otherwise"),
    "a model that does not fit into memory": ("[[run]]\n[[run]]\nhidden_size = 1000000000000", "cannot be made"),
}


@pytest.mark.parametrize("name", WRONG)
def test_everything_is_checked_before_the_first_training(name, place, zf, monkeypatch):
    text, hint, *fields = WRONG[name]
    write(place, "\n" + text, *fields)
    monkeypatch.setattr(Trainer, "fit", None)
    status, _, error = zf("compare", "--sweep", "s.toml", "--output", "out")
    assert (status, error.count("\n")) == (2, 1), error
    assert hint in error
    assert not (place / "out").exists()


def test_a_file_that_is_not_there(place, zf):
    status, _, error = zf("compare", "--sweep", "none.toml")
    assert (status, error.count("\n")) == (2, 1)
    assert "none.toml" in error
    assert not (place / "runs").exists()


def test_a_sweep_is_kept_and_its_data_opened_once(place, zf, uninterrupted, monkeypatch):
    shutil.copytree(uninterrupted, place / "runs" / "s")
    opened = []
    monkeypatch.setattr(sweep, "open_corpus", lambda *a, **o: opened.append(a) or opening.open_corpus(*a, **o))
    monkeypatch.setattr(Trainer, "fit", None)
    before = outcome(place / "runs" / "s")
    status, printed, error = zf("compare", "--sweep", write(place))
    assert status == 0, error
    assert printed.count("finished already") == 4
    assert len(opened) == 1
    assert outcome(place / "runs" / "s") == before
    zforcing, rnn = lines_of(place / "runs" / "s" / "comparison.csv")
    assert [zforcing["name"], rnn["name"]] == ["zforcing", "rnn"]
    assert (zforcing["seeds"], rnn["failed_seeds"]) == ("0 1", "")


def stop_at(monkeypatch, run, step, stop):
    """Stop the training of one run of a sweep after an update."""
    real, seen = Trainer.update, []

    def update(trainer, places, batch):
        record = real(trainer, places, batch)
        if trainer not in seen:
            seen.append(trainer)
        if (len(seen), record["step"]) == (run, step):
            stop()
        return record

    monkeypatch.setattr(Trainer, "update", update)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_is_interrupted_ends_as_one_that_is_not(place, zf, uninterrupted, number):
    path = write(place)
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 3, 3, lambda: os.kill(os.getpid(), number))
        status, _, error = zf("compare", "--sweep", path, "--output", "out")
    assert status == 128 + number
    assert f"go on with the same command: zf-pyro compare --sweep {path} --output out" in error
    assert (place / "out" / "rnn-0" / "checkpoint.pt").exists()
    assert not (place / "out" / "rnn-1").exists()
    status, printed, error = zf("compare", "--sweep", path, "--output", "out")
    assert status == 0, error
    assert printed.count("finished already") == 2
    assert "Going on with out/rnn-0" in printed
    assert outcome(place / "out") == outcome(uninterrupted)
    assert figures(place / "out") == figures(uninterrupted)


def test_an_interruption_during_the_test_says_how_to_go_on(place, zf, monkeypatch):
    def evaluate(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(experiment, "evaluate", evaluate)
    status, _, error = zf("compare", "--sweep", write(place))
    assert (status, error.splitlines()[-1].split(";")[0]) == (143, "interrupted")
    assert (place / "runs" / "s" / "zforcing-0" / "checkpoint.pt").exists()


def test_a_sweep_that_is_killed_ends_as_one_that_is_not(place, zf):
    """A process of its own, without a chance to save anything, in the midst of the second run."""
    fields = FIELDS.replace("max_steps = 6", "max_steps = 60").replace("validate_every = 2", "validate_every = 10")
    write(place, "seed = [0, 1]", fields)
    second = place / "out" / "arrays-1"
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from zf_pyro.cli import main; main()",
            *("compare", "--sweep", "s.toml"),
            "--output=out",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (second / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert (second / "checkpoint.pt").exists()
    assert not (second / "results.json").exists()
    status, printed, error = zf("compare", "--sweep", "s.toml", "--output", "out")
    assert status == 0, error
    assert "Going on with out/arrays-1" in printed
    assert zf("compare", "--sweep", "s.toml", "--output", "whole")[0] == 0
    names = ("arrays-0", "arrays-1")
    assert outcome(place / "out", names) == outcome(place / "whole", names)
    assert json.loads((second / "timing.json").read_text())["updates"] == 60


def leave_settings(folder):
    """As after a kill before the first validation."""
    for name in ("results.json", "checkpoint.pt", "checkpoint-previous.pt", "evaluation-3.npz", "timing.json"):
        (folder / name).unlink()


def leave_halves(folder):
    """As after a kill while the settings were being written."""
    leave_settings(folder)
    (folder / "config.toml").rename(folder / "config.toml.0123.tmp")


def leave_nothing(folder):
    """As after a kill right after the folder was made."""
    shutil.rmtree(folder)
    folder.mkdir()


def leave_outcome(folder):
    """As after a kill right before the results were written."""
    (folder / "results.json").unlink()


@pytest.mark.parametrize("leave", [leave_settings, leave_halves, leave_nothing, leave_outcome])
def test_a_kill_at_any_moment_can_be_gone_on_from(place, zf, uninterrupted, leave):
    shutil.copytree(uninterrupted, place / "out")
    leave(place / "out" / "rnn-1")
    status, printed, error = zf("compare", "--sweep", write(place), "--output", "out")
    assert status == 0, error
    assert printed.count("finished already") == 3
    assert outcome(place / "out") == outcome(uninterrupted)
    assert not list((place / "out" / "rnn-1").glob("*.tmp"))


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (("latent_size = 3", "latent_size = 4"), "holds a run with latent_size = 3, and 4 is asked for"),
        (("max_steps = 6", "max_steps = 7"), "holds a run with max_steps = 6, and 7 is asked for"),
        (("test_fraction = 0.3", "test_fraction = 0.2"), "holds a run with test_fraction = 0.3"),
    ],
)
def test_a_run_of_other_settings_is_refused_and_kept(place, zf, uninterrupted, change, hint):
    shutil.copytree(uninterrupted, place / "runs" / "s")
    (place / "runs" / "s" / "zforcing-0" / "results.json").unlink()
    before = {path: path.read_bytes() for path in (place / "runs").rglob("*") if path.is_file()}
    status, _, error = zf("compare", "--sweep", write(place, TWO, FIELDS.replace(*change)))
    assert (status, error.count("\n")) == (2, 1)
    assert hint in error
    assert {path: path.read_bytes() for path in (place / "runs").rglob("*") if path.is_file()} == before


def test_a_folder_of_something_else_is_refused(place, zf, uninterrupted):
    path = write(place)
    (place / "out" / "rnn-0").mkdir(parents=True)
    (place / "out" / "rnn-0" / "thesis.tex").write_text("mine")
    status, _, error = zf("compare", "--sweep", path, "--output", "out")
    assert (status, error.count("\n")) == (2, 1)
    assert "is not empty and is no run" in error
    shutil.rmtree(place / "out" / "rnn-0")
    (place / "out" / "rnn-0").write_text("mine")
    assert "is a file" in zf("compare", "--sweep", path, "--output", "out")[2]
    assert [each.name for each in (place / "out").iterdir()] == ["rnn-0"]


def test_other_data_in_the_same_place_is_refused(place, zf, uninterrupted):
    shutil.copytree(uninterrupted, place / "out")
    np.savez(place / "bits.npz", **{f"a{n}": np.eye(3 + n, 3, dtype=bool) for n in range(60)})
    status, _, error = zf("compare", "--sweep", write(place), "--output", "out")
    assert (status, error.count("\n")) == (2, 1)
    assert "on other data" in error


def test_data_may_move_and_a_device_that_nobody_asked_for_may_change(place, zf, uninterrupted):
    shutil.copytree(uninterrupted, place / "out")
    config = place / "out" / "rnn-0" / "config.toml"
    config.write_text(config.read_text().replace('device = "cpu"', 'device = "cuda"'))
    assert zf("compare", "--sweep", write(place), "--output", "out")[0] == 2
    path = write(place, TWO, FIELDS.replace('device = "cpu"', ""))
    status, _, error = zf("compare", "--sweep", path, "--output", "out")
    assert status == 0, error
    assert figures(place / "out") == figures(uninterrupted)


def test_a_run_that_fails_is_said_and_the_others_go_on(place, zf, uninterrupted):
    real = Trainer.fit

    def fit(trainer, *callbacks):
        if trainer.seed == 0:
            raise TrainingError("20 steps in a row were not finite")
        return real(trainer, *callbacks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", fit)
        status, _, error = zf("compare", "--sweep", write(place, TWO.replace("[0, 1]", "1") + "seed = [0, 1]"))
    assert status == 1
    assert error.splitlines()[-1] == "error: 1 of 3 runs failed"
    assert "warning: rnn, seed 0 failed: 20 steps" in error
    _, rnn = lines_of(place / "runs" / "s" / "comparison.csv")
    assert (rnn["seeds"], rnn["failed_seeds"]) == ("1", "0")
    assert rnn["difference"] != ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", fit)
        status, _, error = zf("compare", "--sweep", write(place, TWO.replace("[0, 1]", "0")), "--output", "none")
    assert (status, error.splitlines()[-1]) == (1, "error: all 2 runs have failed")
    assert zf("compare", "--sweep", write(place))[0] == 0
    assert outcome(place / "runs" / "s") == outcome(uninterrupted)


def test_a_sweep_is_tested_by_another_protocol_where_one_is_asked_for(place, zf, uninterrupted):
    shutil.copytree(uninterrupted, place / "out")
    options = ["--num-particles", 2, "--eval-sequences", 5]
    status, printed, error = zf("compare", "--sweep", write(place), "--output", "out", *options)
    assert status == 0, error
    assert printed.count("Testing") == 4
    assert "5 of 18 test sequences" in printed
    assert "K = 2 particles" in printed


def test_data_and_fields_may_be_given_beside_the_file(place, zf):
    (place / "elsewhere").mkdir()
    (place / "bits.npz").rename(place / "elsewhere" / "bits.npz")
    path = write(place)
    options = ["--data", "elsewhere/bits.npz", "--set", "seed=5", "--set", "max_steps=2", "--output", "trial"]
    status, printed, error = zf("compare", "--sweep", path, *options)
    assert status == 0, error
    for name in ("zforcing-5", "rnn-5"):
        config = read_config(place / "trial" / name / "config.toml")
        assert (config.seed, config.training.max_steps) == (5, 2)
        assert config.source == str(place / "elsewhere" / "bits.npz")
    assert "zforcing" in printed


def test_a_sweep_is_tried_in_a_folder_of_its_own(place, zf):
    status, printed, error = zf("compare", "--sweep", write(place), "--smoke", "--set", "max_steps=1")
    assert status == 0, error
    for name in ("zforcing-0", "rnn-0"):
        config = read_config(place / "runs" / "s-smoke" / name / "config.toml")
        assert (config.training.max_steps, config.evaluation.eval_sequences, config.evaluation.num_particles) == (
            1,
            2,
            2,
        )
    assert "2 of 18 test sequences" in printed
    assert not (place / "runs" / "s").exists()


def test_a_trial_keeps_rows_that_differ_only_in_what_it_sets_itself(tmp_path):
    rows = '[[run]]\nname = "short"\nmax_steps = 100\n[[run]]\nname = "long"\nmax_steps = 200\n'
    file = tmp_path / "s.toml"
    file.write_text(f'dataset = "digits"\nseed = [3, 4]\n{rows}[[run]]\nnum_particles = [5, 25]\n', encoding="utf-8")
    members = read_sweep(file, tmp_path / "made", smoke=True)
    names = ["short", "long", "num_particles=5", "num_particles=25"]
    assert [member.name for member in members] == names
    assert [member.folder.name for member in members] == [f"{name}-0" for name in names]
    assert {member.config.training.max_steps for member in members} == {2}
    assert {member.config.training.validation_sequences for member in members} == {2}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--set", "hidden_size"], "--set takes FIELD=VALUE, not 'hidden_size'"),
        (["--set", "hiden_size=3"], "no arrays field 'hiden_size'"),
        (["--set", "family=rnn"], "once more"),
        (["--set", "data=nowhere.npz"], "--set takes fields of runs, and data is none"),
        (["--set", "run=3"], "--set takes fields of runs, and run is none"),
        (["--data", "nowhere.npz"], "nowhere.npz"),
    ],
)
def test_wrong_data_and_fields_are_told(place, zf, options, told):
    status, _, error = zf("compare", "--sweep", write(place), *options)
    assert status == 2
    assert told in error
    assert not (place / "runs").exists()


@pytest.mark.parametrize("option", [("--set", "seed=3"), ("--smoke",)])
def test_they_are_for_sweeps_alone(zf, uninterrupted, option):
    status, _, error = zf("compare", uninterrupted / "rnn-0", *option)
    assert (status, error) == (2, "error: --data, --set and --smoke are for the runs of a --sweep\n")
