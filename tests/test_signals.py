"""Ctrl-C and SIGTERM, at every stage of a run."""

import os
import signal

import pytest

from tests.test_faults import goes_on, options
from zf_pyro import experiment, run_commands, training, validation
from zf_pyro.checkpoints import read_checkpoint
from zf_pyro.signals import deferred_signals
from zf_pyro.training import Trainer

__all__ = ["goes_on", "options"]

both = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)


def send(*numbers):
    for number in numbers:
        os.kill(os.getpid(), number)


def stopped(run_py, options, folder, *change):
    """A run under a patch; gives status and the last line, with what it has saved."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*change)
        status, _, error = run_py(*options, "--output", folder)
    assert "Traceback" not in error
    counters = read_checkpoint(folder)["trainer"]["counters"] if (folder / "checkpoint.pt").is_file() else None
    return status, error.splitlines()[-1], counters and dict(zip(training.COUNTERS, counters, strict=True))


def update_that_sends(step, *numbers):
    def update(trainer, places, batch, real=Trainer.update):
        if trainer.step == step:
            send(*numbers)
        return real(trainer, places, batch)

    return update


@both
@pytest.mark.parametrize("step", [0, 3, 5, 7])
def test_the_step_in_hand_is_finished_and_saved(run_py, options, goes_on, tmp_path, number, step):
    folder = tmp_path / "stopped"
    status, told, saved = stopped(run_py, options, folder, Trainer, "update", update_that_sends(step, number))
    assert status == 128 + number
    assert told == f"interrupted and saved; go on with: python run.py --resume {folder}"
    assert saved["step"] == step + 1
    assert saved["validated"] == 4 * (step > 4)  # a validation that is due waits
    goes_on(folder)


@both
def test_a_second_signal_leaves_at_once(run_py, options, goes_on, tmp_path, number):
    folder = tmp_path / "stopped"
    change = update_that_sends(5, signal.SIGINT, number)
    status, told, saved = stopped(run_py, options, folder, Trainer, "update", change)
    assert status == 128 + number
    assert f"--resume {folder}" in told
    assert saved["step"] == 4
    goes_on(folder)


@both
@pytest.mark.parametrize("count", [0, 2])
def test_a_validation_is_left_and_made_up_for(run_py, options, goes_on, tmp_path, number, count):
    real = validation.ordered_batches

    def ordered_batches(split, *arguments):
        for place, batch in enumerate(real(split, *arguments)):
            if place == count:
                send(number)
            yield batch

    folder = tmp_path / "stopped"
    options = [*options, "--set", "validation_sequences=0", "--set", "batch_size=4"]
    whole = tmp_path / "whole"
    assert run_py(*options, "--output", whole)[0] == 0
    status, _, saved = stopped(run_py, options, folder, validation, "ordered_batches", ordered_batches)
    assert status == 128 + number
    assert (saved["step"], saved["validated"]) == (4, 0)
    assert run_py("--resume", folder)[0] == 0
    for name in ("results.json", "metrics.jsonl", "samples.txt"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


@both
def test_the_test_is_left_at_once(run_py, options, goes_on, tmp_path, number):
    folder = tmp_path / "stopped"
    status, _, saved = stopped(run_py, options, folder, experiment, "evaluate", lambda *arguments: send(number))
    assert status == 128 + number
    assert saved["step"] == 8
    goes_on(folder)


@both
def test_reading_the_data_is_left_at_once(run_py, options, tmp_path, number):
    folder = tmp_path / "stopped"
    opening = lambda *arguments, **more: send(number)  # noqa: E731
    status, told, _ = stopped(run_py, options, folder, run_commands, "open_corpus", opening)
    assert (status, told) == (128 + number, "interrupted")
    assert not folder.exists()


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with deferred_signals() as asked:
        send(signal.SIGTERM)
    assert asked == [signal.SIGTERM]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
