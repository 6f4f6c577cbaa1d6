"""Random numbers of an update: each sequence draws from a stream of its own.

The stream of a sequence is that of (seed, update, its place in the training split), and hands out numbers of the
sequence's own length. So a sequence gets the same z_t, dropout and resampling whatever stands beside it in a batch,
however many processes a batch is divided among, and in both forms of the programs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextvars import ContextVar, Token
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import dropout

from zf_pyro.noise import Beforehand, Standard, given_noise
from zf_pyro.processes import rank, world_size

STEP = re.compile(r"z_\d+")
"""The sites of a path in the step form."""

_current: ContextVar[Streams | None] = ContextVar("streams", default=None)


def stream_seed(*parts: int | str) -> int:
    """A seed, below 2^63, that is of all the parts together."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "little") >> 1


def generator(device: torch.device, seed: int) -> torch.Generator:
    """A generator of its own for one stream."""
    return torch.Generator(device).manual_seed(seed)


def process_seed(seed: int) -> int:
    """The seed of what a process draws otherwise than from streams: the seed itself where it is alone."""
    return seed if world_size() == 1 else stream_seed(seed, "process", rank())


class Streams(given_noise):
    """Inside, latent paths, dropout and resampling are drawn from one stream a sequence.

    These are the sites z_1 .. z_T of the step form and the paths of the path form. Other sites, draws that are not made
    from normal numbers, and rows that are not the B sequences (all of these may be of parts of a user's own) come from
    PyTorch's own generator as ever. It stands outside of all plates. On a CPU two streams are the same by a chance of
    2^-32, since its generator takes 32 bits of a seed.

    Args:
        seeds: of the streams of B sequences.
        lengths: their real steps.
        steps: T, of the longest, padding included.
        device: where the numbers are drawn.
    """

    def __init__(self, seeds: Sequence[int], lengths: Sequence[int], steps: int, device: torch.device) -> None:
        super().__init__(self.next_normals)
        self.lengths, self.steps = lengths, steps
        self.generators = [generator(device, seed) for seed in seeds]
        self.block: Iterator[Tensor] = iter(())
        self.tokens: list[Token] = []

    def __enter__(self) -> Streams:
        self.tokens.append(_current.set(self))
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        _current.reset(self.tokens.pop())
        super().__exit__(*error)

    def _pyro_sample(self, msg: Any) -> None:
        if STEP.fullmatch(msg["name"]):
            super()._pyro_sample(msg)

    def serves(self, count: int) -> bool:
        """Whether so many rows are the B sequences."""
        return count == len(self.generators)

    def next_normals(self, like: Tensor) -> Tensor:
        """Standard normal numbers of the next step, (..., B, Z); after the last comes the first of another path."""
        if like.dim() < 2 or not self.serves(like.shape[-2]):
            return torch.randn_like(like)
        numbers = next(self.block, None)
        if numbers is None:
            self.block = iter(self.normals(like).unbind())
            numbers = next(self.block)
        return numbers

    def normals(self, like: Tensor) -> Tensor:
        """Standard normal numbers of all steps, (T, ..., B, Z), of which `like` has those of one; zero at padding."""
        numbers = like.new_zeros(self.steps, *like.shape)
        one = *like.shape[:-2], like.shape[-1]
        for b, (length, generator) in enumerate(zip(self.lengths, self.generators, strict=True)):
            drawn = torch.randn(length, *one, generator=generator, dtype=like.dtype, device=like.device)
            numbers[:length, ..., b, :] = drawn
        return numbers

    def uniforms(self, like: Tensor) -> Tensor:
        """Uniform numbers in [0, 1), (B, T, ...) as `like`, zero at padding."""
        numbers = torch.zeros_like(like)
        for own, length, generator in zip(numbers, self.lengths, self.generators, strict=True):
            drawn = torch.rand(length, *like.shape[2:], generator=generator, dtype=like.dtype, device=like.device)
            own[:length] = drawn
        return numbers


def path_normals(steps: int) -> Standard:
    """Where the normal numbers of a path of so many steps come from: the streams, where there are, else all at once."""
    streams = _current.get()
    return Beforehand(steps) if streams is None else streams.next_normals


def resampling_uniforms(mask: Tensor) -> Tensor | None:
    """The numbers in [0, 1) that a filter resamples by, (T, B), float64; None without streams.

    Args:
        mask: (T, B), True at real steps.
    """
    streams = _current.get()
    if streams is None or not streams.serves(mask.shape[1]):
        return None
    return streams.uniforms(torch.empty_like(mask.T, dtype=torch.float64)).T


def dropout_factors(like: Tensor, rate: float) -> Tensor:
    """0 with probability `rate`, else 1 / (1 - rate), (B, T, E) as `like`; from the streams, where there are."""
    streams = _current.get()
    if streams is None or not streams.serves(len(like)):
        return dropout(torch.ones_like(like), rate)
    return (streams.uniforms(like) >= rate).to(like.dtype) / (1 - rate)
