"""Sequences in tiles of fixed shapes, so that what comes of one does not depend on those beside it.

Sums of floating-point numbers depend on their order, and the order in a product of matrices on their shapes. In a tile
every operation on a sequence has a shape that its own length and the number of particles decide. On a CPU its outcome
is then the same to the last bit, wherever in a tile it stands and whatever stands beside it. (By measurement, with MKL:
only linear maps to fewer than 12 units, from a number of units that is no multiple of four, round by the row.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from zf_pyro.data.batch import MAX_STEPS, SequenceBatch
from zf_pyro.keyed import KeyedNormals, sequence_key

SEQUENCES = 32
"""Sequences of a tile."""

PARTICLES = 8
"""Particles of each that are run together at most."""


class Tile(NamedTuple):
    """`SEQUENCES` sequences, or fewer where so many are too much at once, padded to the same length.

    Attributes:
        batch: the sequences; where there are too few, the first stands for those that are missing.
        keys: of all of them.
        places: in what was cut into tiles, of those that are not missing, which come first.
    """

    batch: SequenceBatch
    keys: list[int]
    places: list[int]


class Single(NamedTuple):
    """One sequence: its place, inputs and targets (n, ...), and whether u_1 is data."""

    place: int
    inputs: Tensor
    targets: Tensor
    first_input_is_data: bool

    @property
    def key(self) -> int:
        """By which its noise is drawn."""
        return sequence_key(self.inputs[:1], self.targets) if self.first_input_is_data else sequence_key(self.targets)


def padded_length(length: int) -> int:
    """T of the tile that a sequence of this length is in: the next of 1, 2, .. 8, 10, 12, 14, 16, 20, 24, 28, 32, .."""
    unit = 1 << max(0, (length - 1).bit_length() - 3)
    return max(1, -(-length // unit) * unit)


def tile_size(num_steps: int, most: int | None = None) -> int:
    """Sequences of a tile of T steps, `SEQUENCES` or `most` of them where they are short."""
    return max(1, min(SEQUENCES if most is None else most, MAX_STEPS // num_steps))


def particle_chunks(num_particles: int, num_steps: int) -> tuple[int, int]:
    """How many particles of a tile of T steps are run together, and how often."""
    most = max(1, min(PARTICLES, MAX_STEPS // (num_steps * tile_size(num_steps))))
    count = -(-num_particles // most)
    return -(-num_particles // count), count


def keyed_chunks(tile: Tile, num_particles: int, seed: int) -> Iterator[tuple[range, KeyedNormals]]:
    """The particles of a tile in chunks, with the noise of each; the last chunk may go beyond K, to be as large."""
    steps = tile.batch.num_steps
    size, count = particle_chunks(num_particles, steps)
    for first in range(0, size * count, size):
        particles = range(first, first + size)
        yield particles, KeyedNormals(seed, tile.keys, particles, steps)


def tiles(batches: Iterable[SequenceBatch], most: int | None = None) -> Iterator[Tile]:
    """The sequences of some batches with targets, in tiles; places count on from batch to batch.

    At most a tile of each length is held back until it is full.

    Args:
        batches: the sequences.
        most: of them in a tile; None for `SEQUENCES`.
    """
    waiting: dict[tuple[int, bool], list[Single]] = {}
    for single in singles(batches):
        steps = padded_length(len(single.targets))
        group = waiting.setdefault((steps, single.first_input_is_data), [])
        group.append(single)
        if len(group) == tile_size(steps, most):
            yield tile(group, steps, most)
            group.clear()
    for (steps, _), group in waiting.items():
        if group:
            yield tile(group, steps, most)


def singles(batches: Iterable[SequenceBatch]) -> Iterator[Single]:
    """The sequences of some batches without their padding.

    Raises:
        ValueError: a batch has no targets.
    """
    place = 0
    for batch in batches:
        if batch.targets is None:
            raise ValueError("a bound is of targets, and this batch has none")
        for b, length in enumerate(batch.lengths.tolist()):
            yield Single(place, batch.inputs[:length, b], batch.targets[:length, b], batch.first_input_is_data)
            place += 1


def tile(group: Sequence[Single], num_steps: int, most: int | None) -> Tile:
    """Some sequences as a tile of T steps."""
    missing = tile_size(num_steps, most) - len(group)
    whole = [*group, *(group[0] for _ in range(missing))]
    keys = [each.key for each in group]
    lengths = torch.tensor([len(each.targets) for each in whole], device=group[0].targets.device)
    steps = torch.arange(num_steps, device=lengths.device)
    batch = SequenceBatch(
        padded([each.inputs for each in whole], num_steps),
        padded([each.targets for each in whole], num_steps),
        steps.unsqueeze(1) < lengths,
        group[0].first_input_is_data,
    )
    return Tile(batch, keys + keys[:1] * missing, [each.place for each in group])


def padded(parts: Sequence[Tensor], num_steps: int) -> Tensor:
    """Parts (n, ...) of B sequences as one tensor (T, B, ...), zero where they have ended."""
    whole = parts[0].new_zeros(num_steps, len(parts), *parts[0].shape[1:])
    for b, part in enumerate(parts):
        whole[: len(part), b] = part
    return whole
