"""All that a report is made from: what a run's folder holds, and its data where it is still there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from zf_pyro import runs
from zf_pyro.compare.tested import Finished, read_finished, read_json
from zf_pyro.config import Config
from zf_pyro.data.corpus import Corpus, Observation
from zf_pyro.data.npz import Npz
from zf_pyro.data.text import Vocabulary
from zf_pyro.errors import InputError, check
from zf_pyro.evaluation import tested_places
from zf_pyro.files import printable
from zf_pyro.latents import is_known
from zf_pyro.metrics import read_metrics
from zf_pyro.opening import corpus_at
from zf_pyro.report.usage import Divergences, measured, stored
from zf_pyro.scores import read_scores, scores_file

COUNTS = ("num_sequences", "num_steps", "num_particles")
"""Of a test."""


@dataclass(frozen=True, eq=False)
class Material:
    """A finished run.

    Attributes:
        finished: what its folder says of it.
        run: its programs.
        corpus: its data; None where it is not there.
        missing: why it is not, in a line; empty where it is.
    """

    finished: Finished
    run: runs.LoadedRun
    corpus: Corpus | None
    missing: str = ""

    @property
    def folder(self) -> Path:
        """The run's."""
        return self.finished.folder

    @property
    def config(self) -> Config:
        """Every setting."""
        return self.finished.config

    @property
    def observation(self) -> Observation:
        """What stands at a step."""
        return self.run.observation

    @property
    def vocabulary(self) -> Vocabulary | None:
        """Of text."""
        return self.run.vocabulary

    @property
    def name(self) -> str:
        """The folder's own name."""
        return printable(self.folder.absolute().name)

    @cached_property
    def evaluations(self) -> list[dict[str, Any]]:
        """Every test of the run, results.json and evaluation-K.json, by their numbers of particles.

        A damaged evaluation is left out, and so is one that repeats the results.
        """
        found = [self.finished.results]
        for path in sorted(self.folder.glob("evaluation-*.json")):
            try:
                table = read_json(path)
            except InputError:
                continue
            if is_whole(table) and table["test"] != found[0]["test"]:
                found.append(table)
        return sorted(found, key=particles)

    @property
    def main(self) -> dict[str, Any]:
        """Of the tests on the most sequences the one by the most particles."""
        return max(self.evaluations, key=lambda table: (table["test"]["num_sequences"], particles(table)))

    @property
    def tightest(self) -> dict[str, Any]:
        """The test by the most particles, perhaps of fewer sequences."""
        return self.evaluations[-1]

    def scores_of(self, table: dict[str, Any]) -> dict[str, np.ndarray]:
        """What is kept of the single sequences of a test; nothing where the file is not there or is of another test."""
        test = table["test"]
        try:
            path = self.folder / scores_file(test["num_particles"])
            return dict(Npz(path).items()) if read_scores(path).are_of(test) else {}
        except InputError:
            return {}

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl.

        Raises:
            InputError: it cannot be read, or holds something else.
        """
        return list(read_metrics(self.folder))

    @property
    def tested(self) -> np.ndarray:
        """The places of the run's test sequences in the test split of its data."""
        return tested_places(self.config, self.data)

    @property
    def data(self) -> Corpus:
        """The run's data.

        Raises:
            InputError: it is not there.
        """
        if self.corpus is None:
            raise InputError(self.missing)
        return self.corpus

    @cached_property
    def divergences(self) -> Divergences | None:
        """The KL by steps and units; None where model or guide is a program of one's own.

        Raises:
            InputError: neither latents.json nor the data is there.
        """
        found = stored(self.folder)
        if found is not None or not is_known(self.run.model, self.run.guide):
            return found
        return measured(self.run, self.data, self.tested)

    @property
    def has_latents(self) -> bool:
        """Whether there is a latent variable."""
        return self.config.model.family != "rnn"


def is_whole(table: Mapping[str, Any]) -> bool:
    """Whether a table of results holds what every version of the package has written; None is what is not finite."""
    test = table["test"]
    return (
        all(isinstance(table.get(name), str) for name in ("sequence", "step"))
        and all(type(test.get(name)) is int and test[name] > 0 for name in COUNTS)
        and {"elbo", "iw_bound", "kl"} <= test.keys()
        and all(value is None or isinstance(value, int | float) for name, value in test.items() if name != "curve")
        and isinstance(test.get("curve", {}), dict)
    )


def particles(table: dict[str, Any]) -> int:
    """K of a test."""
    return int(table["test"]["num_particles"])


def gather(
    folder: Path,
    say: Callable[[str], None],
    data: Path | None = None,
    corpus: Corpus | None = None,
    *,
    trust: bool = False,
) -> Material:
    """What a finished run is reported from.

    Args:
        folder: the run.
        say: is told what a user should know.
        data: where its data is now, if not where it was; it has to be there.
        corpus: the run's data, where it is open already.
        trust: import the code that its config.toml names.

    Raises:
        InputError: the folder is no finished run or is damaged, `data` is not its data, or the run names code that is
            not to be imported.
    """
    finished, run = read_finished(folder), runs.load(folder, trust=trust)
    check(is_whole(finished.results), f"{folder / runs.RESULTS} is damaged: it lacks figures of the test")
    if corpus is not None:
        return Material(finished, run, corpus)
    try:
        return Material(finished, run, corpus_at(run.config, folder, data, say))
    except InputError as error:
        if data is not None:
            raise
        say(f"Without the data of {folder}: {error}")
        return Material(
            finished,
            run,
            None,
            f"the data of the run is not at hand ({printable(str(error))}); --data says where it is",
        )
