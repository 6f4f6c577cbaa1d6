"""Runs that torchrun starts several processes for."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from time import sleep

import pytest

from tests.toy_runs import SMALL, write_reviews
from zf_pyro import ranks, runs
from zf_pyro.checkpoints import read_checkpoint
from zf_pyro.metrics import read_metrics
from zf_pyro.runs import CONFIG, RESULTS

ROOT = Path(__file__).parent.parent
PATIENCE = 120


TOGETHER = ("--standalone", "--nproc-per-node", 2)
"""Two processes of one machine."""


def torchrun(*arguments, restarts=0, program=(ROOT / "run.py",), processes=TOGETHER):
    """The command for several processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", *processes]
    return [str(each) for each in (*launcher, "--max-restarts", restarts, *program, *arguments)]


def started(command, folder, log="log.txt", **environment):
    """The command under way, its output in a file."""
    own = {"PYTHONPATH": str(ROOT), **environment}
    with (folder / log).open("w") as output:
        return subprocess.Popen(command, cwd=folder, env={**os.environ, **own}, stdout=output, stderr=output)


def done(command, folder):
    """What a command has said, and its status."""
    process = started(command, folder)
    try:
        status = process.wait(PATIENCE)
    finally:
        process.kill()
    return status, (folder / "log.txt").read_text()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the toy text, and the options of a run on it."""
    folder = tmp_path_factory.mktemp("several")
    return folder, ["--dataset", "imdb", "--data", write_reviews(folder), "--device", "cpu", *SMALL]


def test_two_processes_train_and_test_as_one_does(place, zf, run_py):
    """The same numbers but for rounding, in the same files, said once."""
    folder, options = place
    options = [*options, "--max-steps", 8]
    one, two = folder / "one", folder / "two"
    status, error = run_py(*options, "--output", one)[::2]
    assert status == 0, error
    status, log = done(torchrun(*options, "--output", two), folder)
    assert status == 0, log
    (two / runs.REPORT).unlink()
    assert log.count("Testing the parameters") == log.count(f"Written: {two}") == 1
    assert ", 2 processes" in log
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
    for expected, record in zip(read_metrics(one), read_metrics(two), strict=True):
        assert record == pytest.approx(expected, rel=1e-4)
    assert json.loads((two / "timing.json").read_text())["num_processes"] == 2

    assert zf("evaluate", two, "--num-particles", 7, "--device", "cpu")[0] == 0
    expected = (two / "evaluation-7.json").replace(two / "results-of-one.json")
    command = ["evaluate", two, "--num-particles", 7, "--device", "cpu"]
    status, log = done(torchrun(*command, program=("-m", "zf_pyro")), folder)
    assert status == 0, log
    found = json.loads((two / "evaluation-7.json").read_text())["test"]
    for name, figure in json.loads(expected.read_text())["test"].items():
        assert found[name] == pytest.approx(figure, rel=1e-6), name


def wait_for(process, metrics, count):
    """Until a training has made so many updates."""
    for _ in range(PATIENCE * 10):
        if metrics.is_file() and len(metrics.read_text().splitlines()) >= count:
            return
        assert process.poll() is None, "it has ended"
        sleep(0.1)
    raise AssertionError("it does not begin")


def test_sigterm_to_torchrun_saves_and_one_process_goes_on(place, run_py):
    folder, options = place
    output = folder / "stopped"
    process = started(torchrun(*options, "--max-steps", 24, "--output", output), folder)
    wait_for(process, output / "metrics.jsonl", 6)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) != 0
    log = (folder / "log.txt").read_text()
    assert log.count(f"interrupted and saved; go on with: python run.py --resume {output}") == 1
    steps = len([line for line in read_metrics(output) if "loss" in line])
    assert read_checkpoint(output)["trainer"]["counters"][0] == steps < 24
    status, _, error = run_py("--resume", output)
    assert status == 0, error
    assert json.loads((output / RESULTS).read_text())["steps"] == 24


@pytest.mark.slow
def test_a_process_that_is_killed_is_started_again_and_changes_nothing(place):
    """torchrun ends the other, starts both again, and --auto-resume goes on from the checkpoint."""
    folder, options = place
    options = [*options, "--max-steps", 40, "--auto-resume"]
    whole, killed = folder / "whole", folder / "killed"
    status, log = done(torchrun(*options, "--output", whole), folder)
    assert status == 0, log
    process = started(torchrun(*options, "--output", killed, restarts=1), folder)
    wait_for(process, killed / "metrics.jsonl", 14)
    kill_a_child(process.pid)
    assert process.wait(PATIENCE) == 0, (folder / "log.txt").read_text()
    assert f"Going on with {killed}" in (folder / "log.txt").read_text()
    for name in ("metrics.jsonl", RESULTS):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    status, log = done(torchrun(*options, "--output", whole), folder)
    assert status == 0, log
    assert log.count(f"Finished already: {whole}") == 1
    assert (whole / runs.REPORT).is_file()
    assert (killed / runs.REPORT).is_file()


@pytest.mark.slow
def test_two_machines_train_and_start_again_when_one_fails(place):
    """Two of torchrun's agents, as on two machines, with a process each."""
    folder, options = place
    output = folder / "apart"
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = ("--nnodes", 2, "--nproc-per-node", 1, "--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}")
    options = [*options, "--max-steps", 24, "--no-report", "--auto-resume", "--output", output]
    command = torchrun(*options, restarts=1, processes=processes)
    own_store = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    agents = [started(command, folder, f"{number}.txt", **own_store) for number in range(2)]
    wait_for(agents[0], output / "metrics.jsonl", 6)
    kill_a_child(agents[1].pid)
    logs = [(agent.wait(PATIENCE), (folder / f"{number}.txt").read_text()) for number, agent in enumerate(agents)]
    assert [status for status, _ in logs] == [0, 0], logs
    assert sum(log.count(f"Going on with {output}") for _, log in logs) == 1
    assert json.loads((output / RESULTS).read_text())["steps"] == 24


def kill_a_child(parent):
    """The last process that another has started."""
    children = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True, check=True).stdout.split()
    os.kill(int(children[-1]), signal.SIGKILL)


def test_a_mistake_is_told_once(place):
    folder, options = place
    status, log = done(torchrun(*options, "--batch-size", 1), folder)
    assert status == 1  # torchrun's own
    assert log.count("error:") == log.count("error: 2 processes cannot share out 1 sequences an update") == 1


@pytest.fixture
def second_of_two(monkeypatch):
    """This process is told to be the second of two."""
    for name, value in {"RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(ranks, "PATIENCE", 0)


def test_other_commands_run_in_one_process(zf, second_of_two):
    status, _, error = zf("sample", "runs/nothing")
    assert (status, error) == (2, "error: process 1 of 2: sample runs in one process: start it without torchrun\n")


def test_an_environment_that_is_not_of_torchrun_is_told(run_py, place, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "many")
    status, _, error = run_py(*place[1])
    assert (status, error) == (2, "error: the environment has WORLD_SIZE = 'many', which is no number of processes\n")
    monkeypatch.setenv("WORLD_SIZE", "2")
    status, _, error = run_py(*place[1])
    assert status == 2
    assert error.startswith("error: the processes cannot be connected (")


def test_auto_resume_begins_goes_on_and_leaves_what_is_finished(place, run_py, tmp_path, monkeypatch):
    _, options = place
    output = tmp_path / "run"
    options = [*options, "--max-steps", 8, "--auto-resume"]
    status, _, error = run_py(*options)
    assert (status, error) == (2, "error: --auto-resume needs the run's folder: --output\n")
    options += ["--output", output]
    assert run_py(*options, "--force")[0] == 2
    assert run_py(*options)[0] == 0
    before = (output / RESULTS).read_bytes()
    status, told, _ = run_py(*options)
    assert status == 0
    assert told.splitlines()[-1] == f"Finished already: {output}"
    (output / RESULTS).unlink()
    status, told, _ = run_py(*options)
    assert status == 0
    assert f"Going on with {output}" in told
    assert (output / RESULTS).read_bytes() == before
    status, _, error = run_py(*options, "--seed", 3)
    assert status == 2
    assert "holds a run with seed = 0, and 3 is asked for" in error
    (output / CONFIG).unlink()
    (output / "notes.txt").write_text("mine")
    status, _, error = run_py(*options)
    assert status == 2
    assert "is not empty and is no run" in error
