"""The one form in which sequences reach a model: time first, padded, with a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

MAX_STEPS = 1 << 17
"""Steps scored together, padding and particles included, unless one sequence has more: it bounds the memory."""


@dataclass(frozen=True)
class SequenceBatch:
    """B sequences of at most T steps.

    Step t is conditioned on ``inputs[t - 1]`` (u_t, which is x_{t-1}; u_1 is the start) and scores ``targets[t - 1]``
    (x_t). Padding holds a legal value (zero), never NaN, and ``mask`` is False there.

    Attributes:
        inputs: (T, B) integers or (T, B, D) reals. The model's step form reads row 0 alone, the encoder none of them.
        targets: of the same shape as ``inputs``, or None where the model is to generate.
        mask: (T, B) booleans, True at real steps, which come first in every sequence.
        first_input_is_data: whether u_1 was observed (a frame) or is a convention (a start symbol); only an observed
            one is scored by the backward language model.
    """

    inputs: Tensor
    targets: Tensor | None
    mask: Tensor
    first_input_is_data: bool = False

    @property
    def num_steps(self) -> int:
        """T, the number of steps of the longest sequence, padding included."""
        return self.mask.shape[0]

    @property
    def num_sequences(self) -> int:
        """B."""
        return self.mask.shape[1]

    @property
    def lengths(self) -> Tensor:
        """(B,) integers: the real steps of each sequence."""
        return self.mask.sum(0)

    def to(self, device: torch.device | str) -> SequenceBatch:
        """The same batch on another device; the host does not wait for a copy to a GPU."""
        targets = None if self.targets is None else moved(self.targets, device)
        return replace(self, inputs=moved(self.inputs, device), targets=targets, mask=moved(self.mask, device))

    def part(self, start: int, stop: int) -> SequenceBatch:
        """The sequences start, .., stop - 1, with the padding that they have here."""
        targets = None if self.targets is None else self.targets[:, start:stop]
        return replace(self, inputs=self.inputs[:, start:stop], targets=targets, mask=self.mask[:, start:stop])

    def until(self, steps: int) -> SequenceBatch:
        """The first steps of every sequence."""
        targets = None if self.targets is None else self.targets[:steps]
        return replace(self, inputs=self.inputs[:steps], targets=targets, mask=self.mask[:steps])

    def repeat_particles(self, num_particles: int) -> SequenceBatch:
        """K copies of every sequence, as a batch of K B sequences: particle k of sequence b is number k B + b.

        A score of each sequence, (..., K B), is (..., K, B) after ``unflatten(-1, (K, B))``.
        """

        def repeat(values: Tensor) -> Tensor:
            return values.repeat(1, num_particles, *[1] * (values.dim() - 2))

        targets = None if self.targets is None else repeat(self.targets)
        return replace(self, inputs=repeat(self.inputs), targets=targets, mask=repeat(self.mask))

    @classmethod
    def start(cls, first_input: Tensor, num_steps: int) -> SequenceBatch:
        """A batch without targets, from which the model generates.

        Args:
            first_input: (B,) or (B, D), the u_1 of every sequence.
            num_steps: T, the number of steps to generate.
        """
        mask = torch.ones(num_steps, first_input.shape[0], dtype=torch.bool, device=first_input.device)
        return cls(first_input.unsqueeze(0), None, mask)

    @classmethod
    def from_sequences(cls, sequences: Sequence[Any], *, condition_on_first: bool = False) -> SequenceBatch:
        """A batch of your own sequences of real numbers or bits, each of any length.

        Args:
            sequences: B arrays, lists or tensors, each (n,) or (n, D), of n steps. (One array (B, n) is B of them.)
            condition_on_first: take the first step of each sequence for u_1 and score the others; else u_1 is zero and
                all steps are scored.

        Returns:
            inputs and targets (T, B, D) in the default type of real numbers, on the CPU.

        Raises:
            ValueError: there is no sequence, or one has nothing to score, more than two dimensions, another width than
                the first, or a number that is not finite.
        """
        if not len(sequences):
            raise ValueError("no sequence to make a batch of")
        frames = [as_frames(sequence, number) for number, sequence in enumerate(sequences)]
        least = 1 + condition_on_first
        for number, each in enumerate(frames):
            if len(each) < least or each.shape[1] != frames[0].shape[1]:
                wanted = f"({least} or more, {frames[0].shape[1]})"
                raise ValueError(f"sequence {number} has the shape {tuple(each.shape)}, not {wanted}")
        if not condition_on_first:
            frames = [torch.cat([torch.zeros_like(each[:1]), each]) for each in frames]
        return shifted(frames, first_input_is_data=condition_on_first)


def moved(values: Tensor, device: torch.device | str) -> Tensor:
    """A tensor on another device; from the CPU to a GPU by way of pinned memory, which alone is copied unattended."""
    if values.device.type == "cpu" and torch.device(device).type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def as_frames(sequence: Any, number: int) -> Tensor:
    """A sequence as real numbers (n, D) on the CPU, checked to be finite."""
    if not isinstance(sequence, Tensor):
        # By way of NumPy: its arrays may be read-only, reversed or of another byte order, which no tensor can be.
        array = np.asarray(sequence)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"sequence {number} holds {array.dtype}, not bits, integers or real numbers")
        sequence = torch.from_numpy(array.astype(np.float64))
    frames = sequence.to("cpu", torch.get_default_dtype())
    if frames.dim() == 1:
        frames = frames.unsqueeze(1)
    if frames.dim() != 2 or not frames.shape[1]:
        raise ValueError(f"sequence {number} has the shape {tuple(frames.shape)}, not (n,) or (n, D)")
    if not frames.isfinite().all():
        raise ValueError(f"sequence {number} holds a number that is not finite")
    return frames


def shifted(frames: Sequence[Tensor], *, first_input_is_data: bool) -> SequenceBatch:
    """Sequences u_1, x_1, .., x_n, each (n + 1, D), as a batch, padded with zeros."""
    padded = pad_sequence(list(frames))  # (T + 1, B, D)
    lengths = torch.tensor([len(each) - 1 for each in frames])
    mask = torch.arange(len(padded) - 1).unsqueeze(1) < lengths  # (T, B)
    inputs = padded[:-1].masked_fill(~mask.unsqueeze(-1), 0)
    return SequenceBatch(inputs, padded[1:], mask, first_input_is_data)
