"""Runs on a small text, as fixtures."""

import random
import shutil
import sys

import click
import pyro
import pytest
from matplotlib.figure import Figure

from zf_pyro import runs
from zf_pyro.cli import cli, exit_with
from zf_pyro.run_commands import train

TEXT_FILES = {*runs.FILES, "evaluation-5.npz"} - {"samples.npz", "samples.png", "samples.wav", "samples.mid"}
"""What the folder of a finished run on text holds, tested by five particles."""


def set_all(fields):
    """The options that set these fields."""
    return [word for name, value in fields.items() for word in ("--set", f"{name}={value}")]


SIZES = {"hidden_size": 8, "embedding_size": 6, "latent_size": 3, "mlp_size": 5}
FIELDS = {**SIZES, "validation_sequences": 6, "validate_every": 4, "kl_steps": 4}
SMALL = ["--epochs", "4", "--eval-sequences", "10", *set_all(FIELDS)]

TINY = ["--preset", "quick", "--device", "cpu", "--max-steps", "2", "--num-particles", "3", "--eval-sequences", "3"]
TINY += set_all({**SIZES, "validation_sequences": 3, "validation_particles": 1, "num_samples": 2, "batch_size": 4})
"""Options for two updates and a test of three sequences, on any data."""


PNG = b"\x89PNG\r\n\x1a\n"
"""What a png begins with."""


def write_reviews(folder):
    """Sixty documents of a toy language, in a file."""
    path = folder / "reviews.txt"
    path.write_text("\n".join(toy_documents(60)), encoding="utf-8")
    return path


@pytest.fixture
def reviews(tmp_path):
    """The toy text of a test."""
    return write_reviews(tmp_path)


def toy_documents(count, seed=0):
    """Documents of four short sentences, all distinct."""
    source = random.Random(seed)
    subjects, verbs = ["the film", "this actor", "her story"], ["moves", "bores", "saves"]
    objects = ["us", "them", "me"]

    def sentence():
        return f"{source.choice(subjects)} {source.choice(verbs)} {source.choice(objects)} again ."

    return [f"{sentence()} {sentence()} {sentence()} number {i} is a good one ." for i in range(count)]


def call(monkeypatch, command: click.Command, *arguments: object) -> int:
    """Run a command as its own process would; returns the exit status."""
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    try:
        with pyro.validation_enabled(False):
            exit_with(command)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are put together and not drawn, which takes most of the time of a small run."""
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **options: file.write(PNG))


@pytest.fixture
def no_ink(monkeypatch):
    """Figures are not drawn, in a test of something else."""
    not_drawn(monkeypatch)


@pytest.fixture
def run_py(monkeypatch, capsys):
    """Calls ``run.py``; gives exit status, standard output and error.

    Its report is left out, and its pictures are not drawn, unless that is asked for.
    """

    def run(*arguments, report=False, pictures=False):
        with pytest.MonkeyPatch.context() as patch:
            if not (report or pictures):
                not_drawn(patch)
            status = call(monkeypatch, train, *arguments, *([] if report else ["--no-report"]))
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def zf(monkeypatch, capsys):
    """Calls ``zf-pyro``; gives the exit status, standard output and standard error."""

    def run(*arguments):
        status = call(monkeypatch, cli, *arguments)
        return status, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def shelved(tmp_path_factory):
    """A folder with a text and a finished run on it, to be copied."""
    folder = tmp_path_factory.mktemp("shelf")
    text = write_reviews(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZF_PYRO_CACHE", str(folder / "cache"))
        options = ["--dataset", "imdb", "--data", text, "--max-steps", 8, *SMALL]
        assert call(patch, train, *options, "--output", folder / "run", "--no-report") == 0
    return folder


@pytest.fixture
def finished(shelved, reviews, tmp_path):
    """The folder of a finished run on `reviews`."""
    folder = shutil.copytree(shelved / "run", tmp_path / "run")
    config = folder / "config.toml"
    config.write_text(config.read_text().replace(str(shelved / reviews.name), str(reviews)))
    return folder
