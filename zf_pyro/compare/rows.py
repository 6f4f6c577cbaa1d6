"""The rows of a comparison: runs that differ in their seed alone, and what their tests say together.

    s_i       = mean over the row's seeds of the importance-weighted bound of test sequence i
    bound     = mean_i s_i,                its standard error sd(s) / sqrt(N)
    spread    = sd over seeds of their mean_i
    difference = mean_i (s_i - r_i),       r the first row's; its paired standard error sd(s - r) / sqrt(N)

All sd divide by the count less one. The standard errors are over the test sequences, for the seeds at hand; what other
seeds would do is the spread's to tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean, median, stdev

import numpy as np

from zf_pyro.compare.tested import Outcome
from zf_pyro.config import Config, EvaluationConfig
from zf_pyro.errors import InputError
from zf_pyro.fields import by_name, differences, spelled

MOST_FIELDS = 3
"""Fields that a row's name may be made of."""


@dataclass(frozen=True, eq=False)
class Row:
    """Runs of one configuration; with none, a configuration whose runs have all failed.

    Attributes:
        name: of the configuration.
        runs: the finished runs, one a seed.
        failed: the seeds whose run has failed.
    """

    name: str
    runs: Sequence[Outcome]
    failed: Sequence[int] = field(default=())

    @cached_property
    def bounds(self) -> np.ndarray:
        """(N,) the importance-weighted bound of each test sequence, mean over seeds, nats."""
        return np.mean([run.scores.iw_bound for run in self.runs], 0)

    @cached_property
    def bounds_of_seeds(self) -> list[float]:
        """The bound of each seed, nats per sequence."""
        return [float(run.scores.iw_bound.mean()) for run in self.runs]

    @property
    def bound(self) -> float:
        """The bound, nats per sequence."""
        return float(self.bounds.mean())

    @property
    def per_step(self) -> float:
        """The bound over all real steps, nats per step."""
        return self.over_steps(self.bound)

    def over_steps(self, value: float) -> float:
        """A mean over the test sequences as one over their real steps."""
        lengths = self.runs[0].scores.lengths
        return value * len(lengths) / float(lengths.sum())

    @property
    def spread(self) -> float | None:
        """Standard deviation of the bound over seeds; None of a single one."""
        return stdev(self.bounds_of_seeds) if len(self.runs) > 1 else None

    @cached_property
    def filtered(self) -> np.ndarray | None:
        """(N,) the particle-filter bound of each test sequence, mean over seeds, nats; None where a run lacks it."""
        found = [run.scores.filtered for run in self.runs if run.scores.filtered is not None]
        return np.mean(found, 0) if len(found) == len(self.runs) else None

    @property
    def elbo(self) -> float:
        """The evidence lower bound, nats per sequence."""
        return float(np.mean([run.scores.elbo.mean() for run in self.runs]))

    def mean_of(self, name: str) -> float | None:
        """A figure of the test, mean over seeds; None where one of them lacks it."""
        found = [run.test[name] for run in self.runs if run.test.get(name) is not None]
        return fmean(found) if len(found) == len(self.runs) else None

    @property
    def parameters(self) -> int | None:
        """Parameters of model and guide together."""
        return self.runs[0].run.results.get("num_parameters")

    @property
    def seconds(self) -> float | None:
        """Seconds an update: the median over the runs of theirs; None where one of them lacks it."""
        timings = [run.run.timing for run in self.runs]
        found = [each["seconds_per_step"] for each in timings if each.get("seconds_per_step") is not None]
        return median(found) if len(found) == len(self.runs) else None

    @property
    def perplexity(self) -> float | None:
        """Exp(-nats per step) of text; None of other data."""
        if "perplexity" not in self.runs[0].test:
            return None
        return math.exp(-self.per_step) if self.per_step > -700 else math.inf


def standard_error(values: np.ndarray) -> float | None:
    """Standard error of the mean of (N,) values; None of a single one."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None


def paired(row: Row, other: Row) -> tuple[float, float | None]:
    """The difference of two rows' bounds on the same test sequences, and its standard error, nats per sequence."""
    gaps = row.bounds - other.bounds
    return float(gaps.mean()), standard_error(gaps)


def training_of(config: Config) -> Config:
    """What decides the training but for its random draws: runs that share it are one row."""
    training = replace(config.training, num_workers=0)
    return replace(config, seed=0, device="", source="", training=training, evaluation=EvaluationConfig())


def grouped(tested: Iterable[Outcome]) -> list[Row]:
    """Runs as rows, in the order of their first run.

    Raises:
        InputError: two runs are the same.
    """
    groups: list[list[Outcome]] = []
    for run in tested:
        key = training_of(run.run.config)
        group = next((each for each in groups if training_of(each[0].run.config) == key), None)
        if group is None:
            groups.append([run])
            continue
        twin = next((each for each in group if each.seed == run.seed), None)
        if twin is not None:
            raise InputError(f"{twin.run.folder} and {run.run.folder} are the same run, seed {run.seed}; name one")
        group.append(run)
    return [Row(name, group) for name, group in zip(names(groups), groups, strict=True)]


def names(groups: Sequence[Sequence[Outcome]]) -> list[str]:
    """A name for each group: the fields in which they differ, or where these are many the first run's folder."""
    first, *others = (training_of(group[0].run.config) for group in groups)
    fields = list(dict.fromkeys(name for other in others for name in differences(first, other)))
    folders = [group[0].run.folder for group in groups]
    if not 0 < len(fields) <= MOST_FIELDS:
        short = [folder.absolute().name for folder in folders]
        return short if len(set(short)) == len(short) else [str(folder) for folder in folders]
    tables = [by_name(group[0].run.config) for group in groups]
    return [", ".join(f"{name}={spelled(table.get(name, '-')) or 'own'}" for name in fields) for table in tables]
