"""``zf-pyro score``: bounds on the likelihood of every sequence of a file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from zf_pyro.bounds import SequenceBounds, sequence_bounds
from zf_pyro.data.corpus import Observation
from zf_pyro.data.given import Given
from zf_pyro.data.loader import by_length
from zf_pyro.evaluation import shown
from zf_pyro.figures import bits_name, measure
from zf_pyro.files import explained, write_text
from zf_pyro.inspection.reading import everything
from zf_pyro.runs import LoadedRun
from zf_pyro.tables import aligned

MOST_ROWS = 20
"""Sequences of a table in the terminal."""

HEADS = {
    "name": "sequence",
    "steps": "steps",
    "elbo": "ELBO",
    "kl": "KL",
    "iw_bound": "IW bound",
    "iw_bound_per_step": "per step",
    "iw_bound_original": "in data units",
    "perplexity": "perplexity",
    "bits_per_character": "bits per character",
    "bits_per_pixel": "bits per pixel",
    "bits_per_sample": "bits per sample",
    "bits_per_number": "bits per number",
}
"""The heads of the columns of the table, by their names in the file."""

Row = Mapping[str, str | int | float]


class Scored(NamedTuple):
    """Sequences with their bounds, in the order of their file."""

    names: list[str]
    bounds: SequenceBounds


def score_given(run: LoadedRun, given: Given) -> Scored:
    """The bounds of every sequence, by the run's seed, number of particles and form."""
    bounds = sequence_bounds(
        run.model,
        run.guide,
        shown("Scoring", given.split, everything(given), run.observation),
        run.config.evaluation.num_particles,
        seed=run.config.seed,
        form=run.config.training.form,
    )
    order = torch.from_numpy(np.argsort(by_length(given.split, everything(given))))
    numbers = (each[order] for each in (bounds.lengths, bounds.elbo, bounds.iw_bound, bounds.kl))
    return Scored(given.names, SequenceBounds(bounds.num_particles, *numbers))


def rows_of(scored: Scored, run: LoadedRun) -> Iterator[Row]:
    """A row for each sequence, in nats per sequence but where its name says otherwise."""
    bounds = scored.bounds
    numbers = (each.tolist() for each in (bounds.lengths, bounds.elbo, bounds.kl, bounds.iw_bound))
    for name, steps, elbo, kl, bound in zip(scored.names, *numbers, strict=True):
        yield {"name": name, **row(steps, elbo, kl, bound, run)}


def total_of(scored: Scored, run: LoadedRun) -> Row:
    """Means over the sequences; what is per step or number, over all steps of all of them."""
    over = scored.bounds.over_all()
    return {"name": "mean", **row(over.num_steps / over.num_sequences, over.elbo, over.kl, over.iw_bound, run)}


def row(steps: float, elbo: float, kl: float, bound: float, run: LoadedRun) -> dict[str, float]:
    """The figures of a sequence, those that its kind of data has."""
    found = {"steps": steps, "elbo": elbo, "kl": kl, "iw_bound": bound, "iw_bound_per_step": bound / steps}
    return found | of_kind(bound, steps, run.observation, discretised=run.config.model.is_discretised)


def of_kind(bound: float, steps: float, observation: Observation, *, discretised: bool) -> dict[str, float]:
    """A bound in the units of a kind of data."""
    nats = -bound / steps
    found: dict[str, float] = {}
    if observation.law == "categorical":
        found["perplexity"] = math.exp(nats) if nats < 700 else math.inf
    if (name := bits_name(observation, discretised=discretised)) is not None:
        found[name] = nats / (observation.size if discretised else 1) / math.log(2)
    if not discretised and observation.law == "gaussian":
        found["iw_bound_original"] = bound - steps * observation.log_scale
    return found


def told(scored: Scored, run: LoadedRun, path: Path) -> Iterator[str]:
    """The protocol in words, and the table; of many sequences the first ones."""
    observation, bounds = run.observation, scored.bounds
    what = measure(run.config, observation)
    units = f"of a {what} of numbers normalised by the run" if what == "density" else f"of a {what}"
    steps = int(bounds.lengths.sum())
    yield (
        f"{path}: {len(scored.names):,} {observation.sequence}s, {steps:,} {observation.step}s; the parameters of the "
        f"best validation, K = {bounds.num_particles}, gamma = 1, seed {run.config.seed}"
    )
    yield (
        f"ELBO: mean of K log-weights; IW bound: log of the mean of the K weights; in expectation both are below the "
        f"log {units}, in nats per {observation.sequence}"
    )
    rows = list(rows_of(scored, run))
    yield from aligned([*cells([*rows[:MOST_ROWS], total_of(scored, run)])])
    if len(rows) > MOST_ROWS:
        yield f"(the first {MOST_ROWS} of {len(rows):,}; the mean is over all)"


def cells(rows: Sequence[Row]) -> Iterator[list[str]]:
    """The rows of a table as texts, its head first."""
    yield [HEADS[name] for name in rows[0]]
    for each in rows:
        yield [f"{value:.3f}" if isinstance(value, float) else str(value) for value in each.values()]


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as CSV, all numbers in full.

    Raises:
        InputError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with explained(f"cannot write {path}"):
        write_text(path, text.getvalue())


def score_file(run: LoadedRun, given: Given, path: Path, output: Path, say: Callable[[str], None]) -> None:
    """Score the sequences of a file, tell what came out, and write it.

    Raises:
        InputError: the file cannot be written.
    """
    scored = score_given(run, given)
    for line in told(scored, run, path):
        say(line)
    write_csv(list(rows_of(scored, run)), output)
