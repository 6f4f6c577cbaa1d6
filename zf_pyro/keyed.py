"""Random numbers that depend on what they are for, and not on what else is drawn, when, or where.

A counter-based generator (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011) makes them from a
seed, the key of a sequence and the number of a particle: any batch, order or process comes to the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b

import numpy as np
import torch
from numpy.random import Philox
from torch import Tensor
from torch.special import ndtri

NORMAL, UNIFORM = 0, 1
"""Streams of the same key: the draws of z_t, and those of resampling."""

MADE_TOGETHER = 1 << 22
"""Numbers of a row of steps that are made at a time, unless one step has more: it bounds the memory."""


def sequence_key(*parts: Tensor) -> int:
    """The key of a sequence: a hash of its content, in single precision where it is of real numbers."""
    digest = blake2b(digest_size=8)
    for part in parts:
        exact = part.float() + 0.0 if part.is_floating_point() else part.long()  # -0.0 is 0.0
        digest.update(repr(tuple(part.shape)).encode() + exact.cpu().contiguous().numpy().tobytes())
    return int.from_bytes(digest.digest(), "little")


def uniforms(seed: int, key: int, number: int, count: int, *, first: int = 0, stream: int = UNIFORM) -> np.ndarray:
    """Uniform numbers strictly between 0 and 1, (count,), float64: some of an endless row of them.

    Args:
        seed: of the evaluation, at least 0.
        key: of the sequence.
        number: of the particle.
        count: how many.
        first: the place in the row of the first of them.
        stream: another has another row.
    """
    # The raw words of a bit generator are promised to stay the same in later versions of NumPy; what its methods make
    # of them is not. Each value of the counter gives four.
    block, skipped = divmod(first, 4)
    words = Philox(key=words64(seed, key), counter=words64(block, 0, stream, number)).random_raw(skipped + count)
    return inside(words[skipped:])


def inside(words: np.ndarray) -> np.ndarray:
    """Numbers strictly between 0 and 1 from 64-bit words: 52 bits of each, since with 53 a half is rounded up to 1."""
    return ((words >> np.uint64(12)) + 0.5) * 2.0**-52


def keyed_uniforms(seed: int, keys: Sequence[int], num_steps: int) -> Tensor:
    """A uniform number for each step of B sequences, (T, B), float64, on the CPU."""
    return torch.from_numpy(np.stack([uniforms(seed, key, 0, num_steps) for key in keys], 1))


def words64(*numbers: int) -> np.ndarray:
    """Numbers as 64-bit words; of themselves NumPy would round large ones to real numbers."""
    return np.array(numbers, dtype=np.uint64)


class KeyedNormals:
    """Standard normal numbers of K particles of B sequences, for one step after the other.

    Args:
        seed: of the evaluation.
        keys: of the B sequences.
        particles: the numbers of the K particles.
        num_steps: T.
    """

    def __init__(self, seed: int, keys: Sequence[int], particles: Sequence[int], num_steps: int) -> None:
        self.seed, self.keys, self.particles, self.num_steps = seed, keys, particles, num_steps
        self.step = 0
        self.block: Iterator[Tensor] = iter(())

    def __call__(self, like: Tensor) -> Tensor:
        """The numbers of the next step, (K, B, Z), of the type and on the device of `like`.

        Raises:
            ValueError: that is not the shape of `like`, or there were T steps already.
        """
        if like.shape[:-1] != (len(self.particles), len(self.keys)):
            wanted = f"({len(self.particles)}, {len(self.keys)}, Z)"
            raise ValueError(f"a latent variable has the shape {tuple(like.shape)} at a step, not {wanted}")
        numbers = next(self.block, None)
        if numbers is None:
            steps = min(self.num_steps - self.step, max(1, MADE_TOGETHER // max(1, like.numel())))
            if not steps:
                raise ValueError(f"more than {self.num_steps} draws of z")
            self.block = iter(self.made(steps, like.shape[-1]).to(like.device, like.dtype))
            numbers = next(self.block)
        self.step += 1
        return numbers

    def made(self, steps: int, size: int) -> Tensor:
        """The numbers of the next steps, (steps, K, B, Z), float64."""
        drawn = np.empty((len(self.particles), len(self.keys), steps * size))
        for b, key in enumerate(self.keys):
            for k, particle in enumerate(self.particles):
                first = self.step * size
                drawn[k, b] = uniforms(self.seed, key, particle, steps * size, first=first, stream=NORMAL)
        return ndtri(torch.from_numpy(drawn)).unflatten(-1, (steps, size)).movedim(-2, 0).contiguous()
