"""What a person sees while work goes on: a bar on a terminal, and plain lines anywhere else."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from time import monotonic
from types import TracebackType
from typing import Protocol

from tqdm import tqdm

from zf_pyro.console import Verbosity, inform, is_heard

INTERVAL = 30.0
"""Seconds between two lines."""


class Progress(Protocol):
    """How far some work is; what `tqdm` and `Lines` have in common."""

    def __enter__(self) -> Progress: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def update(self, n: int = 1) -> object:
        """Count what was done."""

    def set_postfix_str(self, s: str, refresh: bool) -> object:
        """What is shown beside the count."""

    def refresh(self) -> object:
        """Show it now."""


def on_terminal() -> bool:
    """Whether somebody looks at standard error, where a line can be drawn anew."""
    return sys.stderr.isatty()


def progress(total: int, what: str, unit: str, *, initial: int = 0, delay: float = 0.0) -> Progress:
    """Progress on standard error: a bar renewed twice a second, plain lines where that is no terminal, or nothing.

    Args:
        total: how much there is to do.
        what: is done, as a word.
        unit: what is counted, in the singular.
        initial: how much was done before.
        delay: seconds before anything is shown.
    """
    if not on_terminal() and is_heard(Verbosity.NORMAL):
        return Lines(total, what, unit, initial, delay)
    found: Progress = tqdm(
        total=total,
        desc=what,
        unit=f" {unit}s",
        initial=initial,
        delay=delay,
        mininterval=0.5,
        maxinterval=0.5,
        dynamic_ncols=True,
        bar_format="{desc} {percentage:3.0f}% {n_fmt}/{total_fmt} [{remaining} left, {rate_fmt}{postfix}]",
        disable=not is_heard(Verbosity.NORMAL),
    )
    return found


class Lines:
    """Progress as plain lines: at the start, every 30 seconds, when it is asked for, and at the end.

    Args:
        total, what, unit, initial, delay: as of `progress`.
    """

    def __init__(self, total: int, what: str, unit: str, initial: int = 0, delay: float = 0.0) -> None:
        self.total, self.what, self.unit, self.initial = total, what, unit, initial
        self.count, self.postfix = initial, ""
        self.began = monotonic()
        self.due = self.began + (delay or INTERVAL)
        self.told: int | None = None
        if not delay:
            self.refresh()

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.told is not None and self.told != self.count:
            self.refresh()

    def update(self, n: int = 1) -> None:
        """Count what was done."""
        self.count += n
        if monotonic() >= self.due:
            self.refresh()

    def set_postfix_str(self, s: str, refresh: bool = False) -> None:
        """What stands at the end of the line."""
        self.postfix = s
        if refresh:
            self.refresh()

    def refresh(self) -> None:
        """Say a line now."""
        self.due, self.told = monotonic() + INTERVAL, self.count
        inform(self.line(monotonic() - self.began))

    def line(self, seconds: float) -> str:
        """The line, so many seconds after the first."""
        share = f" ({self.count / self.total:.0%})" if self.total else ""
        told = [f"{self.what}: {self.count:,} of {self.total:,} {self.unit}s{share}"]
        if (done := self.count - self.initial) and seconds:
            left = (self.total - self.count) * seconds / done
            time = f"{clock(left)} left" if left else f"{clock(seconds)} in all"
            rate = done / seconds
            told += [f"{rate:{',.0f' if rate >= 100 else '.3g'}} {self.unit}s/s", time]
        return ", ".join([*told, *([self.postfix] if self.postfix else [])])


def clock(seconds: float) -> str:
    """A time as hours, minutes and seconds."""
    return str(tqdm.format_interval(seconds))


class RunningMeans:
    """Metrics per step of the sequences, averaged over about the last 50 updates.

    Args:
        names: of the metrics to follow; one that a record lacks stays as it was, 0 at first.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.sums = dict.fromkeys(names, (0.0, 0.0))

    def add(self, record: Mapping[str, float], length: float) -> None:
        """Take in a record of nats per sequence, of sequences of `length` steps."""
        for name, (total, steps) in self.sums.items():
            if math.isfinite(record.get(name, math.nan)):
                self.sums[name] = (0.98 * total + record[name], 0.98 * steps + length)

    def __getitem__(self, name: str) -> float:
        """The mean of one metric, nats per step."""
        total, steps = self.sums[name]
        return total / steps if steps else 0.0
