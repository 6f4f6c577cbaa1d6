"""A training as a person sees it who waits for it."""

from __future__ import annotations

from contextlib import ExitStack

from zf_pyro.checkpoints import CHECKPOINT
from zf_pyro.console import detail, inform
from zf_pyro.progress import RunningMeans, on_terminal, progress
from zf_pyro.reporting import Reporter
from zf_pyro.training import Record, Trainer

SHOWN = {"ELBO": "elbo", "KL": "kl", "aux": "auxiliary"}
"""What stands beside the progress, nats per step over the latest updates, by its name in a record."""

VALIDATED = {"ELBO": "valid_elbo", "IW bound": "valid_iw_bound", "KL": "valid_kl"}
"""What is told of a validation, likewise."""


class Terminal(Reporter):
    """Progress, and what a validation came to: under -v, and where lines stand instead of a bar."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.means = RunningMeans(SHOWN.values())
        self.rate = self.learning_rate
        self.stack = ExitStack()
        self.bar = self.stack.enter_context(progress(trainer.total_steps, "Training", "update", initial=trainer.step))

    @property
    def learning_rate(self) -> float:
        """The greatest value of the learning rate, which a bad validation halves."""
        return float(self.trainer.optimizer.param_groups[0]["lr"])

    def on_update(self, record: Record) -> None:
        """Show it."""
        self.means.add(record, record["length"])
        shown = {label: self.means[name] for label, name in SHOWN.items() if name in record}
        self.bar.set_postfix_str(in_nats(shown), refresh=False)
        self.bar.update()

    def on_validation(self, record: Record) -> None:
        """Tell what it came to and what follows from it."""
        values = {label: record[name] / record["valid_length"] for label, name in VALIDATED.items()}
        best = self.trainer.best
        told = [f"Validation after {record['step']:,} updates: {in_nats(values)}"]
        told += ["the best so far"] if best is not None and best.step == record["step"] else []
        if self.learning_rate != self.rate:
            self.rate = self.learning_rate
            told += [f"learning rate halved to {self.rate:g}"]
        if on_terminal():
            detail(", ".join(told))
        else:
            self.bar.refresh()
            inform(", ".join(told))

    def on_saved(self) -> None:
        """Tell where."""
        detail(f"Saved {CHECKPOINT} after {self.trainer.step:,} updates")

    def close(self) -> None:
        """Leave the progress as it is."""
        self.stack.close()


def in_nats(values: dict[str, float]) -> str:
    """Values by their names, with the unit."""
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items()) + " nats/step"
