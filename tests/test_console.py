"""How much a command says, and where: -v, -q, and lines where there is no terminal."""

import sys
from dataclasses import replace

import pytest
from tqdm import tqdm

from tests.test_faults import options
from zf_pyro import console
from zf_pyro.build import build
from zf_pyro.console import Verbosity, detail, inform, say, speaking, warn
from zf_pyro.data.corpus import Observation
from zf_pyro.fields import override
from zf_pyro.overview import overview, why_generic
from zf_pyro.presets import preset
from zf_pyro.training import Trainer

__all__ = ["options"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Verbosity.QUIET, ("", "warning: w\n")),
        (Verbosity.NORMAL, ("s\n", "i\nwarning: w\n")),
        (Verbosity.VERBOSE, ("s\n", "i\nd\nwarning: w\n")),
    ],
    ids=lambda value: value.name if isinstance(value, Verbosity) else "",
)
def test_what_is_said_where(capsys, wanted, expected):
    with speaking(wanted):
        say("s")
        inform("i")
        detail("d")
        warn("w")
    assert tuple(capsys.readouterr()) == expected
    assert console.VERBOSITY.get() is Verbosity.NORMAL


def test_a_quiet_training_says_nothing_and_writes_the_same(run_py, options, finished, tmp_path):
    folder = tmp_path / "quiet"
    assert run_py(*options, "--output", folder, "-q", report=True) == (0, "", "")
    for name in ("results.json", "metrics.jsonl", "samples.txt"):
        assert (folder / name).read_bytes() == (finished / name).read_bytes()
    assert (folder / "report.html").is_file()


def test_quiet_commands_on_a_run(zf, finished, reviews, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ("evaluate", finished, "--num-particles", 2),
        ("latents", finished),
        ("score", finished, reviews),
        ("encode", finished, reviews),
        ("report", finished),
        ("compare", finished),
        ("sample", finished, "-n", 1),
    ):
        assert zf(*arguments, "-q") == (0, "", ""), arguments[0]


def test_a_quiet_command_still_says_its_error(run_py, zf, finished):
    for status, output, error in (zf("evaluate", finished, "-q", "--data", "none"), run_py("--resume", finished, "-q")):
        assert (status, output) == (2, "")
        assert error.startswith("error: ")
        assert error.count("\n") == 1


def test_a_verbose_training_tells_what_happens(run_py, options, finished, tmp_path):
    status, output, error = run_py(*options, "--output", tmp_path / "told", "-v")
    assert status == 0
    lines = error.splitlines()
    number = 'num_parameters": '
    counted = int((finished / "results.json").read_text().partition(number)[2].partition(",")[0])
    assert lines[0].startswith(f"Parameters: {counted:,}, ")
    assert lines[1].startswith("Settings other than preset quick has: ")
    assert "hidden_size = 8 (200)" in lines[1]
    assert "kl_start" not in lines[1]
    assert lines[2] == "Recursion of the guide in training: hand-written kernel"
    for step in (0, 4, 8):
        assert f"Saved checkpoint.pt after {step} updates" in lines
    told = [line for line in lines if line.startswith("Validation after ")]
    assert [line.split()[2] for line in told] == ["4", "8"]
    assert told[0].endswith("the best so far")
    assert "Testing the parameters of step" in output  # what a command does is said as ever
    assert "Parameters" not in output


def test_a_learning_rate_that_is_halved_is_told(run_py, options, tmp_path, monkeypatch):
    bounds = iter([-3.0, -4.0])

    def bound_of_validation(trainer, real=Trainer.bound_of_validation):
        return replace(real(trainer), iw_bound=next(bounds))

    monkeypatch.setattr(Trainer, "bound_of_validation", bound_of_validation)
    _, _, error = run_py(*options, "--output", tmp_path / "told")
    first, second = (line for line in error.splitlines() if line.startswith("Validation after "))
    assert first.endswith("nats/step, the best so far")
    assert second.endswith("nats/step, learning rate halved to 0.0015")


def test_the_two_options_contradict_each_other(zf, finished):
    status, output, error = zf("evaluate", finished, "-v", "-q")
    assert (status, output, error.count("\n")) == (2, "", 1)
    assert "contradict each other" in error


def test_lines_without_control_characters(run_py, options, tmp_path):
    status, output, error = run_py(*options, "--output", tmp_path / "run")
    assert status == 0
    assert all(character == "\n" or character.isprintable() for character in output + error)
    lines = [line for line in error.splitlines() if line.startswith("Training: ")]
    assert lines[0] == "Training: 0 of 8 updates (0%)"
    assert lines[1].startswith("Training: 4 of 8 updates (50%), ")
    assert lines[-1].startswith("Training: 8 of 8 updates (100%), ")
    for told in ("ELBO", "KL", "aux", "nats/step", "updates/s"):
        assert told in lines[1]


class Screen:
    """A standard error that is a terminal."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True


def test_a_bar_on_a_terminal(run_py, options, tmp_path, monkeypatch):
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    assert run_py(*options, "--output", tmp_path / "run")[0] == 0
    assert "\rTraining 100% 8/8 [00:00 left" in screen.text
    assert "Validation" not in screen.text
    assert not tqdm._instances


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, ""),
        ({"form": "step"}, "the step form"),
        ({"device": "cuda"}, "for a CPU"),
        ({"precision": "bfloat16"}, "precision is bfloat16"),
        ({"transition": "gru"}, "the transition is another"),
        ({"guide": "flow"}, "the posterior is another"),
    ],
    ids=lambda value: "-".join(value.values()) or "default" if isinstance(value, dict) else "",
)
def test_why_the_generic_loop_runs(fields, reason):
    config = override(preset("digits", "quick"), {"hidden_size": 8, **fields})
    model, guide = build(config.model, Observation("bernoulli", 1))
    found = why_generic(model, guide, config)
    assert reason in found
    assert bool(found) == bool(reason)
    assert [*overview(model, guide, config)][-1].endswith(found or "hand-written kernel")
