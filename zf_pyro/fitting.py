"""Training with what a run keeps of it: metrics, checkpoints, a progress bar, and the way back to a checkpoint."""

from __future__ import annotations

import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from zf_pyro.checkpoints import CHECKPOINT, identified, readable_checkpoint, write_checkpoint
from zf_pyro.config import Config
from zf_pyro.errors import InputError, Interrupted, MachineError
from zf_pyro.metrics import Metrics, check_metrics
from zf_pyro.progress import RunningMeans, progress
from zf_pyro.signals import deferred_signals
from zf_pyro.training import Record, Trainer

SHOWN = {"ELBO": "elbo", "KL": "kl", "aux": "auxiliary"}
"""What the progress bar shows, nats per step over the latest updates, by its name in a record."""

BAR = "{desc} {percentage:3.0f}% {n_fmt}/{total_fmt} [{remaining} left, {rate_fmt}{postfix} nats/step]"


def fit(trainer: Trainer, config: Config, folder: Path, metrics_size: int) -> None:
    """Train with a progress bar, metrics and checkpoints, the first of them before the first update.

    Raises:
        Interrupted: by Ctrl-C or SIGTERM, after the step in hand was finished and saved.
    """
    metrics = Metrics(folder, metrics_size)
    bar = progress(total=trainer.total_steps, initial=trainer.step, desc="Training", unit="step", bar_format=BAR)
    means = RunningMeans(SHOWN.values())

    def save() -> None:
        durations = torch.tensor(trainer.durations, dtype=torch.float32)
        state = {"trainer": trainer.state(), "metrics_size": metrics.size(), "durations": durations}
        write_checkpoint(folder, identified(config, state))

    def on_validation(record: Record) -> None:
        metrics.write(record)
        save()

    with deferred_signals() as asked, closing(metrics), bar:

        def on_step(record: Record) -> bool:
            metrics.write(record)
            means.add(record, record["length"])
            shown = {label: f"{means[name]:.4g}" for label, name in SHOWN.items() if name in record}
            bar.set_postfix(shown, refresh=False)
            bar.update()
            return bool(asked)

        trainer.stopping = lambda: bool(asked)
        if not trainer.step:
            save()
        try:
            finished = trainer.fit(on_step, on_validation)
        except MachineError:  # the disk is full, and the metrics lack a line
            raise
        except InputError:  # the data cannot be read any more
            save()
            raise
        if not finished:
            save()
            raise Interrupted(number=asked[0] if asked else signal.SIGTERM)


def follow(trainer: Trainer) -> None:
    """Train along with the first process, which alone keeps what comes of it.

    Raises:
        Interrupted: one of the processes was asked to stop.
    """
    with deferred_signals() as asked:
        trainer.stopping = lambda: bool(asked)
        if not trainer.fit(lambda record: bool(asked), lambda record: None):
            raise Interrupted(number=asked[0] if asked else signal.SIGTERM)


def go_back(trainer: Trainer, state: dict[str, Any], folder: Path) -> int:
    """Bring a trainer to a state that was saved, and cut the metrics of what came after; returns the bytes of the rest.

    Raises:
        InputError: the state is damaged or beyond the end of training, or the metrics are damaged.
    """
    with readable_checkpoint(folder / CHECKPOINT):
        trainer.load_state(state["trainer"])
        metrics_size = int(state["metrics_size"])
        trainer.durations = state["durations"].tolist()
    if trainer.step > trainer.total_steps:
        limit = f"config.toml allows {trainer.total_steps}"
        raise InputError(f"{folder} has done {trainer.step} updates already, and its {limit}")
    check_metrics(folder, metrics_size)
    return metrics_size
