"""What a person at the terminal sees and may do while a run is at work."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from tqdm import tqdm


def progress(*arguments: Any, **options: Any) -> tqdm:
    """A progress bar on standard error, renewed twice a second, or twice a minute where that is no terminal."""
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
