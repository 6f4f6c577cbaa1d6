"""A run from beginning to end: data, training, the test of the best parameters, and the files of its folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyro

from zf_pyro import checkpoints, runs
from zf_pyro.analysis import write_samples
from zf_pyro.build import build
from zf_pyro.config import Config
from zf_pyro.console import warn
from zf_pyro.data.corpus import Corpus
from zf_pyro.data.text import TextCorpus
from zf_pyro.devices import choose_device
from zf_pyro.errors import InputError, first_line
from zf_pyro.evaluation import evaluate
from zf_pyro.events import require_log
from zf_pyro.faults import enough_memory, faults_of_training
from zf_pyro.figures import measure
from zf_pyro.files import explained, require_writable, write_text
from zf_pyro.filtering import require_guide
from zf_pyro.fitting import fit, follow, go_back
from zf_pyro.imported import require_trust
from zf_pyro.locks import locked
from zf_pyro.metrics import read_metrics, to_json
from zf_pyro.opening import corpus_at, loaded, matching_corpus, require_match
from zf_pyro.overview import tell_overview
from zf_pyro.paths import Form
from zf_pyro.plots import plot_curves
from zf_pyro.processes import is_first
from zf_pyro.scores import scores_file, write_scores
from zf_pyro.timing import write_timing
from zf_pyro.training import Trainer
from zf_pyro.trial import try_out
from zf_pyro.versions import other_versions


def prepare(config: Config, corpus: Corpus) -> Trainer:
    """A model, its guide and their trainer, freshly initialised from the seed.

    Raises:
        InputError: they do not fit into memory.
    """
    pyro.set_rng_seed(config.seed)
    try:
        model, guide = build(config.model, corpus.observation)
        model, guide = model.to(config.device), guide.to(config.device)
    except (RuntimeError, MemoryError, OverflowError) as error:
        raise InputError(f"a model of these sizes cannot be made: {first_line(error)}") from error
    trainer = Trainer(model, guide, config, corpus.train, corpus.valid)
    if config.filters:
        require_guide(model, guide)
    if config.model.own_parts:
        try_out(trainer, config.model, corpus.observation)
    return trainer


def start(config: Config, corpus: Corpus, trainer: Trainer, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Train from the beginning in a folder, whose old run goes, and test; returns the results.

    Of several processes the first alone reads and writes there.

    Raises:
        InputError: another process trains there, or the folder cannot be written.
    """
    if not is_first():
        return complete(config, corpus, trainer, folder, 0, say)
    with locked(folder):
        runs.clear(folder)
        runs.write_settings(folder, config, corpus)
        return complete(config, corpus, trainer, folder, 0, say)


def resume(
    folder: Path, say: Callable[[str], None], corpus: Corpus | None = None, *, trust: bool = False
) -> dict[str, Any]:
    """Go on with an unfinished run, and test; returns the results.

    Of several processes, of which there may be more or fewer than before, the first alone writes there.

    Args:
        folder: the run.
        say: is told what a user should know.
        corpus: the run's data, where it is open already.
        trust: import the code that its config.toml names.

    Raises:
        InputError: the folder is no run, a finished one, a damaged one, or one that another process trains, its data
            is gone or other data, or it names code that is not to be imported.
    """
    config = runs.read_run(folder)
    require_trust(config.model.own_parts, folder / runs.CONFIG, trust=trust)
    require_log(config)
    with locked(folder) if is_first() else nullcontext():
        state = checkpoints.of_first(saved_state(folder, config) if is_first() else None)
        config = replace(config, device=choose_device(config.device))
        corpus = matching_corpus(config, folder, say) if corpus is None else require_match(corpus, folder)
        say(
            f"Going on with {folder}: {config.dataset}, preset {config.preset}, device {config.device}; {corpus.source}"
        )
        if others := other_versions(runs.read_versions(folder)):
            warn(f"begun with {others}; the numbers may not be those of a run without a stop")
        trainer = prepare(config, corpus)
        if state is None and is_first():
            runs.write_settings(folder, config, corpus)
        metrics_size = 0 if state is None else go_back(trainer, state, folder)
        return complete(config, corpus, trainer, folder, metrics_size, say)


def saved_state(folder: Path, config: Config) -> dict[str, Any] | None:
    """The state from which an unfinished run goes on; None at its beginning.

    Raises:
        InputError: the run is finished, or damaged, or its state is of other settings.
    """
    if (folder / runs.RESULTS).is_file():
        raise InputError(f"{folder} is finished: its results are in {runs.RESULTS}")
    runs.clear(folder, ["*.tmp"])
    if runs.is_untouched(folder):
        return None
    runs.read_settings(folder)
    state = checkpoints.recover(folder)
    checkpoints.require_resumable(folder / checkpoints.CHECKPOINT, state, config)
    return state


def complete(
    config: Config, corpus: Corpus, trainer: Trainer, folder: Path, metrics_size: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train to the end, test the best parameters, and write the results."""
    tell_overview(trainer.model, trainer.guide, config)
    with faults_of_training(folder, config):
        if is_first():
            fit(trainer, config, folder, metrics_size)
        else:
            follow(trainer)
        return finish(config, corpus, trainer, folder, say)


def finish(
    config: Config, corpus: Corpus, trainer: Trainer, folder: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Test the best parameters of a training, and write the results."""
    if trainer.skipped:
        warn(f"left out {trainer.skipped} updates whose loss or gradient was not finite")
    if trainer.best is None:
        raise InputError(f"{folder / checkpoints.CHECKPOINT} is at the end of training and holds no best parameters")
    trainer.model.load_state_dict(trainer.best.model)
    trainer.guide.load_state_dict(trainer.best.guide)
    say(f"Testing the parameters of step {trainer.best.step:,}")
    test = evaluate(trainer.model, trainer.guide, config, corpus)
    results = {
        **identity(config, corpus),
        "steps": trainer.step,
        "num_parameters": sum(parameter.numel() for parameter in trainer.parameters),
        "test": test.figures,
    }
    if is_first():
        write_scores(folder / scores_file(config.evaluation.num_particles), test.scores)
        write_timing(folder, trainer.durations, config.device)
        write_outcome(trainer, config, corpus, folder, results)
    return results


def evaluate_run(
    folder: Path,
    num_particles: int | None,
    eval_sequences: int | None,
    device: str,
    data: Path | None = None,
    form: Form | None = None,
    particle_filter: bool | None = None,
    say: Callable[[str], None] = lambda line: None,
    *,
    trust: bool = False,
) -> dict[str, Any]:
    """Score a run's best parameters with K particles, and write evaluation-K.json and evaluation-K.npz.

    Several processes share out the sequences, and the first writes.

    Args:
        folder: the run.
        num_particles: K; None takes the run's.
        eval_sequences: how many test sequences, 0 for all; None takes the run's.
        device: as `choose_device` takes it.
        data: where the run's data is now, if not where it was.
        form: of the programs; None takes the run's.
        particle_filter: whether to add the particle-filter bound; None takes the run's.
        say: is told what a user should know.
        trust: import the code that the run's config.toml names.

    Raises:
        InputError: the folder is no run or cannot be written, its data is gone or other data, an option is out of its
            range, or the run names code that is not to be imported.
    """
    run = loaded(folder, num_particles, eval_sequences, device, particle_filter, trust=trust)
    config = run.config if form is None else replace(run.config, training=replace(run.config.training, form=form))
    corpus = corpus_at(config, folder, data, say)
    output = folder / evaluation_file(config.evaluation.num_particles)
    if is_first():
        require_writable(folder)
    with enough_memory(config.device, "free some of it, or take --device cpu"):
        test = evaluate(run.model, run.guide, config, corpus)
    results = {**identity(config, corpus), "test": test.figures}
    if is_first():
        write_scores(output.with_suffix(".npz"), test.scores)
        with explained(f"cannot write {output}"):
            write_text(output, to_json(results, indent=2) + "\n")
    return results


def evaluation_file(num_particles: int) -> str:
    """The name of the file with an evaluation by K particles."""
    return f"evaluation-{num_particles}.json"


def identity(config: Config, corpus: Corpus) -> dict[str, Any]:
    """What a file of results begins with."""
    named = {name: getattr(config, name) for name in ("dataset", "preset", "seed", "device")}
    units = {"sequence": corpus.observation.sequence, "step": corpus.observation.step}
    return {**named, "form": config.training.form, **units, "measure": measure(config, corpus.observation)}


def write_outcome(trainer: Trainer, config: Config, corpus: Corpus, folder: Path, results: dict[str, Any]) -> None:
    """Write samples and curves, then the results, whose presence says that the run is finished."""
    vocabulary = corpus.vocabulary if isinstance(corpus, TextCorpus) else None
    run = runs.LoadedRun(trainer.model, trainer.guide, config, corpus.observation, vocabulary)
    write_samples(run, config.evaluation.num_samples, folder, seed=config.seed)
    with explained(f"cannot write into {folder}"):
        plot_curves(read_metrics(folder), folder / runs.CURVES, corpus.observation.step)
        write_text(folder / runs.RESULTS, to_json(results, indent=2) + "\n")
