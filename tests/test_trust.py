"""Code that a file names is not imported unless its user says so; code that was typed is."""

import sys

import numpy as np
import pytest
import torch

import zf_pyro
from tests.toy_runs import TINY
from zf_pyro import InputError
from zf_pyro.cli import COMMANDS

THEIRS = """
from pathlib import Path

from zf_pyro import StandardNormal

Path("imported").touch()


def prior(sizes, latent_size):
    return StandardNormal(latent_size)
"""

USES = {
    "evaluate": ["run", "--num-particles", 4],
    "compare": ["run", "--num-particles", 4],
    "report": ["run"],
    "latents": ["run"],
    "score": ["run", "bits.npz"],
    "encode": ["run", "bits.npz"],
    "sample": ["run"],
    "continue": ["run"],
    "reconstruct": ["run"],
    "interpolate": ["run", 0, 1],
    "train": ["--resume", "run"],
}
"""The commands that read a run, and how."""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with data and a stranger's module, which is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "theirs.py").write_text(THEIRS)
    random = np.random.default_rng(0)
    np.savez(tmp_path / "bits.npz", **{name: random.integers(0, 2, (4, 5, 3)) for name in ("train", "valid", "test")})
    yield tmp_path
    sys.modules.pop("theirs", None)


@pytest.fixture
def trained(here, run_py):
    """A finished run whose prior is of that module, as it is after it was copied to another machine."""
    status, _, error = run_py("--dataset", "arrays", "--data", "bits.npz", *TINY, "--prior", "theirs:prior", *OUTPUT)
    assert status == 0, error
    forget(here)
    return here / "run"


OUTPUT = ["--output", "run"]


def forget(here):
    del sys.modules["theirs"]
    (here / "imported").unlink()


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def check_refused(outcome, here, place, field="prior", name="theirs:prior"):
    status, _, error = outcome
    assert (status, error.count("\n")) == (2, 1), error
    assert f"{place} names code, which is not imported: {field} = '{name}'" in error
    assert "--trust" in error
    assert "theirs" not in sys.modules
    assert not (here / "imported").exists()


def test_every_command_is_known_to_read_a_run_or_not():
    assert {*USES, "data", "prepare", "parts", "benchmark"} == set(COMMANDS)


@pytest.mark.usefixtures("no_ink")
@pytest.mark.parametrize("command", USES)
def test_a_run_that_names_code(command, here, trained, zf):
    if command == "train":
        (trained / "results.json").unlink()
    before = contents(here)
    check_refused(zf(command, *USES[command]), here, "run/config.toml")
    assert contents(here) == before
    status, _, error = zf(command, *USES[command], "--trust")
    assert status == 0, error
    assert (here / "imported").exists()


PARTS = ("family", "transition", "prior", "guide", "emission_law")


@pytest.mark.parametrize("field", PARTS)
def test_every_part_is_refused_from_python(field, here, run_py):
    status, _, error = run_py("--dataset", "arrays", "--data", "bits.npz", *TINY, *OUTPUT)
    assert status == 0, error
    config = here / "run" / "config.toml"
    built_in = {"family": "zforcing"}.get(field, "")
    text = config.read_text()
    assert f'\n{field} = "{built_in}"\n' in text
    config.write_text(text.replace(f'\n{field} = "{built_in}"\n', f'\n{field} = "theirs:part"\n'))
    state = torch.load(here / "run" / "checkpoint.pt", weights_only=True)
    torch.save({**state, "config": {**state["config"], field: "theirs:part"}}, here / "run" / "checkpoint.pt")
    with pytest.raises(InputError, match=rf"config\.toml names code.*{field} = 'theirs:part'.*trust=True"):
        zf_pyro.load(here / "run")
    assert not (here / "imported").exists()
    with pytest.raises(InputError, match="theirs:part cannot be imported"):
        zf_pyro.load(here / "run", trust=True)
    assert (here / "imported").exists()


def save_config(here, prior):
    lines = ['dataset = "arrays"', 'preset = "quick"', f'source = "{here / "bits.npz"}"', "[model]"]
    (here / "c.toml").write_text("\n".join([*lines, f'prior = "{prior}"\n']))
    return ["--config", "c.toml", *TINY[2:], *OUTPUT]


def test_a_config_file_that_names_code(here, run_py):
    options = save_config(here, "theirs:prior")
    check_refused(run_py(*options), here, "c.toml")
    assert not (here / "run").exists()
    assert run_py(*options, "--trust")[0] == 0
    assert (here / "imported").exists()


@pytest.mark.parametrize("option", [["--prior", "standard-normal"], ["--set", "prior=standard-normal"]], ids=str)
def test_what_is_typed_takes_the_place_of_what_a_file_names(option, here, run_py):
    status, _, error = run_py(*save_config(here, "theirs:prior"), *option)
    assert status == 0, error
    assert not (here / "imported").exists()


@pytest.mark.parametrize("named", ["theirs:prior", "standard-normal"])
@pytest.mark.parametrize("option", [["--prior", "theirs:prior"], ["--set", "prior=theirs:prior"]], ids=str)
def test_what_is_typed_is_the_users_own(option, named, here, run_py):
    status, _, error = run_py(*save_config(here, named), *option)
    assert status == 0, error
    assert (here / "imported").exists()


def test_what_is_typed_does_not_vouch_for_another_part(here, run_py):
    options = [*save_config(here, "theirs:prior"), "--guide", "theirs:guide"]
    check_refused(run_py(*options), here, "c.toml")


@pytest.mark.usefixtures("no_ink")
def test_a_sweep_that_names_code(here, zf):
    fields = [option.split("=") for option in TINY if "=" in option]
    lines = ['dataset = "arrays"', 'data = "bits.npz"', 'preset = "quick"', "max_steps = 2", "num_particles = 3"]
    lines += [f"{name} = {value}" for name, value in fields]
    (here / "sweep.toml").write_text("\n".join([*lines, "[[run]]", 'name = "theirs"', 'prior = "theirs:prior"\n']))
    check_refused(zf("compare", "--sweep", "sweep.toml"), here, "sweep.toml")
    assert not (here / "runs").exists()
    status, _, error = zf("compare", "--sweep", "sweep.toml", "--trust")
    assert status == 0, error
    forget(here)
    (here / "runs" / "sweep" / "theirs-0" / "results.json").unlink()
    status, output, error = zf("compare", "--sweep", "sweep.toml", "--trust")
    assert status == 0, error
    assert "Going on with" in output


def test_a_name_cannot_write_to_the_terminal(here, run_py):
    error = run_py(*save_config(here, "\\u001b[2Jtheirs:prior"))[2]
    assert error.isascii()
    assert "\x1b" not in error


def test_how_to_go_on_is_said_with_the_option(here, run_py, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("zf_pyro.experiment.evaluate", stop)
    status, _, error = run_py("--dataset", "arrays", "--data", "bits.npz", *TINY, "--prior", "theirs:prior", *OUTPUT)
    assert (status, error.splitlines()[-1].partition("go on with: ")[2]) == (130, "python run.py --resume run --trust")
