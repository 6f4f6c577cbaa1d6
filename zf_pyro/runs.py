"""A run's folder: what is in it, how it comes to be, and how it is read.

config.toml       every field, with the versions that made the run
observation.json  what stands at a step of the data
vocabulary.txt    a word a line, where the data is text
metrics.jsonl     a line an update, a line a validation
tensorboard       a folder: the same as events for TensorBoard, where that was asked for
checkpoint.pt     the state of training, the best parameters included; checkpoint-previous.pt is the one before
run.lock          nothing; locked by the process that trains
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
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from zf_pyro.build import build
from zf_pyro.checkpoints import (
    CHECKPOINT,
    DAMAGED,
    PREVIOUS,
    newest,
    read_checkpoint,
    readable_checkpoint,
    require_fitting,
)
from zf_pyro.config import Config
from zf_pyro.data.corpus import Corpus, Observation
from zf_pyro.data.text import TextCorpus, Vocabulary
from zf_pyro.errors import InputError
from zf_pyro.events import FOLDER, remove_events
from zf_pyro.fields import read_table, to_table
from zf_pyro.files import explained, from_json, write_text
from zf_pyro.guides import Guide
from zf_pyro.imported import require_trust
from zf_pyro.locks import LOCK
from zf_pyro.metrics import METRICS, to_json
from zf_pyro.model import StochasticRNN
from zf_pyro.presets import read_config
from zf_pyro.timing import TIMING
from zf_pyro.versions import versions

CONFIG, VOCABULARY = "config.toml", "vocabulary.txt"
OBSERVATION, RESULTS, CURVES = "observation.json", "results.json", "curves.png"
SAMPLES = ("samples.txt", "samples.npz", "samples.png", "samples.wav", "samples.mid")
"""The first is of text, the second and third are of other data, the fourth of sound, the last of music."""
MADE = (OBSERVATION, VOCABULARY, METRICS, CHECKPOINT, PREVIOUS, TIMING, *SAMPLES, CURVES)
FILES = (RESULTS, *MADE, CONFIG, LOCK)
LATENTS, LATENTS_PICTURE, REPORT = "latents.json", "latents.png", "report.html"
MORE = (FOLDER, DAMAGED, LATENTS, LATENTS_PICTURE, REPORT, "evaluation-*.json", "evaluation-*.npz", "*.tmp")
CLEARED = (RESULTS, *MADE, *MORE, CONFIG)
"""What goes when a run is overwritten, in this order: neither an unfinished run nor what is no run looks finished."""
PATTERNS = (*CLEARED, LOCK)
"""All that a run's folder may hold."""
LEFT = (LOCK, f"{CONFIG}.*.tmp")
"""What a run may leave that was killed before it was one."""


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
    path = newest(folder) or folder / CHECKPOINT
    require_fitting(path, state, settings.config)
    with readable_checkpoint(path):
        best = state["trainer"]["best"] or state["trainer"]
        model, guide = build(settings.config.model, settings.observation)
        model.load_state_dict(best["model"])
        guide.load_state_dict(best["guide"])
    return LoadedRun(model.eval(), guide.eval(), *settings)


def read_run(folder: Path) -> Config:
    """The configuration of a run.

    Raises:
        InputError: the folder is no run, or its config.toml is damaged.
    """
    with explained(f"{folder} is no run"):
        folder.stat()
        if not folder.is_dir():
            raise InputError(f"{folder} is no run: it is a file, and a run is a folder")
        if not (folder / CONFIG).is_file():
            raise InputError(f"{folder} is no run: it holds no {CONFIG}")
    return read_config(folder / CONFIG)


def read_settings(folder: Path) -> Settings:
    """What a run was made with.

    Raises:
        InputError: the folder is no run, or one of its files is damaged.
    """
    config, observation = read_run(folder), read_observation(folder / OBSERVATION)
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
        output: the folder to use: a new one, an empty one, or with `force` one that holds a run.
        force: whether a run in `output` may be overwritten.

    Raises:
        InputError: `output` cannot be used or made.
    """
    if output is None:
        return numbered_folder(Path("runs"), f"{config.dataset}-{config.preset}-{config.seed}")
    check_output(output, force=force)
    return make_folder(output)


def make_folder(folder: Path) -> Path:
    """The folder itself, made where there is none.

    Raises:
        InputError: it cannot be made.
    """
    with explained(f"cannot make the folder {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def clear(folder: Path, patterns: Sequence[str] = CLEARED) -> None:
    """Remove what there is of a run in a folder.

    Raises:
        InputError: it cannot be removed.
    """
    with explained(f"cannot empty the folder {folder}"):
        for pattern in patterns:
            for path in folder.glob(pattern):
                remove(path)


def remove(path: Path) -> None:
    """Remove a file, or a link; or the events in a folder, and the folder where it holds nothing else.

    Raises:
        OSError: it cannot be removed.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    remove_events(path)
    if not any(path.iterdir()):
        path.rmdir()


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
        if all(any(path.match(pattern) for pattern in LEFT) for path in output.iterdir()):
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
    """Write what the rest of a run depends on; config.toml first: the others can be made again from it."""
    with explained(f"cannot write into {folder}"):
        made_with = {**versions(), "data": corpus.fingerprint}
        write_text(folder / CONFIG, tomli_w.dumps({**to_table(config), "versions": made_with}))
        if isinstance(corpus, TextCorpus):
            corpus.vocabulary.save(folder / VOCABULARY)
        write_text(folder / OBSERVATION, to_json(asdict(corpus.observation), indent=2) + "\n")


def is_untouched(folder: Path) -> bool:
    """Whether a run was stopped before its first checkpoint, which is that of step 0."""
    with explained(f"cannot read {folder}"):
        metrics = folder / METRICS
        return newest(folder) is None and not (metrics.is_file() and metrics.stat().st_size)


def read_fingerprint(folder: Path) -> str:
    """The hash of the data that a run was trained on."""
    return str(read_versions(folder).get("data", ""))


def read_versions(folder: Path) -> dict[str, Any]:
    """What a run was begun with; empty where its config.toml does not say."""
    made_with = read_table(folder / CONFIG).get("versions")
    return made_with if isinstance(made_with, dict) else {}
