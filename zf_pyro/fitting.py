"""Training with what a run keeps and tells of it: metrics, checkpoints, reports; and the way back to a checkpoint."""

from __future__ import annotations

import signal
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from zf_pyro.checkpoints import CHECKPOINT, identified, readable_checkpoint, write_checkpoint
from zf_pyro.config import Config
from zf_pyro.errors import InputError, Interrupted, MachineError
from zf_pyro.events import Events
from zf_pyro.metrics import Metrics, check_metrics
from zf_pyro.processes import is_first
from zf_pyro.reporting import Reporters
from zf_pyro.signals import deferred_signals
from zf_pyro.terminal import Terminal
from zf_pyro.training import Record, Trainer


def fit(trainer: Trainer, config: Config, folder: Path, metrics_size: int) -> None:
    """Train with metrics, checkpoints, the first of them before the first update, and whoever is told of it.

    Raises:
        Interrupted: by Ctrl-C or SIGTERM, after the step in hand was finished and saved.
    """
    metrics = Metrics(folder, metrics_size)
    saved = monotonic()

    def save() -> None:
        nonlocal saved
        durations = torch.tensor(trainer.durations, dtype=torch.float32)
        state = {"trainer": trainer.state(), "metrics_size": metrics.size(), "durations": durations}
        write_checkpoint(folder, identified(config, state))
        told.on_saved()
        saved = monotonic()

    def on_validation(record: Record) -> None:
        metrics.write(record)
        told.on_validation(record)
        save()

    with deferred_signals() as asked, closing(metrics), closing(reporters(trainer, config, folder)) as told:

        def on_step(record: Record) -> bool:
            metrics.write(record)
            told.on_update(record)
            if 0 < 60 * config.training.save_minutes <= monotonic() - saved:
                save()
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


def reporters(trainer: Trainer, config: Config, folder: Path) -> Reporters:
    """Whoever is to be told of a training.

    Raises:
        InputError: what is logged besides the metrics cannot be written.
    """
    logs = [Events(folder)] if config.training.log == "tensorboard" else []
    return Reporters([Terminal(trainer), *logs])


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
    if is_first():
        check_metrics(folder, metrics_size)
    return metrics_size
