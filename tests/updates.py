"""What is to happen at one update of a training."""

import os
import signal
from collections.abc import Callable

import pytest

from zf_pyro.training import Trainer


def before_update(patch: pytest.MonkeyPatch, made: int, act: Callable[[], object]) -> None:
    """Let `act` be called when so many updates are made and another is due."""
    real = Trainer.update

    def update(trainer, places, batch):
        if trainer.step == made:
            act()
        return real(trainer, places, batch)

    patch.setattr(Trainer, "update", update)


def after_update(patch: pytest.MonkeyPatch, number: int, act: Callable[[], object]) -> None:
    """Let `act` be called when the update of this number is made, before anybody is told of it."""
    real = Trainer.update

    def update(trainer, places, batch):
        record = real(trainer, places, batch)
        if record["step"] == number:
            act()
        return record

    patch.setattr(Trainer, "update", update)


def ctrl_c() -> None:
    """What a user may press."""
    os.kill(os.getpid(), signal.SIGINT)
