"""The bounds on the validation split while a training goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np

from zf_pyro.bounds import Bound, sequence_bounds
from zf_pyro.config import TrainingConfig
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.data.loader import Split, by_length, ordered_batches
from zf_pyro.guides import Guide
from zf_pyro.model import StochasticRNN
from zf_pyro.processes import any_of, share


class Stopped(Exception):
    """A validation was left undone."""


def validation_bound(
    model: StochasticRNN,
    guide: Guide,
    split: Split,
    chosen: np.ndarray,
    options: TrainingConfig,
    *,
    seed: int,
    stopping: Callable[[], bool],
) -> Bound:
    """The bounds on some sequences of a split, which several processes share out.

    Args:
        model: the generative program.
        guide: the inference program.
        split: the sequences.
        chosen: places of those that are scored.
        options: batch size, particles and form.
        seed: of the noise.
        stopping: asked between the batches.

    Raises:
        Stopped: `stopping` returned True in one of the processes.
    """
    own = share(by_length(split, chosen))
    batches = until(stopping, ordered_batches(split, own, options.batch_size))
    found = None
    with suppress(Stopped):
        particles = options.validation_particles
        found = sequence_bounds(model, guide, batches, particles, seed=seed, form=options.form)
    if any_of(found is None):
        raise Stopped
    assert found is not None
    return found.of_all(len(chosen)).over_all()


def until(stopping: Callable[[], bool], batches: Iterator[SequenceBatch]) -> Iterator[SequenceBatch]:
    """The batches, until `stopping` returns True.

    Raises:
        Stopped: it has.
    """
    for batch in batches:
        if stopping():
            raise Stopped
        yield batch
