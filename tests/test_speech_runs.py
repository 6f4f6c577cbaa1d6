"""Runs on recordings, from the files to the results and the samples."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from torch.utils.data import get_worker_info

import zf_pyro
from tests.sounds import (
    FRAME,
    RATE,
    SMALL,
    lengthened,
    noise,
    recordings,
    whole,
    write,
    write_timit,
)
from tests.toy_runs import SIZES, set_all
from tests.updates import after_update, before_update, ctrl_c
from zf_pyro import runs
from zf_pyro.checkpoints import PREVIOUS, read_checkpoint
from zf_pyro.cli import exit_with
from zf_pyro.data.datasets import open_data
from zf_pyro.data.speech.waveforms import Waveforms
from zf_pyro.data.splits import SPLITS
from zf_pyro.presets import PRESETS
from zf_pyro.run_commands import train


def fields(**values):
    """Options that set some fields."""
    return set_all(values)


TINY = ["--preset", "quick", "--max-steps", 10, "--eval-sequences", 5, "--batch-size", 4, "--num-particles", 2]
TINY += fields(**SIZES, validate_every=5, num_samples=2, kl_steps=4)


def lines_of(run):
    return (run / "metrics.jsonl").read_text().splitlines()


def results(run):
    return json.loads((run / "results.json").read_text())


@pytest.fixture
def sources(tmp_path):
    """The options that name a source of each kind."""
    few = write_timit(tmp_path / "few" / "TIMIT", SMALL, length=lengthened).parent
    recordings(tmp_path / "sound")
    rows = fields(evaluation_length=15, chunk_length=10)
    return {
        "timit": ["timit", "--data", few, *fields(chunk_length=3)],
        "srnn": ["timit", "--data", few, "--protocol", "srnn", *fields(valid_fraction=0.2, chunk_length=10)],
        "blizzard": ["blizzard", "--data", tmp_path / "sound", *rows],
        "audio": ["audio", "--data", tmp_path / "sound", *rows],
    }


@pytest.mark.parametrize("kind", ["timit", "srnn", "blizzard", "audio"])
def test_a_run(run_py, zf, sources, tmp_path, kind):
    run = tmp_path / "run"
    status, output, error = run_py("--dataset", *sources[kind], *TINY, "--output", run, pictures=kind == "audio")
    assert status == 0, error
    assert {path.name for path in run.iterdir()} == {*runs.FILES, "evaluation-2.npz"} - {
        runs.VOCABULARY,
        "samples.txt",
        "samples.mid",
    }
    loaded = zf_pyro.load(run)
    observation = loaded.observation
    sequence = "utterance" if "timit" in sources[kind] else "row"
    assert (observation.sequence, observation.step, observation.rate) == (sequence, "frame", RATE)
    test = results(run)["test"]
    steps = test["num_steps"] / test["num_sequences"]
    for name in ("elbo", "iw_bound"):
        original = test[name] - steps * FRAME * math.log(observation.std[0])
        assert test[f"{name}_original"] == pytest.approx(original, rel=1e-9)
        assert test[f"{name}_original_per_step"] == pytest.approx(original / steps, rel=1e-9)
        assert test[f"{name}_per_step"] == pytest.approx(test[name] / steps, rel=1e-9)
    assert f"nats per {sequence}" in output
    assert f"{test['elbo_original_per_step']:.4f} and {test['iw_bound_original_per_step']:.4f} per frame" in output
    corpus = open_data(loaded.config.dataset, loaded.config.source, loaded.config.data, say=print)
    assert corpus.observation == observation
    samples = np.load(run / "samples.npz")["samples"]
    assert samples.shape == (2, 240, FRAME)
    assert 0.2 < samples.std() / observation.std[0] < 5
    with wave.open(str(run / "samples.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        assert file.getnframes() == 2 * (240 * FRAME + RATE // 3)
        heard = np.frombuffer(file.readframes(240 * FRAME + 10), "<i2")
    np.testing.assert_array_equal(heard[:-10], np.rint(np.clip(samples[0].ravel(), -(2**15), 2**15 - 1)))
    assert not heard[-10:].any()
    assert (run / "samples.png").is_file()
    if kind == "audio":
        assert imread(run / "samples.png").std() > 0.01


def test_workers_and_interruptions_change_nothing(run_py, sources, tmp_path, monkeypatch):
    options = ["--dataset", *sources["audio"], *TINY]
    assert run_py(*options, "--output", tmp_path / "whole")[0] == 0
    assert run_py(*options, "--output", tmp_path / "two", "--set", "num_workers=2")[0] == 0
    for workers in (0, 2):
        stopped = tmp_path / f"stopped {workers}"
        with monkeypatch.context() as patch:
            after_update(patch, 7, ctrl_c)
            assert run_py(*options, "--output", stopped, "--set", f"num_workers={workers}")[0] == 130
        assert len(lines_of(stopped)) == 8  # seven updates and a validation
        assert run_py("--resume", stopped)[0] == 0
        assert lines_of(stopped) == lines_of(tmp_path / "whole")
        assert results(stopped) == results(tmp_path / "whole")
    assert len(lines_of(tmp_path / "whole")) == 12
    assert lines_of(tmp_path / "two") == lines_of(tmp_path / "whole")
    assert results(tmp_path / "two") == results(tmp_path / "whole")


@pytest.mark.parametrize("kind", ["timit", "audio"])
def test_prepared_audio_gives_the_same_run_and_either_serves_the_test(run_py, zf, sources, tmp_path, kind):
    (dataset, _, data, *options), prepared = sources[kind], tmp_path / "prepared"
    status, output, error = zf("prepare", dataset, "--data", data, "--to", prepared)
    assert status == 0, error
    assert f"--data {prepared}" in output
    for name, place in (("files", data), ("shards", prepared)):
        status, _, error = run_py("--dataset", dataset, "--data", place, *options, *TINY, "--output", tmp_path / name)
        assert status == 0, error
    assert lines_of(tmp_path / "files") == lines_of(tmp_path / "shards")
    assert results(tmp_path / "files") == results(tmp_path / "shards")
    prints = [runs.read_fingerprint(tmp_path / name) for name in ("files", "shards")]
    assert prints[0] == prints[1] != ""
    moved = data.rename(tmp_path / "moved")
    status, _, error = zf("evaluate", tmp_path / "files")
    assert (status, error.count("\n")) == (2, 1)
    for place in (moved, prepared):
        assert zf("evaluate", tmp_path / "files", "--data", place)[0] == 0
        evaluation = json.loads((tmp_path / "files" / "evaluation-2.json").read_text())
        assert evaluation["test"] == results(tmp_path / "files")["test"]
    changed = next(path for path in sorted(moved.rglob("*")) if path.suffix.lower() == ".wav")
    write(changed.with_suffix(".flac"), noise(4_444, seed=99))
    changed.unlink()
    status, _, error = zf("evaluate", tmp_path / "files", "--data", moved)
    assert status == 2
    assert error.splitlines()[-1].startswith("error: ")
    assert "not the data that" in error.splitlines()[-1]


def test_twice_as_loud_audio_changes_the_original_units_by_the_scale(run_py, tmp_path):
    found = recordings(tmp_path / "once", scale=100, mean=0)
    for place in ("once", "twice"):  # folders of splits: a hash of other content ranks otherwise
        for i, (name, samples) in enumerate(found.items()):
            write(tmp_path / place / SPLITS[min(i % 5, 2)] / name, samples * (1 + (place == "twice")))
    for name in found:
        (tmp_path / "once" / name).unlink()
    tests = []
    for place in ("once", "twice"):
        options = ["audio", "--data", tmp_path / place, "--set", "chunk_length=10"]
        assert run_py("--dataset", *options, *TINY, "--output", tmp_path / f"run {place}")[0] == 0
        tests.append(results(tmp_path / f"run {place}")["test"])
        observation = zf_pyro.load(tmp_path / f"run {place}").observation
    once, twice = tests
    assert observation.std[0] == pytest.approx(200, rel=0.05)
    for name in ("elbo", "iw_bound", "marginal"):
        assert twice[name] == pytest.approx(once[name], rel=1e-5)
    shift = FRAME * math.log(2)
    for name in ("elbo", "iw_bound"):
        gaps = [test[f"{name}_per_step"] - test[f"{name}_original_per_step"] for test in tests]
        assert gaps[1] - gaps[0] == pytest.approx(shift, rel=1e-9)
        assert once[f"{name}_original_per_step"] - twice[f"{name}_original_per_step"] == pytest.approx(shift, rel=1e-3)


def test_an_observation_comes_back_or_is_refused(run_py, zf, sources, tmp_path):
    run = tmp_path / "run"
    assert run_py("--dataset", *sources["audio"], *TINY, "--output", run)[0] == 0
    path = run / runs.OBSERVATION
    good = json.loads(path.read_text())
    assert good["rate"] == RATE
    observation = runs.read_observation(path)
    assert (observation.mean, observation.std) == (tuple(good["mean"]), tuple(good["std"]))
    wrong = [{"rate": -1}, {"rate": 1.5}, {"rate": None}, {"mean": []}, {"mean": [0.0, 0.0]}, {"std": [1.0] * 199}]
    wrong += [{"std": ["1"]}, {"mean": [None]}]
    for change in wrong:
        path.write_text(json.dumps({**good, **change}))
        status, _, error = zf("evaluate", run)
        assert (status, error.count("\n")) == (2, 1), change
        assert "observation.json is damaged" in error
    path.write_text(json.dumps({**good, "mean": [0.0] * FRAME, "std": [1.0] * FRAME}))
    assert runs.read_observation(path).log_scale == 0


def main_with_a_reader_that_is_killed():
    """`run.py` whose reading process kills itself at its third batch."""
    real, asked = Waveforms.batch, []

    def batch(split, indices):
        asked.append(indices)
        if get_worker_info() is not None and len(asked) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(split, indices)

    Waveforms.batch = batch
    exit_with(train)


def test_a_reading_process_that_is_killed_ends_the_run_with_one_line(sources, run_py, tmp_path):
    """In a process of its own: PyTorch raises where a signal finds the program, whatever it is doing."""
    options = ["--dataset", *sources["audio"], *TINY, "--max-steps", 12, "--set", "num_workers=1"]
    code = f"from {__name__} import main_with_a_reader_that_is_killed as main; main()"
    command = [sys.executable, "-c", code, *map(str, options), "--output", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stderr
    told = done.stderr.splitlines()[-1]
    assert told.startswith("error: DataLoader worker (pid")
    config = tmp_path / "run" / "config.toml"
    assert told.endswith(f"Set num_workers = 0 in {config} and go on by --resume")
    config.write_text(config.read_text().replace("num_workers = 1", "num_workers = 0"))
    assert run_py("--resume", tmp_path / "run")[0] == 0


def test_a_shard_that_vanishes_while_workers_read_ends_the_run_and_it_can_go_on(
    run_py, sources, own_cache, tmp_path, monkeypatch
):
    options = ["--dataset", *sources["audio"], *TINY, "--max-steps", 30, "--set", "num_workers=2"]
    options += ["--set", "validate_every=15"]
    assert run_py(*options, "--output", tmp_path / "whole")[0] == 0

    def remove():
        for path in own_cache.rglob("*.pcm"):
            path.unlink()

    with monkeypatch.context() as patch:
        before_update(patch, 16, remove)  # after a validation, so that nothing is read but by workers
        status, _, error = run_py(*options, "--output", tmp_path / "run")
    assert status == 2
    assert [line for line in error.splitlines() if "error" in line] == [error.splitlines()[-1]]
    assert error.splitlines()[-1].startswith("error: ")
    assert "cannot be read any more (No such file or directory)" in error
    assert "Traceback" not in error
    status, output, error = run_py("--resume", tmp_path / "run")
    assert status == 0, error
    assert "Preparing" in output
    assert lines_of(tmp_path / "run") == lines_of(tmp_path / "whole")
    assert results(tmp_path / "run") == results(tmp_path / "whole")


def test_ctrl_c_to_all_processes_saves_and_says_so(sources, tmp_path, run_py):
    run = tmp_path / "run"
    options = ["--dataset", *sources["audio"], *TINY, "--max-steps", 100_000, "--epochs", 100_000]
    options += ["--set", "num_workers=2", "--output", run]
    root = Path(__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, str(root / "run.py"), *map(str, options)],
        cwd=tmp_path,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    deadline = time.monotonic() + 120
    while not (run / PREVIOUS).is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert error.splitlines()[-1] == f"interrupted and saved; go on with: python run.py --resume {run}"
    assert "Traceback" not in error
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # no worker is left
    step, *_ = read_checkpoint(run)["trainer"]["counters"]
    assert step == max(json.loads(line)["step"] for line in lines_of(run)) >= 5


@pytest.mark.parametrize("kind", ["timit", "srnn", "blizzard", "audio"])
def test_the_table(zf, sources, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    status, output, error = zf("data", *sources[kind])
    assert status == 0, error
    (dataset, _, data, *_), lines = sources[kind], output.splitlines()
    assert lines[1].startswith(f"{data}: ")
    header = next(i for i, line in enumerate(lines) if line.startswith("split"))
    sequence = "utterances" if dataset == "timit" else "rows"
    assert lines[header].split() == ["split", sequence, "frames", "shortest", "median", "longest", "mean", "std"]
    assert lines[header + 4] == "a step: 200 real numbers, samples of 16,000 a second"
    settings = PRESETS[dataset]["quick"].data
    changes = {
        name: float(value) if "." in value else int(value)
        for option in sources[kind][3:]
        if "=" in str(option)
        for name, value in [option.split("=")]
    }
    changes |= {"protocol": "srnn"} if kind == "srnn" else {}
    corpus = open_data(dataset, str(data), type(settings)(**{**vars(settings), **changes}), say=print)
    assert lines[1] == corpus.source
    for name, line in zip(SPLITS, lines[header + 1 : header + 4], strict=True):
        split = getattr(corpus, name)
        scored = np.concatenate([rows[1:] for rows in whole(split)])
        lengths = split.lengths
        assert line.split() == [
            *(name, f"{len(lengths):,}", f"{lengths.sum():,}", f"{lengths.min():,}", f"{np.median(lengths):,.0f}"),
            *(f"{lengths.max():,}", f"{scored.mean():.4g}", f"{scored.std():.4g}"),
        ]
    assert (tmp_path / f"{dataset}.png").read_bytes().startswith(b"\x89PNG")
