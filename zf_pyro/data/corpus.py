"""A data set ready for training: what stands at a step, and three splits."""

from __future__ import annotations

import math
import re
import reprlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch.special import log_ndtr

from zf_pyro.data.loader import Split
from zf_pyro.data.splits import SplitSettings

Law = Literal["categorical", "bernoulli", "gaussian"]

LARGEST = 1 << 31
"""Bound on the whole numbers of an observation: no size, rate or number of steps comes near."""

WORD = re.compile("[a-z]{1,20}")
"""What sequences and steps may be called."""


@dataclass(frozen=True)
class Observation:
    """What stands at a step of a data set's sequences: all that a model and a report need to know of the data.

    Attributes:
        law: of x_t: one of `size` classes, `size` bits, or `size` real numbers.
        size: V or D.
        sequence: what a sequence is called, "sentence".
        step: what a step is called, "token".
        sample_steps: how many steps to generate of a sequence.
        rows: of the picture that a sequence of single pixels scans line by line; 0 where it is no picture.
        rate: samples a second, where a step is a frame of D samples of a waveform; 0 elsewhere.
        steps_per_beat: of a piano roll, whose 88 bits are the piano's keys; 0 elsewhere.
        mean: (D,) of the training split, which was taken from real numbers, or (1,) of all numbers of a step alike;
            empty elsewhere.
        std: (D,) or (1,), by which they were then divided.
        limits: the least and the greatest value that the numbers can have in the units of the data, where these are
            whole; empty elsewhere.
    """

    law: Law
    size: int
    sequence: str = "sequence"
    step: str = "step"
    sample_steps: int = 100
    rows: int = 0
    rate: int = 0
    steps_per_beat: int = 0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    limits: tuple[int, ...] = ()

    def check(self) -> None:
        """Refuse what no data set has.

        Raises:
            ValueError: an unknown law, a size or number of steps that is no number of at least 1 or larger than any, a
                name that is no word, or a mean or standard deviation that is not of D finite numbers or of one.
        """
        if self.law not in get_args(Law):
            raise ValueError(f"no law {self.law!r}")
        self.check_names_and_sizes()
        for name in ("mean", "std"):
            numbers = getattr(self, name)
            if len(numbers) not in ({1, self.size} if self.law == "gaussian" else {0}):
                raise ValueError(f"{name} has {len(numbers)} numbers")
            if not all(type(number) in (int, float) and abs(number) <= sys.float_info.max for number in numbers):
                raise ValueError(f"{name} holds something that is no finite number")
        if self.limits:
            whole = [type(number) is int for number in self.limits]
            if not (self.std and whole == [True, True] and -LARGEST <= self.limits[0] < self.limits[1] <= LARGEST):
                raise ValueError(f"limits are {reprlib.repr(self.limits)}")

    def check_names_and_sizes(self) -> None:
        """The part of `check` on whole numbers and on names."""
        for name, least in (("size", 1), ("sample_steps", 1), ("rows", 0), ("rate", 0), ("steps_per_beat", 0)):
            if type(getattr(self, name)) is not int or not least <= getattr(self, name) <= LARGEST:
                raise ValueError(f"{name} is {reprlib.repr(getattr(self, name))}")
        for name in ("sequence", "step"):
            if not (type(getattr(self, name)) is str and WORD.fullmatch(getattr(self, name))):
                raise ValueError(f"{name} is {reprlib.repr(getattr(self, name))}, which is no word")

    @property
    def lattice(self) -> dict[str, Any]:
        """What `LogisticMixture` is to know of the values that a number can have; {} without `limits`."""
        if not self.limits:
            return {}
        low, high = self.limits
        lowest, width = (low - np.array(self.mean)) / self.std, 1 / np.array(self.std)
        return {"lowest": lowest.tolist(), "width": width.tolist(), "levels": high - low + 1}

    @property
    def log_scale(self) -> float:
        """Nats a step by which a log-density in the original units is below one in units of `std`; 0 without them."""
        return float(np.log(np.broadcast_to(self.std, self.size if self.std else 0)).sum())

    def restored(self, values: np.ndarray) -> np.ndarray:
        """Real numbers (..., D) in the units of the data, as they were before `mean` and `std` were taken out."""
        return values * np.array(self.std) + np.array(self.mean)


@dataclass(frozen=True, kw_only=True, eq=False)
class Corpus:
    """A data set.

    Attributes:
        observation: what stands at a step.
        train: the training sequences.
        valid: the sequences on which to stop and choose.
        test: the sequences to report.
        settings: how it was prepared, with what was left open filled in.
        source: one line for the user: where the data comes from, and how much of it there is.
        origin: what the same data is found by again: a path, or a name.
        fingerprint: a hash of the data: other data or another split has another.
    """

    observation: Observation
    train: Split
    valid: Split
    test: Split
    settings: SplitSettings
    source: str
    origin: str = ""
    fingerprint: str = ""

    def marginal_score(self, indices: np.ndarray) -> float:
        """The figure that any model has to beat: that of independent steps, mean nats per test sequence.

        The law knows training's frequencies alone: each bit has its own, one added to its ones and to its zeros, and so
        has each pixel of a picture; real numbers are normal with the mean and variance by which they were normalised.

        Args:
            indices: the test sequences to score.
        """
        if self.observation.law == "gaussian":
            return self.mean_score(normal_score, indices)
        train, test = self.train.scored(np.arange(len(self.train.lengths))), self.test.scored(indices)
        if self.observation.rows:
            train, test = (scored.reshape(-1, self.observation.sample_steps) for scored in (train, test))
        return bits_score(train, test) / len(indices)

    def marginal_mass(self, indices: np.ndarray) -> float:
        """As `marginal_score`, of numbers on a lattice: by the normal law's mass around each, not by its density."""
        return self.mean_score(partial(mass_score, lattice=self.observation.lattice), indices)

    def mean_score(self, score: Callable[[np.ndarray], float], indices: np.ndarray) -> float:
        """The mean over test sequences of a score of their steps (n, D)."""
        return sum(score(self.test.scored(indices[[i]])) for i in range(len(indices))) / len(indices)


def bits_score(train: np.ndarray, test: np.ndarray) -> float:
    """Log p of bits (M, D) under the frequencies of others, in nats."""
    ones = (train.sum(0, dtype=np.float64) + 1) / (len(train) + 2)
    seen = test.sum(0, dtype=np.float64)
    return float(np.sum(seen * np.log(ones) + (len(test) - seen) * np.log1p(-ones)))


def normal_score(values: np.ndarray) -> float:
    """Log p of real numbers under the standard normal law, in nats."""
    return -0.5 * (float(np.sum(np.square(values, dtype=np.float64))) + values.size * math.log(2 * math.pi))


def mass_score(values: np.ndarray, lattice: Mapping[str, Any]) -> float:
    """Log P of points (M, D) of lattices under the standard normal law's mass around each, in nats.

    Args:
        values: the points.
        lattice: as `Observation.lattice` has it; the outermost points have all mass beyond them too.
    """
    points, width = torch.from_numpy(values).double(), torch.tensor(lattice["width"], dtype=torch.float64)
    lowest = torch.tensor(lattice["lowest"], dtype=torch.float64)
    place = ((points - lowest) / width).round()
    # By symmetry the mass at |x| is that at -|x|, where the logarithms of the law's tail are exact.
    outer = torch.where((place == 0) | (place == lattice["levels"] - 1), torch.inf, points.abs() + width / 2)
    near, far = log_ndtr(width / 2 - points.abs()), log_ndtr(-outer)
    return float((near + torch.log(-torch.expm1(far - near))).sum())
