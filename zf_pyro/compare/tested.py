"""Finished runs, tested alike: the same sequences of the same data, by the same number of particles.

What a run's folder holds of such a test is taken; else the run is tested again, as `zf-pyro evaluate` would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zf_pyro import runs
from zf_pyro.config import Config
from zf_pyro.data.loader import subset
from zf_pyro.errors import InputError, check
from zf_pyro.experiment import evaluate_run, evaluation_file
from zf_pyro.files import from_json
from zf_pyro.presets import read_config
from zf_pyro.scores import Scores, read_scores, scores_file
from zf_pyro.timing import read_timing


@dataclass(frozen=True, eq=False)
class Finished:
    """A finished run.

    Attributes:
        folder: the run's.
        config: every setting.
        fingerprint: the hash of its data.
        results: its results.json.
        timing: its timing.json, empty where it has none.
    """

    folder: Path
    config: Config
    fingerprint: str
    results: dict[str, Any]
    timing: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Outcome:
    """A run and one test of it.

    Attributes:
        run: the run.
        table: what results.json or evaluation-K.json says of that test.
        scores: of its single sequences.
    """

    run: Finished
    table: dict[str, Any]
    scores: Scores

    @property
    def test(self) -> dict[str, Any]:
        """The figures of the test."""
        return self.table["test"]

    @property
    def seed(self) -> int:
        """The run's."""
        return self.run.config.seed


COUNTS = ("num_parameters", "num_sequences", "num_steps", "num_particles")
FIGURES = ("elbo", "iw_bound", "kl", "active_units")
"""Of a table of results: whole numbers, and numbers that are None where they are not finite or not known."""


def read_finished(folder: Path) -> Finished:
    """A finished run.

    Raises:
        InputError: the folder is no run, an unfinished one, or one of its files is damaged.
    """
    runs.read_settings(folder)
    unfinished = f"{folder} is unfinished; go on with: python run.py --resume {folder}"
    check((folder / runs.RESULTS).is_file(), unfinished)
    results = read_json(folder / runs.RESULTS)
    config, timing = read_config(folder / runs.CONFIG), read_timing(folder)
    return Finished(folder, config, runs.read_fingerprint(folder), results, timing)


def read_json(path: Path) -> dict[str, Any]:
    """A table of results.

    Raises:
        InputError: it cannot be read, or is none.
    """
    try:
        table = from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    check(isinstance(table, dict) and isinstance(table.get("test"), dict), f"{path} is damaged: it holds no test")
    for name, value in {**table, **table["test"]}.items():
        whole = name not in COUNTS or type(value) is int
        number = name not in FIGURES or value is None or isinstance(value, int | float)
        check(whole and number, f"{path} is damaged: {name} is no number")
    return table


def all_tested(
    found: Sequence[Finished],
    num_particles: int | None,
    eval_sequences: int | None,
    device: str,
    say: Callable[[str], None],
    *,
    trust: bool = False,
) -> list[Outcome]:
    """Every run under one protocol: that of the first, unless another is asked for.

    Args:
        found: the runs, at least one.
        num_particles: K; None takes the first run's.
        eval_sequences: how many test sequences, 0 for all; None takes as many as the first run.
        device: to test on, where a run has to be tested again.
        say: is told of each that is.
        trust: import the code that the config.toml of such a run names.

    Raises:
        InputError: the runs do not compare: other data, other test sequences, or a density beside a probability; or
            one that has to be tested again names code that is not to be imported.
    """
    first = found[0]
    for run in found:
        check(
            run.fingerprint == first.fingerprint and run.config.dataset == first.config.dataset,
            f"{run.folder} was trained on other data than {first.folder}, so that the two do not compare",
        )
    settings = first.config.evaluation
    k = settings.num_particles if num_particles is None else num_particles
    wanted = settings.eval_sequences if eval_sequences is None else eval_sequences

    def chosen(scores: Scores) -> np.ndarray:
        return subset(scores.split_size, wanted, first.config.data.split_seed)

    tested = [as_asked(run, k, wanted, chosen, device, say, trust=trust) for run in found]
    for each in tested:
        require_alike(each, tested[0])
    return tested


def require_alike(one: Outcome, first: Outcome) -> None:
    """Refuse a test that does not compare with the first."""
    folder, other = one.run.folder, first.run.folder
    same = np.array_equal(one.scores.indices, first.scores.indices)
    reason = "their split_seed differs, which draws the subset; take --eval-sequences all"
    check(same, f"{folder} was tested on other sequences than {other}: {reason}")
    kind, wanted = one.table["measure"], first.table["measure"]
    check(
        kind == wanted, f"{folder}: its bounds are of a {kind}, and those of {other} of a {wanted}; they do not compare"
    )


def as_asked(
    run: Finished,
    num_particles: int,
    eval_sequences: int,
    chosen: Callable[[Scores], np.ndarray],
    device: str,
    say: Callable[[str], None],
    *,
    trust: bool,
) -> Outcome:
    """A run under a protocol, tested again where its folder holds no such test."""
    stored = stored_test(run, num_particles, chosen)
    if stored is not None:
        return stored
    say(f"Testing {run.folder} by {num_particles} particles")
    particle_filter = was_filtered(run, num_particles) or None
    evaluate_run(
        run.folder, num_particles, eval_sequences, device, particle_filter=particle_filter, say=say, trust=trust
    )
    scores = read_scores(run.folder / scores_file(num_particles))
    return Outcome(run, read_json(run.folder / evaluation_file(num_particles)), scores)


def was_filtered(run: Finished, num_particles: int) -> bool:
    """Whether the scores that another test will replace have a particle filter's bound."""
    try:
        return read_scores(run.folder / scores_file(num_particles)).filtered is not None
    except InputError:
        return False


def stored_test(run: Finished, num_particles: int, chosen: Callable[[Scores], np.ndarray]) -> Outcome | None:
    """The test of that protocol that a run's folder holds; None where it holds none, or only half of one."""
    try:
        scores = read_scores(run.folder / scores_file(num_particles))
        evaluation = run.folder / evaluation_file(num_particles)
        tables = [run.results, *([read_json(evaluation)] if evaluation.is_file() else [])]
    except InputError:
        return None
    if not np.array_equal(scores.indices, chosen(scores)):
        return None
    for table in tables:
        test = table["test"]
        complete = "measure" in table and "active_units" in test
        if complete and test.get("num_particles") == num_particles and scores.are_of(test):
            return Outcome(run, table, scores)
    return None
