"""Faults of the machine while a run is at work, each said in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from zf_pyro.config import Config
from zf_pyro.errors import MachineError


@contextmanager
def faults_of_training(folder: Path, config: Config) -> Iterator[None]:
    """Inside, a reading process that was killed, or memory that is full, ends a run with a word on how to go on.

    Raises:
        MachineError: instead of what PyTorch raises.
    """
    try:
        with enough_memory(config.device, lowering(folder, config)):
            yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):  # raised whatever is going on when a signal tells of it
            raise
        reason = str(error).split(". ")[0].rstrip(".")
        raise MachineError(
            f"{reason}; is there memory enough? Set num_workers = 0 in {folder / 'config.toml'} and go on by --resume"
        ) from error


@contextmanager
def enough_memory(device: str, advice: str) -> Iterator[None]:
    """Inside, memory that is full is said in one line that ends with `advice`.

    Raises:
        MachineError: instead of what PyTorch and Python raise.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        where = device if isinstance(error, torch.OutOfMemoryError) else "this machine"
        raise MachineError(f"the memory of {where} is full; {advice}") from error


def lowering(folder: Path, config: Config) -> str:
    """What a user may do about memory that is too small for a training."""
    sizes = {"batch_size": config.training.batch_size, "hidden_size": config.model.hidden_size}
    if config.objective.particles > 1:
        sizes["train_particles"] = config.objective.particles
    told = ", ".join(f"{name} ({size})" for name, size in sizes.items())
    cut = f" or a larger checkpoint_segments ({config.training.checkpoint_segments})" if config.may_be_cut else ""
    return f"go on by --resume {folder} where more is free, or start again with a smaller {told}{cut}"
