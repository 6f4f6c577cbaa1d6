"""Sequences of bits or real numbers as a split of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zf_pyro.data.batch import SequenceBatch, shifted


@dataclass(frozen=True, eq=False)
class Sequences:
    """N sequences, each a part of one long array.

    Sequence i scores ``frames[starts[i] : stops[i]]``. Its u_1 is the frame before them where ``preceded[i]``, and zero
    elsewhere.

    Attributes:
        frames: (M, D), bits or real numbers, finite.
        starts: (N,) integers.
        stops: (N,) integers.
        preceded: (N,) booleans.
    """

    frames: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    preceded: np.ndarray

    @classmethod
    def of(cls, pieces: Sequence[np.ndarray], *, condition_on_first: bool = False, chunk_length: int = 0) -> Sequences:
        """Sequences from arrays (n, D).

        Args:
            pieces: at least one, all of the same width, each with a frame to score.
            condition_on_first: the first frame of each is u_1 and not scored.
            chunk_length: cut what is scored of each piece into rows of at most this many steps, each after the first
                preceded by the last frame of the one before; 0 leaves the pieces whole.
        """
        sizes = np.array([len(piece) for piece in pieces])
        begins = np.cumsum(sizes) - sizes + int(condition_on_first)
        piece, first, lengths = cut(sizes - int(condition_on_first), chunk_length)
        starts = begins[piece] + first
        return cls(np.concatenate(pieces), starts, starts + lengths, (first > 0) | condition_on_first)

    @property
    def lengths(self) -> np.ndarray:
        """(N,) integers: the scored steps of each sequence."""
        return self.stops - self.starts

    def __len__(self) -> int:
        """N."""
        return len(self.starts)

    def of_epoch(self, seed: int, epoch: int) -> Sequences:
        """Itself: these sequences are the same in every epoch."""
        return self

    def scored(self, indices: np.ndarray) -> np.ndarray:
        """The scored frames of the sequences at `indices`, one after the other, (M', D)."""
        parts = [self.frames[self.starts[i] : self.stops[i]] for i in indices.tolist()]
        return np.concatenate([*parts, self.frames[:0]])

    def batch(self, indices: np.ndarray) -> SequenceBatch:
        """The sequences at `indices`, in that order, as a batch, inputs and targets (T, B, D)."""
        # By the whole split: what is scored of a sequence must not depend on which others are in its batch.
        observed = bool(self.preceded.all())
        return shifted([self.row(i) for i in indices.tolist()], first_input_is_data=observed)

    def row(self, index: int) -> Tensor:
        """u_1, x_1, .., x_n of one sequence, (n + 1, D)."""
        start, stop = self.starts[index], self.stops[index]
        if self.preceded[index]:
            return as_reals(self.frames[start - 1 : stop])
        scored = as_reals(self.frames[start:stop])
        return torch.cat([torch.zeros_like(scored[:1]), scored])


def cut(lengths: np.ndarray, chunk_length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of at most `chunk_length` steps from pieces of given lengths, (P,); 0 leaves the pieces whole.

    Returns:
        Three arrays (N,) of integers: the piece of each row, its first step there, and its length, at least 1.
    """
    size = chunk_length or max(1, int(lengths.max(initial=0)))
    counts = -(-lengths // size)
    piece = np.repeat(np.arange(len(lengths)), counts)
    first = (np.arange(len(piece)) - np.repeat(np.cumsum(counts) - counts, counts)) * size
    return piece, first, np.minimum(size, lengths[piece] - first)


def as_reals(frames: np.ndarray) -> Tensor:
    """Frames in the default type of real numbers."""
    return torch.tensor(frames, dtype=torch.get_default_dtype())
