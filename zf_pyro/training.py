"""The training loop: Adam, clipping of the global norm, validation, and a state from which it goes on exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import ReduceLROnPlateau

from zf_pyro.bounds import Bound
from zf_pyro.build import build_objective
from zf_pyro.config import Config
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.data.loader import Split, epoch_batches, fetched, subset
from zf_pyro.errors import TrainingError, check
from zf_pyro.guides import Guide
from zf_pyro.model import StochasticRNN
from zf_pyro.precision import matmul_precision, products_in
from zf_pyro.processes import any_of, averaging, rank, share, summed, world_size
from zf_pyro.random_states import random_states, set_random_states
from zf_pyro.schedules import Constant
from zf_pyro.scopes import local_parameters
from zf_pyro.segments import in_segments
from zf_pyro.streams import Streams, stream_seed
from zf_pyro.validation import Stopped, validation_bound

MAX_SKIPPED = 20
"""Non-finite steps in a row that end a run."""

COUNTERS = ("step", "epoch", "position", "skipped", "skipped_in_a_row", "validated")
"""The numbers of a `Trainer` that say where it is."""

Record = dict[str, float | int]
"""A line of the metrics: of one update, or of one validation (its names begin with ``valid_``).

Terms are nats per sequence; ``length`` is the mean number of real steps of the sequences they are of.
"""


class Best(NamedTuple):
    """The parameters of the best validation so far."""

    step: int
    iw_bound: float
    model: dict[str, Tensor]
    guide: dict[str, Tensor]


class Trainer:
    """Trains a model and its guide, and validates them.

    Args:
        model: the generative program, on the device to train on.
        guide: the inference program, there too.
        config: sections `objective` and `training`, and the seed.
        train: the sequences to train on.
        valid: the sequences to choose the best parameters by.

    Attributes:
        step: batches seen so far, in this run and in those that it resumes.
        skipped: how many of them were left out for a loss or gradient that was not finite.
        validated: the step of the latest validation, 0 before the first.
        best: the parameters with the greatest validation bound so far, None before the first validation.
        stopping: called between the batches of a validation, which is left undone where it returns True.
        durations: seconds of each update that `fit` has made, the reading of the batch left out.
    """

    def __init__(self, model: StochasticRNN, guide: Guide, config: Config, train: Split, valid: Split) -> None:
        options = config.training
        self.model, self.guide, self.train, self.valid = model, guide, train, valid
        self.options, self.seed, self.split_seed = options, config.seed, config.data.split_seed
        self.device = next(model.parameters()).device
        count = min(options.batch_size, len(train.lengths))
        check(world_size() <= count, f"{world_size()} processes cannot share out {count} sequences an update")
        self.elbo = build_objective(config.objective, count=count)
        loss = self.elbo(model, guide)
        self.parameters = list(loss.parameters())
        self.loss = averaging(loss)
        self.optimizer = torch.optim.Adam(self.parameters, lr=options.rate.peak, eps=options.adam_epsilon, fused=True)
        self.halving = ReduceLROnPlateau(
            self.optimizer, mode="max", factor=0.5, patience=0, threshold=0.0, min_lr=options.min_learning_rate
        )
        changing = {name for name, each in config.objective.weights.items() if not isinstance(each, Constant)}
        self.weights_to_record = sorted(changing | {"gamma"})
        self.step = self.epoch = self.position = self.skipped = self.skipped_in_a_row = self.validated = 0
        self.best: Best | None = None
        self.stopping: Callable[[], bool] = lambda: False
        self.durations: list[float] = []

    @property
    def steps_per_epoch(self) -> int:
        """Updates in one pass over the training split."""
        return max(1, len(self.train.lengths) // self.options.batch_size)

    @property
    def total_steps(self) -> int:
        """Updates after which training ends."""
        limit = self.options.epochs * self.steps_per_epoch
        return min(limit, self.options.max_steps) if self.options.max_steps else limit

    def fit(self, on_step: Callable[[Record], bool], on_validation: Callable[[Record], None]) -> bool:
        """Train to the end, or until `on_step` or `stopping` returns True.

        A validation that is due when training stops is the first thing that is done when it goes on.

        Args:
            on_step: called with the record of each update.
            on_validation: called with the record of each validation, after which `state` is worth saving.

        Returns:
            False where it was stopped, if only at the last step; else True.

        Raises:
            TrainingError: 20 steps in a row were not finite.
        """
        with local_parameters(), suppress(Stopped):
            if self.validation_due():
                on_validation(self.validate())
            for places, batch in self.remaining_batches():
                started = perf_counter()
                record = self.update(places, batch)
                self.durations.append(perf_counter() - started)
                if any_of(on_step(record)):
                    return False
                if self.validation_due():
                    on_validation(self.validate())
            return True
        return False

    def remaining_batches(self) -> Iterator[tuple[np.ndarray, SequenceBatch]]:
        """This process's shares of the batches from here to the end of training, with their places in the split.

        Each is counted as seen when it is handed out.
        """
        while self.step < self.total_steps:
            split = self.train.of_epoch(self.seed, self.epoch)
            batches = epoch_batches(split.lengths, self.options.batch_size, self.seed, self.epoch)
            left = [share(each) for each in batches[self.position :][: self.total_steps - self.step]]
            for places, batch in zip(left, fetched(split, left, self.options.num_workers), strict=True):
                self.position += 1
                if self.position == len(batches):
                    self.epoch, self.position = self.epoch + 1, 0
                yield places, batch
                if self.step >= self.total_steps:
                    return

    def validation_due(self) -> bool:
        """Whether the parameters of the current step are still to be validated."""
        last = self.step == self.total_steps
        return self.step > self.validated and (
            last or self.step % (self.options.validate_every or self.steps_per_epoch) == 0
        )

    def update(self, places: np.ndarray, batch: SequenceBatch) -> Record:
        """One step of the optimiser, or none where loss or gradient is not finite.

        Args:
            places: of this process's sequences in the training split.
            batch: these sequences, on the CPU.

        Returns:
            Means over the sequences of all processes, nats per sequence.
        """
        self.model.train()
        self.guide.train()
        self.elbo.step = self.step
        there = batch.to(self.device)
        with matmul_precision(self.options.matmul_precision), self.drawing(places, batch):
            loss = self.loss_of(there)
            self.optimizer.zero_grad()
            (loss * world_size()).backward()  # of which the mean over the processes is taken
        norm = clip_grad_norm_(self.parameters, self.options.clip_norm or math.inf)
        record = self.record(loss, norm, there.lengths)
        self.step += 1
        if math.isfinite(record["loss"]) and math.isfinite(record["gradient_norm"]):
            with rate_of(self.optimizer, record["learning_rate"]):
                self.optimizer.step()
            self.skipped_in_a_row = 0
        else:
            self.skip()
        return {**record, "skipped": self.skipped}

    def drawing(self, places: np.ndarray, batch: SequenceBatch) -> Streams:
        """The streams of this update's sequences; what is drawn otherwise is of the process and the update."""
        torch.manual_seed(stream_seed(self.seed, self.step, "process", rank()))
        seeds = [stream_seed(self.seed, self.step, place) for place in places.tolist()]
        return Streams(seeds, batch.lengths.tolist(), batch.num_steps, self.device)

    def loss_of(self, batch: SequenceBatch) -> Tensor:
        """The loss of a batch that is on the device, in the precision of training."""
        precision, count = products_in(self.options.precision, self.device), self.options.checkpoint_segments
        with precision, in_segments(count):
            return self.loss(batch, form=self.options.form)

    def skip(self) -> None:
        """Count a step that was left out, and give up after too many."""
        self.skipped += 1
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row >= MAX_SKIPPED:
            raise TrainingError(
                f"{MAX_SKIPPED} steps in a row up to step {self.step} had a loss or gradient that is not finite; "
                "try a smaller learning_rate or clip_norm"
            )

    def record(self, loss: Tensor, norm: Tensor, lengths: Tensor) -> Record:
        """The numbers of one update, in nats per sequence: all that an update waits for the device for."""
        terms = self.elbo.last_terms
        assert terms is not None
        present = {name: term / self.elbo.count for name, term in terms._asdict().items() if term is not None}
        shares = torch.stack([loss.detach(), *present.values(), lengths.to(loss.dtype).sum() / self.elbo.count])
        total, *values, length, gradient_norm = fetch([*summed(shares), norm])
        record = {"loss": total, "gradient_norm": gradient_norm, **dict(zip(present, values, strict=True))}
        elbo = {"elbo": record["reconstruction"] - record["kl"]} if "kl" in record else {}
        weights = self.elbo.weights()._asdict()
        rate = self.options.rate
        return {
            "step": self.step + 1,
            "epoch": self.step // self.steps_per_epoch,
            **elbo,
            **record,
            **{name: weights[name] for name in self.weights_to_record},
            "learning_rate": self.optimizer.param_groups[0]["lr"] * (rate(self.step) / rate.peak),
            "length": length,
        }

    def validate(self) -> Record:
        """Score the validation split, keep the best parameters, and halve the learning rate where it got worse."""
        bound = self.bound_of_validation()
        self.validated = self.step
        if self.best is None or math.isnan(self.best.iw_bound) or bound.iw_bound > self.best.iw_bound:
            self.best = Best(self.step, bound.iw_bound, copy_state(self.model), copy_state(self.guide))
        self.halving.step(bound.iw_bound)
        return {
            "step": self.step,
            "valid_elbo": bound.elbo,
            "valid_iw_bound": bound.iw_bound,
            "valid_kl": bound.kl,
            "valid_length": bound.num_steps / bound.num_sequences,
            "valid_sequences": bound.num_sequences,
            "valid_particles": bound.num_particles,
        }

    def bound_of_validation(self) -> Bound:
        """The bounds on the validation split, or on its seeded subset."""
        chosen = subset(len(self.valid.lengths), self.options.validation_sequences, self.split_seed)
        return validation_bound(
            self.model, self.guide, self.valid, chosen, self.options, seed=self.seed, stopping=self.stopping
        )

    def state(self) -> dict[str, Any]:
        """All that training needs to go on as if it had not stopped: tensors, numbers and strings."""
        return {
            "counters": [getattr(self, name) for name in COUNTERS],
            "model": self.model.state_dict(),
            "guide": self.guide.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "halving": self.halving.state_dict(),
            "best": None if self.best is None else self.best._asdict(),
            "random": random_states(self.device),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go back to what `state` returned."""
        for name, count in zip(COUNTERS, state["counters"], strict=True):
            setattr(self, name, count)
        self.model.load_state_dict(state["model"])
        self.guide.load_state_dict(state["guide"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.halving.load_state_dict(state["halving"])
        self.best = None if state["best"] is None else Best(**state["best"])
        set_random_states(state["random"], self.device)


@contextmanager
def rate_of(optimizer: torch.optim.Optimizer, rate: float) -> Iterator[None]:
    """Inside, an optimiser of one group has another learning rate; what is halved is the one that it has outside."""
    group = optimizer.param_groups[0]
    outside, group["lr"] = group["lr"], rate
    try:
        yield
    finally:
        group["lr"] = outside


def fetch(values: list[Tensor]) -> list[float]:
    """Numbers on a device, each of shape (), to the host at once."""
    return torch.stack(values).tolist()


def copy_state(module: nn.Module) -> dict[str, Tensor]:
    """A copy of a module's parameters on the CPU."""
    return {name: value.detach().to("cpu", copy=True) for name, value in module.state_dict().items()}
