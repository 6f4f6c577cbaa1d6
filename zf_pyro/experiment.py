"""A run from beginning to end: data, training, the test of the best parameters, and the files of its folder."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any

import pyro
import torch
from tqdm import tqdm

from zf_pyro import runs
from zf_pyro.analysis import sample_sentences
from zf_pyro.bounds import estimate_bound
from zf_pyro.build import build_text
from zf_pyro.config import Config
from zf_pyro.data.loader import ordered_batches, subset
from zf_pyro.data.text import TextCorpus, load_text
from zf_pyro.errors import InputError
from zf_pyro.files import write_text
from zf_pyro.plots import plot_curves
from zf_pyro.training import Record, Trainer

EVALUATION_BATCH = 64
"""Sequences scored together; the draws, not the law, of an evaluation depend on it."""


class Interrupted(Exception):
    """Training was asked to stop, and its state is saved."""


def choose_device(name: str) -> str:
    """The device that `name` stands for: "auto" is the GPU where there is one.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"device {name!r} cannot be used here ({reason}); try --device auto") from error
    return name


def open_corpus(config: Config, *, download: bool = False) -> TextCorpus:
    """The data that a configuration names."""
    return load_text(config.source or None, config.data, download=download)


def start(config: Config, corpus: TextCorpus, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Train from the beginning in a new folder, and test; returns the results."""
    runs.write_settings(folder, config, corpus.vocabulary)
    return finish(config, corpus, folder, None, say)


def resume(folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Go on with an unfinished run, and test; returns the results.

    Raises:
        InputError: the folder is no run, a finished one, or its data is gone or another.
    """
    config, vocabulary = runs.read_settings(folder)
    if (folder / runs.RESULTS).is_file():
        raise InputError(f"{folder} is finished: its results are in {runs.RESULTS}")
    state = runs.read_checkpoint(folder)
    corpus = matching_corpus(config, vocabulary.words, folder)
    choose_device(config.device)
    return finish(config, corpus, folder, state, say)


def matching_corpus(config: Config, words: list[str], folder: Path) -> TextCorpus:
    """The data of a run, checked to be what the run was trained on.

    Raises:
        InputError: the data cannot be read, or its vocabulary is another.
    """
    corpus = open_corpus(config)
    if corpus.vocabulary.words != words:
        raise InputError(f"{corpus.source} is not the text that {folder} was trained on: the vocabularies differ")
    return corpus


def finish(
    config: Config, corpus: TextCorpus, folder: Path, state: dict[str, Any] | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train from a state to the end, test, and write the results."""
    pyro.set_rng_seed(config.seed)
    model, guide = build_text(config.model, len(corpus.vocabulary))
    trainer = Trainer(model.to(config.device), guide.to(config.device), config, corpus.train, corpus.valid)
    if state is not None:
        with runs.readable_checkpoint(folder):
            trainer.load_state(state["trainer"])
    train(trainer, folder, 0 if state is None else state["metrics_size"])
    best = trainer.best
    assert best is not None
    model.load_state_dict(best.model)
    guide.load_state_dict(best.guide)
    say(f"Testing the parameters of step {best.step:,}")
    results = {
        **identity(config),
        "steps": trainer.step,
        "num_parameters": sum(parameter.numel() for parameter in trainer.parameters),
        "test": evaluate(trainer.model, trainer.guide, config, corpus),
    }
    write_outcome(trainer, config, corpus, folder, results)
    return results


def train(trainer: Trainer, folder: Path, metrics_size: int) -> None:
    """Train with a progress bar, metrics and checkpoints.

    Raises:
        Interrupted: by Ctrl-C or a request to terminate, after the step in hand was finished and saved.
    """
    metrics = runs.Metrics(folder, metrics_size)
    bar = progress(total=trainer.total_steps, initial=trainer.step, desc="Training", unit="step")

    def save() -> None:
        runs.write_checkpoint(folder, {"trainer": trainer.state(), "metrics_size": metrics.size()})

    def on_validation(record: Record) -> None:
        metrics.write(record)
        save()

    with deferred_signals() as asked, bar:

        def on_step(record: Record) -> bool:
            metrics.write(record)
            shown = {label: record[name] for label, name in SHOWN.items() if name in record}
            bar.set_postfix({label: f"{value:.1f}" for label, value in shown.items()}, refresh=False)
            bar.update()
            return bool(asked)

        try:
            finished = trainer.fit(on_step, on_validation)
            if not finished:
                save()
        finally:
            metrics.close()
    if not finished:
        raise Interrupted


SHOWN = {"ELBO": "elbo", "KL": "kl", "aux": "auxiliary"}


def progress(*arguments: Any, **options: Any) -> tqdm:
    """A progress bar on standard error; where that is no terminal, a line every half minute."""
    interval = 0.5 if sys.stderr.isatty() else 30.0
    return tqdm(*arguments, mininterval=interval, maxinterval=interval, dynamic_ncols=True, **options)


@contextmanager
def deferred_signals() -> Iterator[list[int]]:
    """Collect Ctrl-C and SIGTERM in a list instead of obeying them; a second one is obeyed."""
    asked: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    previous = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def evaluate(model: Any, guide: Any, config: Config, corpus: TextCorpus) -> dict[str, float | int]:
    """Score the test split, or its seeded subset, by the configuration's protocol."""
    chosen = subset(len(corpus.test), config.evaluation.eval_sequences, config.seed)
    batches = ordered_batches(corpus.test, chosen, EVALUATION_BATCH)
    shown = progress(batches, total=-(-len(chosen) // EVALUATION_BATCH), desc="Evaluating", unit="batch")
    bound = estimate_bound(model, guide, shown, config.evaluation.num_particles, seed=config.seed)
    return {
        **asdict(bound),
        "perplexity_elbo": bound.perplexity(bound.elbo),
        "perplexity": bound.perplexity(bound.iw_bound),
        "unigram_perplexity": corpus.unigram_perplexity(corpus.test.take(chosen)),
    }


def evaluate_run(folder: Path, num_particles: int, eval_sequences: int | None, device: str) -> dict[str, Any]:
    """Score a run's best parameters with K particles, and write evaluation-K.json.

    Raises:
        InputError: the folder is no run, its data is gone or another, or an option is out of its range.
    """
    run = runs.load(folder)
    changes = {"num_particles": num_particles} | ({} if eval_sequences is None else {"eval_sequences": eval_sequences})
    config = replace(run.config, evaluation=replace(run.config.evaluation, **changes), device=choose_device(device))
    corpus = matching_corpus(config, run.vocabulary.words, folder)
    test = evaluate(run.model.to(config.device), run.guide.to(config.device), config, corpus)
    results = {
        "dataset": config.dataset,
        "preset": config.preset,
        "seed": config.seed,
        "device": config.device,
        "test": test,
    }
    write_text(folder / f"evaluation-{num_particles}.json", runs.to_json(results, indent=2) + "\n")
    return results


def identity(config: Config) -> dict[str, Any]:
    """What a file of results begins with."""
    return {name: getattr(config, name) for name in ("dataset", "preset", "seed", "device")}


def write_outcome(trainer: Trainer, config: Config, corpus: TextCorpus, folder: Path, results: dict[str, Any]) -> None:
    """Write samples and curves, then the results, whose presence says that the run is finished."""
    sentences = sample_sentences(
        trainer.model, corpus.vocabulary, config.evaluation.num_samples, config.data.max_tokens + 1, seed=config.seed
    )
    write_text(folder / runs.SAMPLES, "\n".join(sentences) + "\n")
    plot_curves(runs.read_metrics(folder), folder / runs.CURVES)
    write_text(folder / runs.RESULTS, runs.to_json(results, indent=2) + "\n")
