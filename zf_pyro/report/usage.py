"""KL of posterior from prior by steps and by units: as `zf-pyro latents` found it, else of some test sequences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zf_pyro import runs
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.data.corpus import Corpus
from zf_pyro.data.loader import ordered_batches
from zf_pyro.evaluation import READ_TOGETHER
from zf_pyro.files import from_json
from zf_pyro.inspection.usage import divergences
from zf_pyro.metrics import LARGEST

MOST_STEPS = 20_000
"""Steps of test sequences of which the KL is taken for a page: a second or two."""


class Divergences(NamedTuple):
    """What is known of the KL.

    Attributes:
        by_step: KL_t, nats, t = 1 .. T; None what is not finite.
        counts: the sequences that have the step.
        by_unit: of each unit, nats per step; None where it has no closed form.
        num_sequences: of which these are means.
    """

    by_step: list[float | None]
    counts: list[int]
    by_unit: list[float | None] | None
    num_sequences: int


def stored(folder: Path) -> Divergences | None:
    """What latents.json holds; None where `zf-pyro latents` was not asked, did not know, or the file is damaged."""
    try:
        found = from_json((folder / runs.LATENTS).read_bytes())["latents"]
        names = ("kl_by_step", "sequences_by_step", "kl_by_unit", "num_sequences")
        known = Divergences(*(found[name] for name in names))
        shapes = [np.array(each, dtype=float).ndim for each in known[:3] if each is not None]
        whole = set(shapes) == {1} and len(known.by_step) == len(known.counts) > 0 and isinstance(found[names[3]], int)
        whole &= all(type(count) is int for count in known.counts)
        whole &= all(value is None or abs(value) < LARGEST for value in [*known.by_step, *(known.by_unit or [])])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return known if whole else None


def measured(run: runs.LoadedRun, corpus: Corpus, tested: np.ndarray) -> Divergences:
    """The KL of the first of the test sequences that have `MOST_STEPS` steps together, at least one.

    Args:
        run: whose model and guide are known programs (`zf_pyro.latents.is_known`).
        corpus: its data.
        tested: the places of the run's test sequences.
    """
    together = np.cumsum(corpus.test.lengths[tested])
    chosen = tested[: max(1, int((together <= MOST_STEPS).sum()))]

    def batches(_: str) -> Sequence[SequenceBatch]:
        return list(ordered_batches(corpus.test, chosen, READ_TOGETHER))

    units, steps = divergences(run.model, run.guide, batches, run.config.seed)
    assert steps is not None
    by_unit = None if units is None else units.by_unit.tolist()
    return Divergences(steps.by_step.tolist(), steps.counts.tolist(), by_unit, len(chosen))
