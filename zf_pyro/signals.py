"""Ctrl-C and SIGTERM: obeyed at once, or remembered until there is something to save."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from zf_pyro import ranks
from zf_pyro.errors import Terminated

Handler = Callable[[int, FrameType | None], Any] | signal.Handlers


def obey(number: int, frame: FrameType | None) -> None:
    """Stop whatever is going on."""
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


@contextmanager
def handled(handler: Handler, *numbers: int) -> Iterator[None]:
    """Inside, these signals go to `handler`."""
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in previous.items():
            signal.signal(number, former)


@contextmanager
def deferred_signals() -> Iterator[list[int]]:
    """Collect Ctrl-C and SIGTERM in a list instead of obeying them.

    A second one is obeyed, unless there are several processes: torchrun sends it as soon as one of them has left.
    """
    asked: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        if asked and ranks.world_size() == 1:
            obey(number, frame)
        asked.append(number)

    with handled(remember, signal.SIGINT, signal.SIGTERM):
        yield asked
