"""The scores of single test sequences, which two runs are compared by: a file beside the figures of a test."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zf_pyro.data.npz import Npz
from zf_pyro.errors import InputError
from zf_pyro.files import explained, write_atomically


@dataclass(frozen=True, eq=False)
class Scores:
    """Bounds of each test sequence.

    Attributes:
        indices: (N,) integers, ascending: the places of the sequences in the test split.
        lengths: (N,) integers: their real steps.
        elbo: (N,) float64, nats per sequence.
        iw_bound: (N,) float64, nats per sequence.
        split_size: sequences in the whole test split.
        details: of each sequence, by name: of its weights (`zf_pyro.evaluation.weight_details`), and what a particle
            filter gives. Of these the filter's bound alone is read back, `filtered`.
    """

    indices: np.ndarray
    lengths: np.ndarray
    elbo: np.ndarray
    iw_bound: np.ndarray
    split_size: int
    details: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def filtered(self) -> np.ndarray | None:
        """(N,) float64, the particle-filter bound, nats per sequence; None where it was not asked for."""
        return self.details.get("fivo_bound")

    @property
    def bounds(self) -> dict[str, np.ndarray]:
        """Those that there are, by their names among the figures of a test."""
        filtered = {} if self.filtered is None else {"fivo_bound": self.filtered}
        return {"elbo": self.elbo, "iw_bound": self.iw_bound, **filtered}

    def check(self) -> None:
        """Refuse what no test wrote.

        Raises:
            ValueError: arrays of wrong types or unequal sizes, or indices that are not ascending places of the split.
        """
        bounds = self.bounds
        for name, array in {"indices": self.indices, "lengths": self.lengths, **bounds}.items():
            kind = np.float64 if name in bounds else np.int64
            if array.dtype != kind or array.shape != (len(self.indices),) or not array.size:
                raise ValueError(f"{name} is of type {array.dtype} and shape {array.shape}")
        if self.indices[0] < 0 or self.indices[-1] >= self.split_size or (np.diff(self.indices) <= 0).any():
            raise ValueError(f"indices are not ascending places among {self.split_size} sequences")

    def are_of(self, test: dict[str, Any]) -> bool:
        """Whether these are the sequences that the figures of a test are the means of.

        A filter's bound may be there of one of the two alone: a later test adds it to the scores.
        """
        return test.get("num_sequences") == len(self.indices) and all(
            same_number(test.get(name), float(values.mean()))
            for name, values in self.bounds.items()
            if name in test or name != "fivo_bound"
        )


def same_number(written: Any, mean: float) -> bool:
    """Whether a figure is a mean, computed in another order; one that is not finite is written as None."""
    if written is None:
        return not math.isfinite(mean)
    return isinstance(written, int | float) and math.isclose(written, mean, rel_tol=1e-9, abs_tol=1e-9)


def scores_file(num_particles: int) -> str:
    """The name of the file with the scores by K particles."""
    return f"evaluation-{num_particles}.npz"


def write_scores(path: Path, scores: Scores) -> None:
    """Write scores as an .npz of arrays named as the attributes.

    Raises:
        InputError: the file cannot be written.
    """
    arrays = {**vars(scores), "split_size": np.int64(scores.split_size), **scores.details}
    del arrays["details"]
    with explained(f"cannot write {path}"):
        write_atomically(path, lambda file: np.savez(file, **arrays))


def curve_errors(path: Path) -> tuple[dict[int, float], dict[int, float]]:
    """Standard errors, over sequences, of the bounds by K' particles that a file of scores holds.

    Returns:
        For each K' that of the bound, and that of its gain over the bound by the fewest particles, in nats per
        sequence; nothing where there is one sequence.

    Raises:
        InputError: the file cannot be read, or is damaged.
    """
    with readable_scores(path):
        file = Npz(path)
        counts, values = file["curve_particles"], file["curve"]
        if values.ndim != 2 or counts.shape != values.shape[1:] or not len(counts):
            raise ValueError(f"curve is of shape {values.shape}, and curve_particles of {counts.shape}")
        if len(values) < 2:
            return {}, {}
        spread, gains = (each.std(0, ddof=1) / math.sqrt(len(values)) for each in (values, values - values[:, :1]))
        names = counts.astype(int).tolist()
        return dict(zip(names, spread.tolist(), strict=True)), dict(zip(names, gains.tolist(), strict=True))


def read_scores(path: Path) -> Scores:
    """What `write_scores` wrote.

    Raises:
        InputError: the file cannot be read, or is damaged.
    """
    with readable_scores(path):
        file = Npz(path)
        arrays: dict[str, Any] = {name: file[name] for name in ("indices", "lengths", "elbo", "iw_bound")}
        details = {"fivo_bound": file["fivo_bound"]} if "fivo_bound" in file else {}
        scores = Scores(**arrays, split_size=int(file["split_size"]), details=details)
        scores.check()
        return scores


@contextmanager
def readable_scores(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside is the fault of a file of scores, said in one line."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
