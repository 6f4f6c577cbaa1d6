"""A run's folder: what is in it, how it comes to be, and how it is read.

config.toml       every field, with the versions that made the run
observation.json  what stands at a step of the data
vocabulary.txt    a word a line, where the data is text
metrics.jsonl     a line an update, a line a validation
checkpoint.pt     the state of training, the best parameters included
results.json      the test of the best parameters; its presence means that the run is finished
evaluation-K.npz  the scores of its single sequences, by K particles
timing.json       seconds an update
samples.txt       sequences drawn from the prior, where they are text; elsewhere
samples.npz       the same as numbers
samples.png       and as pictures
samples.wav       and as sound, where they are waveforms or music
samples.mid       and as notes, where they are music and mido is installed
curves.png        the metrics as curves
latents.json      how much of the latent variable is in use, and
latents.png       a picture of it, where it was asked for
report.html       all of it as one page for a browser
"""

from __future__ import annotations

import os
import platform
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w
import torch

from zf_pyro.build import build
from zf_pyro.config import Config
from zf_pyro.data.corpus import Corpus, Observation
from zf_pyro.data.text import TextCorpus, Vocabulary
from zf_pyro.errors import InputError, check
from zf_pyro.fields import read_table, to_table
from zf_pyro.files import explained, from_json, write_atomically, write_text
from zf_pyro.guides import Guide
from zf_pyro.imported import require_trust
from zf_pyro.metrics import METRICS, to_json
from zf_pyro.model import StochasticRNN
from zf_pyro.presets import read_config
from zf_pyro.timing import TIMING

CONFIG, VOCABULARY, CHECKPOINT = "config.toml", "vocabulary.txt", "checkpoint.pt"
OBSERVATION, RESULTS, CURVES = "observation.json", "results.json", "curves.png"
SAMPLES = ("samples.txt", "samples.npz", "samples.png", "samples.wav", "samples.mid")
"""The first is of text, the second and third are of other data, the fourth of sound, the last of music."""
FILES = (RESULTS, CONFIG, OBSERVATION, VOCABULARY, METRICS, CHECKPOINT, TIMING, *SAMPLES, CURVES)
LATENTS, LATENTS_PICTURE, REPORT = "latents.json", "latents.png", "report.html"
PATTERNS = (*FILES, LATENTS, LATENTS_PICTURE, REPORT, "evaluation-*.json", "evaluation-*.npz", "*.tmp")
"""All that a run's folder may hold."""


class Settings(NamedTuple):
    """What a run was made with; `vocabulary` is None where the data is no text."""

    config: Config
    observation: Observation
    vocabulary: Vocabulary | None


class LoadedRun(NamedTuple):
    """A run read back: the best parameters of its training, in evaluation mode, on the CPU.

    Attributes:
        model: the generative program.
        guide: the inference program.
        config: every setting.
        observation: what stands at a step of the data.
        vocabulary: of text; None for other data.
    """

    model: StochasticRNN
    guide: Guide
    config: Config
    observation: Observation
    vocabulary: Vocabulary | None


def load(path: str | Path, *, trust: bool = False) -> LoadedRun:
    """Read a run's folder back into Python.

    Args:
        path: the folder.
        trust: import the code that its config.toml names, where it does: parts of a user's own, which may do anything.

    Raises:
        InputError: the folder is no run, has no checkpoint yet, holds a damaged one, or names code that is not to be
            imported.
    """
    folder = Path(path)
    settings = read_settings(folder)
    require_trust(settings.config.model.own_parts, folder / CONFIG, trust=trust)
    state = read_checkpoint(folder)
    with readable_checkpoint(folder):
        best = state["trainer"]["best"] or state["trainer"]
        model, guide = build(settings.config.model, settings.observation)
        model.load_state_dict(best["model"])
        guide.load_state_dict(best["guide"])
    return LoadedRun(model.eval(), guide.eval(), *settings)


def read_settings(folder: Path) -> Settings:
    """What a run was made with.

    Raises:
        InputError: the folder is no run, or one of its files is damaged.
    """
    with explained(f"{folder} is no run"):
        folder.stat()
        if not folder.is_dir():
            raise InputError(f"{folder} is no run: it is a file, and a run is a folder")
        if not (folder / CONFIG).is_file():
            raise InputError(f"{folder} is no run: it holds no {CONFIG}")
    config, observation = read_config(folder / CONFIG), read_observation(folder / OBSERVATION)
    words = Vocabulary.load(folder / VOCABULARY) if observation.law == "categorical" else None
    if words is not None and len(words) != observation.size:
        raise InputError(
            f"{folder / VOCABULARY} holds {len(words)} words, and the run was made with {observation.size}"
        )
    return Settings(config, observation, words)


def read_observation(path: Path) -> Observation:
    """What stands at a step of the data of a run.

    Raises:
        InputError: the file cannot be read, or is damaged.
    """
    with explained(f"cannot read {path}"):
        text = path.read_bytes()
    try:
        table = from_json(text)
        numbers = {name: tuple(table[name]) for name in ("mean", "std", "limits") if name in table}
        observation = Observation(**{**table, **numbers})
        observation.check()
        return observation
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is damaged: {error}") from error


def create_folder(config: Config, output: Path | None, *, force: bool) -> Path:
    """Make the folder of a new run.

    Args:
        config: names the folder where `output` does not: ``runs/DATASET-PRESET-SEED-NUMBER``, the first free number.
        output: the folder to use: a new one, an empty one, or with `force` one that holds a run, whose files go.
        force: whether a run in `output` may be overwritten.

    Raises:
        InputError: `output` cannot be used or made.
    """
    if output is None:
        return numbered_folder(Path("runs"), f"{config.dataset}-{config.preset}-{config.seed}")
    check_output(output, force=force)
    return clear(output)


def clear(folder: Path) -> Path:
    """The folder of a run, made where there is none, and without anything of a run in it.

    Raises:
        InputError: it cannot be made or emptied.
    """
    with explained(f"cannot make the folder {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        for pattern in PATTERNS:
            for path in folder.glob(pattern):
                path.unlink()
    return folder


def check_output(output: Path, *, force: bool) -> None:
    """Refuse an output folder in which something would be lost.

    Raises:
        InputError: it holds a run and `force` is not given, or it holds something else.
    """
    with explained(f"cannot use the folder {output}"):
        if not os.path.lexists(output):
            return
        if not output.is_dir():
            raise InputError(f"{output} is a file; --output names a folder")
        if not any(output.iterdir()):
            return
        if not is_run(output):
            raise InputError(f"{output} is not empty and is no run; choose another --output")
        finished = (output / RESULTS).is_file()
    if not force:
        hint = "--force overwrites it" if finished else "--resume goes on with it, --force starts over"
        raise InputError(f"{output} holds {'a finished' if finished else 'an unfinished'} run; {hint}")


def is_run(folder: Path) -> bool:
    """Whether a folder's config.toml is one that `write_settings` wrote."""
    try:
        return "versions" in read_table(folder / CONFIG) and bool(read_config(folder / CONFIG))
    except InputError:
        return False


def numbered_folder(root: Path, stem: str) -> Path:
    """Make ``root/stem-NUMBER`` with the first number that is free."""
    with explained(f"cannot make a folder in {root.absolute()}"):
        root.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            folder = root / f"{stem}-{number}"
            try:
                folder.mkdir()
            except FileExistsError:
                number += 1
            else:
                return folder


def write_settings(folder: Path, config: Config, corpus: Corpus) -> None:
    """Write what the rest of a run depends on; config.toml last, since it is what makes a folder a run."""
    with explained(f"cannot write into {folder}"):
        if isinstance(corpus, TextCorpus):
            corpus.vocabulary.save(folder / VOCABULARY)
        write_text(folder / OBSERVATION, to_json(asdict(corpus.observation), indent=2) + "\n")
        made_with = {**versions(), "data": corpus.fingerprint}
        write_text(folder / CONFIG, tomli_w.dumps({**to_table(config), "versions": made_with}))


def read_fingerprint(folder: Path) -> str:
    """The hash of the data that a run was trained on."""
    made_with = read_table(folder / CONFIG).get("versions")
    return str(made_with.get("data", "")) if isinstance(made_with, dict) else ""


def versions() -> dict[str, str]:
    """What a run was made with: packages, and the commit where the package is in its own checkout.

    The commit is empty elsewhere, and ends in "+changes" where the checkout differed from it.
    """
    packages = ("zf_pyro", "torch", "pyro-ppl", "numpy", "nltk", "sentencex")
    commit = ""
    if (Path(__file__).parents[1] / ".git").exists():
        commit = git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    return {**{name: version(name) for name in packages}, "python": platform.python_version(), "git_commit": commit}


def git(*arguments: str) -> str:
    """What git prints about the package's checkout; nothing where git fails."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def write_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Save a state of training in place of the one before.

    Raises:
        InputError: the folder cannot be written; the state before is still there.
    """
    with explained(f"cannot save {folder / CHECKPOINT}"):
        write_atomically(folder / CHECKPOINT, lambda file: torch.save(state, file))


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """The state of training of a run, on the CPU.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        raise InputError(f"{folder} has no {CHECKPOINT} yet; start the run again")
    with readable_checkpoint(folder), zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
        check(unpacked <= path.stat().st_size, f"{path} unpacks to {unpacked:,} bytes, and checkpoints are not packed")
        return torch.load(path, map_location="cpu", weights_only=True)


@contextmanager
def readable_checkpoint(folder: Path) -> Iterator[None]:
    """Whatever goes wrong inside is the checkpoint's fault, said in one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise InputError(f"{folder / CHECKPOINT} is damaged or of another version: {reason}") from error
