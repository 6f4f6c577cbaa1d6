"""The order in which sequences are seen."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from zf_pyro.data.batch import MAX_STEPS, SequenceBatch
from zf_pyro.errors import InputError

POOL = 64
"""Batches that are sorted by length together: more pads less, fewer mixes better."""


class Split(Protocol):
    """Sequences that training or evaluation goes through: what a data set offers for each of its splits."""

    @property
    def lengths(self) -> np.ndarray:
        """(N,) integers: the steps of each sequence."""

    def batch(self, indices: np.ndarray) -> SequenceBatch:
        """The sequences at `indices`, in that order."""

    def scored(self, indices: np.ndarray) -> np.ndarray:
        """What is scored of the sequences at `indices`, one after the other, (M,) integers or (M, D)."""

    def of_epoch(self, seed: int, epoch: int) -> Split:
        """The split as it is in an epoch of training: itself, unless it is drawn anew."""


def epoch_batches(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Indices of the batches of one epoch: shuffled, of similar lengths within a batch, fixed by seed and epoch.

    The order is drawn, what exceeds whole batches is left out, and the rest is cut into pools of 64 batches. Each pool
    is sorted by length (ties in drawn order) and cut into batches, and the batches are shuffled. Where there is not one
    whole batch, all sequences are one.

    Args:
        lengths: (N,) steps of each sequence.
        batch_size: sequences a batch.
        seed: of the run.
        epoch: counted from 0.
    """
    random = np.random.default_rng((seed, epoch))
    order = random.permutation(len(lengths))
    whole = len(order) // batch_size
    if not whole:
        return [order]
    order, pool = order[: whole * batch_size], POOL * batch_size
    pools = (order[start : start + pool] for start in range(0, len(order), pool))
    ordered = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in pools])
    batches = np.split(ordered, whole)
    return [batches[i] for i in random.permutation(whole)]


def subset(size: int, wanted: int, seed: int) -> np.ndarray:
    """A seeded choice of `wanted` out of `size` sequences, ascending; all where `wanted` is 0 or not below `size`."""
    if not 0 < wanted < size:
        return np.arange(size)
    return np.sort(np.random.default_rng(seed).permutation(size)[:wanted])


def fetched(split: Split, batches: Sequence[np.ndarray], num_workers: int) -> Iterator[SequenceBatch]:
    """The batches of a split at given indices, in their order.

    Args:
        split: to read from. Where processes are started afresh instead of being forked, it is sent to each.
        batches: the indices of each batch.
        num_workers: processes that read ahead; with 0 each batch is read when it is asked for.
    """
    if not num_workers:
        yield from map(split.batch, batches)
        return
    loader = DataLoader(
        _Batches(split, batches),
        batch_size=None,
        num_workers=num_workers,
        worker_init_fn=_ignore_interrupts,
        generator=torch.Generator(),  # of its own: the loader draws from it, and the noise of training must not change
    )
    ahead = iter(loader)
    try:
        for _ in batches:
            batch = next(ahead)
            if isinstance(batch, InputError):
                raise batch
            yield batch
    finally:
        del ahead  # which ends the workers; a traceback would keep it


class _Batches(Dataset[SequenceBatch | InputError]):
    """Batches as a data set of PyTorch's; one that cannot be read is an error that is returned, without a traceback."""

    def __init__(self, split: Split, batches: Sequence[np.ndarray]) -> None:
        self.split, self.batches = split, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> SequenceBatch | InputError:
        try:
            return self.split.batch(self.batches[number])
        except InputError as error:
            return error


def _ignore_interrupts(number: int) -> None:
    """Ctrl-C is the training's to obey: it goes to the whole group of processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # by which the loader ends a worker


def by_length(split: Split, indices: np.ndarray) -> np.ndarray:
    """The given sequences in the order in which `ordered_batches` hands them out."""
    return indices[np.argsort(split.lengths[indices], kind="stable")]


def ordered_batches(split: Split, indices: np.ndarray, batch_size: int) -> Iterator[SequenceBatch]:
    """The given sequences by length, in batches: every sequence once, little padding.

    A batch has `batch_size` sequences, or fewer where they are long (`MAX_STEPS`) or the last.
    """
    lengths, ordered = split.lengths, by_length(split, indices)
    start = 0
    while start < len(ordered):
        stop = start + 1
        while stop < min(start + batch_size, len(ordered)) and (stop + 1 - start) * lengths[ordered[stop]] <= MAX_STEPS:
            stop += 1
        yield split.batch(ordered[start:stop])
        start = stop
