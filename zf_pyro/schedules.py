"""Weights and learning rates that change with the number of updates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from zf_pyro.errors import InputError, check

Weight = float | Callable[[int], float]
"""A constant, or a function of the number of updates done so far."""

Scheduled = float | str
"""A constant, or a schedule as a configuration spells it; see `schedule`."""


@dataclass(frozen=True)
class Constant:
    """The same at every update.

    Raises:
        InputError: `value` is negative or not finite.
    """

    value: float

    def __post_init__(self) -> None:
        """Check the range."""
        require_amounts(value=self.value)

    def __call__(self, step: int) -> float:
        """The value, after any number of updates."""
        return self.value

    @property
    def peak(self) -> float:
        """The greatest value."""
        return self.value

    @property
    def text(self) -> str:
        """How a configuration spells it."""
        return spelled(self.value)


@dataclass(frozen=True)
class Linear:
    """From `start` to `end` in equal increments over `steps` updates, then constant.

    Raises:
        InputError: `start` or `end` is negative or not finite, or `steps` is no whole number of at least 1.
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        """Check the ranges."""
        require_amounts(start=self.start, end=self.end)
        require_count(steps=self.steps)

    def __call__(self, step: int) -> float:
        """The value after `step` updates."""
        return self.end if step >= self.steps else between(self.start, self.end, step, self.steps)

    @property
    def peak(self) -> float:
        """The greatest value."""
        return max(self.start, self.end)

    @property
    def text(self) -> str:
        """How a configuration spells it."""
        return f"linear:{spelled(self.start)}:{spelled(self.end)}:{self.steps}"


@dataclass(frozen=True)
class Cyclic:
    """In every `period` updates from `low` to `high`, linearly over the first `rise` share of them, then at `high`.

    Fu, Li, Liu, Gao, Celikyilmaz, Carin, "Cyclical Annealing Schedule", NAACL 2019, with their R as `rise`.

    Raises:
        InputError: `low` or `high` is negative or not finite, `high` is below `low`, `period` is no whole number of at
            least 1, or `rise` is not above 0 and at most 1.
    """

    low: float
    high: float
    period: int
    rise: float = 0.5

    def __post_init__(self) -> None:
        """Check the ranges."""
        require_amounts(low=self.low, high=self.high)
        check(self.low <= self.high, "high must not be below low")
        require_count(period=self.period)
        check(0 < self.rise <= 1, "rise must be above 0 and at most 1")

    def __call__(self, step: int) -> float:
        """The value after `step` updates."""
        done, rising = step % self.period, self.rise * self.period
        return self.high if done >= rising else between(self.low, self.high, done, rising)

    @property
    def peak(self) -> float:
        """The greatest value: that of a period's last update, which is below `high` where the rise takes all of it."""
        return self(self.period - 1)

    @property
    def text(self) -> str:
        """How a configuration spells it."""
        rise = "" if self.rise == 0.5 else f":{spelled(self.rise)}"
        return f"cyclic:{spelled(self.low)}:{spelled(self.high)}:{self.period}{rise}"


Schedule = Constant | Linear | Cyclic

SCHEDULES: Mapping[str, str] = {
    "NUMBER": "the same at every update",
    "linear:START:END:STEPS": "from START to END in equal increments over STEPS updates, then END",
    "cyclic:LOW:HIGH:PERIOD[:RISE]": "every PERIOD updates from LOW to HIGH, over the first RISE share of them [0.5]",
}
"""The spellings of schedules, and what they mean."""


def schedule(value: Scheduled, name: str = "a schedule") -> Schedule:
    """A schedule by its spelling, a key of `SCHEDULES`.

    Args:
        value: "0.005", "linear:0.2:1:16000", "cyclic:0:1:2000", "cyclic:0:1:2000:0.8"; or a number.
        name: what is scheduled, for the message of an error.

    Raises:
        InputError: it is none, in a line with the right spellings, or a number of it is out of its range.
    """
    if not isinstance(value, str):
        require_amounts(**{name: value})
        return Constant(value)
    spellings = ", ".join(SCHEDULES).replace("NUMBER", "a number")
    message = f"{name} must be {spellings} (STEPS and PERIOD whole numbers), not {value!r}"
    try:
        return from_text(value)
    except InputError as error:
        raise InputError(f"{message}: {error}") from error
    except ValueError as error:
        raise InputError(message) from error


def from_text(text: str) -> Schedule:
    """A schedule by its spelling; a ValueError where there is none such."""
    kind, *numbers = text.split(":")
    if kind == "linear" and len(numbers) == 3:
        return Linear(float(numbers[0]), float(numbers[1]), int(numbers[2]))
    if kind == "cyclic" and len(numbers) in (3, 4):
        return Cyclic(float(numbers[0]), float(numbers[1]), int(numbers[2]), *map(float, numbers[3:]))
    return Constant(float(text))


def between(start: float, end: float, done: float, steps: float) -> float:
    """The value `done` of `steps` equal increments after `start`, which rounding takes beyond neither end."""
    value = start + (end - start) * done / steps
    return min(max(value, min(start, end)), max(start, end))


def spelled(number: float) -> str:
    """The shortest of the usual spellings of a number that read back as the same."""
    short = f"{number:g}"
    return short if float(short) == number else repr(float(number))


def require_amounts(**numbers: float) -> None:
    """Refuse numbers that are negative or not finite."""
    for name, number in numbers.items():
        check(math.isfinite(number), f"{name} must be finite")
        check(number >= 0, f"{name} must not be negative")


def require_count(**numbers: int) -> None:
    """Refuse numbers that are not whole, or below 1."""
    for name, number in numbers.items():
        check(isinstance(number, int) and number >= 1, f"{name} must be a whole number of at least 1")


def weight_at(weight: Weight, step: int) -> float:
    """The value of a constant or scheduled weight after `step` updates."""
    return float(weight(step) if callable(weight) else weight)


def told() -> Iterator[str]:
    """The schedules, a line each, under a heading."""
    yield "Schedules (--alpha, --beta, --gamma, --learning-rate), by the number of updates done"
    yield from (f"  {spelling:31}{about}" for spelling, about in SCHEDULES.items())
