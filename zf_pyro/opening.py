"""Data and runs as commands open them: checked to belong together, by one process or by several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from zf_pyro import runs
from zf_pyro.config import Config
from zf_pyro.data.corpus import Corpus
from zf_pyro.data.datasets import open_data
from zf_pyro.devices import choose_device
from zf_pyro.errors import InputError
from zf_pyro.overview import tell_overview
from zf_pyro.processes import one_after_the_first, require_same


def open_corpus(config: Config, say: Callable[[str], None], *, download: bool = False) -> Corpus:
    """The data that a configuration names; of several processes on a machine the first opens it first.

    Raises:
        InputError: it cannot be read, or processes find different data.
    """
    corpus = one_after_the_first(
        lambda: open_data(config.dataset, config.source, config.data, download=download, say=say)
    )
    require_same("the data", corpus.fingerprint)
    return corpus


def matching_corpus(config: Config, folder: Path, say: Callable[[str], None]) -> Corpus:
    """The data that a configuration names, checked to be what a run was trained on.

    Raises:
        InputError: the data cannot be read, or is other data.
    """
    return require_match(open_corpus(config, say), folder)


def require_match(corpus: Corpus, folder: Path) -> Corpus:
    """The data itself, where a run was trained on it.

    Raises:
        InputError: it is other data.
    """
    if corpus.fingerprint != runs.read_fingerprint(folder):
        raise InputError(f"{corpus.source}: not the data that {folder} was trained on, or split by other versions")
    return corpus


def loaded(
    folder: Path,
    num_particles: int | None,
    eval_sequences: int | None,
    device: str,
    particle_filter: bool | None = None,
    *,
    trust: bool = False,
) -> runs.LoadedRun:
    """A run on a device, under the test protocol that is asked for.

    Args:
        folder: the run.
        num_particles: K; None takes the run's.
        eval_sequences: how many test sequences, 0 for all; None takes the run's.
        device: as `choose_device` takes it.
        particle_filter: whether to add the particle-filter bound; None takes the run's.
        trust: import the code that the run's config.toml names.

    Raises:
        InputError: the folder is no run, an option is out of its range, or the run names code that is not to be
            imported.
    """
    run = runs.load(folder, trust=trust)
    asked: dict[str, Any] = {
        "num_particles": num_particles,
        "eval_sequences": eval_sequences,
        "particle_filter": particle_filter,
    }
    changes = {name: value for name, value in asked.items() if value is not None}
    found = choose_device(device)
    config = replace(run.config, evaluation=replace(run.config.evaluation, **changes), device=found)
    tell_overview(run.model, run.guide, config)
    return run._replace(model=run.model.to(found), guide=run.guide.to(found), config=config)


def corpus_at(config: Config, folder: Path, data: Path | None, say: Callable[[str], None]) -> Corpus:
    """The data of a run, where it is now, if not where it was; as `matching_corpus`."""
    return matching_corpus(config if data is None else replace(config, source=str(data.absolute())), folder, say)
