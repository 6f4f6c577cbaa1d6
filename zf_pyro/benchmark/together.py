"""Updates of the trainer by several processes: ``torchrun -m zf_pyro.benchmark.together TASK``.

TASK is a JSON object: ``{"size": "text", "sequences": 32, "updates": 5, "device": "cpu", "threads": 1}``, whose
sequences are those of an update of all processes together. The first process prints the median seconds of an update.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch

from zf_pyro.benchmark.contenders import ALPHA, BETA
from zf_pyro.benchmark.measure import carried_out, seconds
from zf_pyro.benchmark.sizes import SIZES, Size, build
from zf_pyro.config import Config, ObjectiveConfig, TrainingConfig
from zf_pyro.data.sequences import Sequences
from zf_pyro.devices import choose_device
from zf_pyro.processes import connected, is_first, share
from zf_pyro.scopes import local_parameters, prepare_torch
from zf_pyro.training import Trainer

TOGETHER = ("speech", "text", "pixels")
"""The sizes that are measured by several processes."""

ROUNDS = 3
"""How often each number of processes is started, by turns."""


class Team(NamedTuple):
    """Processes that make an update together, each with so many threads."""

    processes: int
    threads: int
    sequences: int

    @property
    def name(self) -> str:
        """By which its figures are known."""
        return f"{self.processes}x{self.threads}, B = {self.sequences}"


def teams() -> list[Team]:
    """One process by one thread and by all, and two that share these: of the same sequences, and of as many each."""
    threads, sequences = torch.get_num_threads(), SIZES[TOGETHER[0]].sequences
    half = max(1, threads // 2)
    pairs = (Team(2, half, count * sequences) for count in (1, 2))
    return list(dict.fromkeys([Team(1, half, sequences), Team(1, threads, sequences), *pairs]))


def update_times(name: str, repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds of an update at the sizes of a name, by each team."""
    times: dict[str, list[float]] = {team.name: [] for team in teams()}
    for _ in range(ROUNDS):
        for team in teams():
            task = {"size": name, "updates": repeats, "device": device.type, "threads": team.threads}
            made = carried_out("zf_pyro.benchmark.together", {**task, "sequences": team.sequences}, team.processes)
            times[team.name].append(made)
    return {name: median(values) for name, values in times.items()}


def random_split(size: Size) -> Sequences:
    """Sequences of random data, of one length."""
    data = torch.randn(size.sequences, size.steps + 1, size.data)
    return Sequences.of(list(data.numpy()), condition_on_first=True)


def trainer_of(size: Size, device: str) -> Trainer:
    """A trainer whose update is of all sequences of a size."""
    torch.manual_seed(0)
    model, guide = build(size)
    split = random_split(size)
    training = TrainingConfig(batch_size=size.sequences)
    config = Config("arrays", "quick", objective=ObjectiveConfig(alpha=ALPHA, beta=BETA), training=training)
    return Trainer(model.to(device), guide.to(device), config, split, split)


def measure(task: Mapping[str, Any]) -> float:
    """Median seconds of an update, after one that is not counted."""
    size = replace(SIZES[task["size"]], sequences=task["sequences"])
    trainer = trainer_of(size, task["device"])
    places = share(np.arange(size.sequences))
    batch = trainer.train.batch(places)
    with local_parameters():
        times = [seconds(lambda: trainer.update(places, batch), trainer.device) for _ in range(task["updates"] + 1)]
    return median(times[1:])


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    prepare_torch()
    torch.set_num_threads(given["threads"])
    with connected(choose_device(given["device"])):
        found = measure(given)
        if is_first():
            print(found)
