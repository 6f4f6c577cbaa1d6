"""Waveforms on the disk as a split of a data set: frames of consecutive samples, read when they are asked for.

Nothing but the places of the sequences is held in memory. Samples are read from their files, not mapped: the pages of a
mapping count as the process's own memory, and a file that is cut while it is mapped ends the process.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from zf_pyro.data.batch import SequenceBatch, shifted
from zf_pyro.data.sequences import cut
from zf_pyro.errors import InputError

SAMPLE = np.dtype("<i2")
"""How a sample stands in a file."""


@dataclass(frozen=True, eq=False)
class Tape:
    """Recordings one after the other, each in one of some files of 16-bit samples.

    Attributes:
        files: of samples and nothing else.
        places: (R,) integers, the file of each recording.
        offsets: (R,) integers, its first sample there.
        ends: (R,) integers, the sample of the tape after its last.
    """

    files: tuple[Path, ...]
    places: np.ndarray
    offsets: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, files: tuple[Path, ...], places: np.ndarray, offsets: np.ndarray, samples: np.ndarray) -> Tape:
        """A tape of recordings with these numbers of samples, (R,), in their order."""
        return cls(files, places, offsets, np.cumsum(samples))

    @property
    def starts(self) -> np.ndarray:
        """(R,) integers, the first sample of each recording on the tape."""
        return np.concatenate([[0], self.ends[:-1]])

    def read(self, start: int, stop: int) -> np.ndarray:
        """Samples of the tape, (stop - start,).

        Raises:
            InputError: a file is gone, or shorter than it was.
        """
        parts = []
        recording = int(np.searchsorted(self.ends, start, side="right"))
        while start < stop:
            end = min(stop, int(self.ends[recording]))
            begin = int(self.ends[recording - 1]) if recording else 0
            offset = int(self.offsets[recording]) + start - begin
            parts.append(read_samples(self.files[self.places[recording]], offset, end - start))
            start, recording = end, recording + 1
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def read_samples(path: Path, offset: int, count: int) -> np.ndarray:
    """Some samples of a file.

    Raises:
        InputError: it is gone, or shorter than it was.
    """
    try:
        samples = np.fromfile(path, SAMPLE, count, offset=offset * SAMPLE.itemsize)
    except OSError as error:
        raise InputError(f"{path}: cannot be read any more ({error.strerror or error})") from error
    if len(samples) < count:
        raise InputError(f"{path}: shorter than it was; prepare the data again")
    return samples


@dataclass(frozen=True, eq=False)
class Waveforms:
    """N sequences of frames. Sequence i scores ``lengths[i]`` frames; the frame before them is u_1.

    Attributes:
        tape: where the samples are.
        starts: (N,) integers: the first sample of u_1.
        lengths: (N,) integers: the scored frames.
        frame_size: samples a frame.
        mean: subtracted from every sample.
        std: by which every sample is then divided.
    """

    tape: Tape
    starts: np.ndarray
    lengths: np.ndarray
    frame_size: int
    mean: float
    std: float

    @classmethod
    def of(
        cls,
        tape: Tape,
        *,
        frame_size: int,
        mean: float,
        std: float,
        chunk_length: int = 0,
        full_rows: bool = False,
        joined: bool = False,
    ) -> Waveforms:
        """Sequences of frames cut from every recording of a tape; less than a frame at its end is left out.

        Args:
            tape: the recordings.
            frame_size: samples a frame.
            mean: to subtract.
            std: to divide by.
            chunk_length: cut what is scored of each recording into rows of at most this many frames; 0 leaves it whole.
            full_rows: leave out rows that are shorter.
            joined: take the tape for one recording, with frames and rows across the borders.
        """
        starts, ends = tape.starts, tape.ends
        if joined:
            starts, ends = starts[:1], ends[-1:]
        piece, first, lengths = cut(np.maximum((ends - starts) // frame_size - 1, 0), chunk_length)
        if full_rows and chunk_length:
            whole = lengths == chunk_length
            piece, first, lengths = piece[whole], first[whole], lengths[whole]
        return cls(tape, starts[piece] + first * frame_size, lengths, frame_size, mean, std)

    def of_epoch(self, seed: int, epoch: int) -> Waveforms:
        """Itself: these sequences are the same in every epoch."""
        return self

    def frames(self, index: int) -> np.ndarray:
        """u_1, x_1, .., x_n of one sequence, normalised, (n + 1, D), single precision."""
        start, count = int(self.starts[index]), (int(self.lengths[index]) + 1) * self.frame_size
        samples = self.tape.read(start, start + count).astype(np.float32)
        samples -= np.float32(self.mean)
        samples /= np.float32(self.std)
        return samples.reshape(-1, self.frame_size)

    def scored(self, indices: np.ndarray) -> np.ndarray:
        """The scored frames of the sequences at `indices`, one after the other, normalised, (M, D)."""
        parts = [self.frames(i)[1:] for i in indices.tolist()]
        return np.concatenate([*parts, np.zeros((0, self.frame_size), np.float32)])

    def batch(self, indices: np.ndarray) -> SequenceBatch:
        """The sequences at `indices`, in that order, as a batch, inputs and targets (T, B, D)."""
        dtype = torch.get_default_dtype()
        rows = [torch.from_numpy(self.frames(i)).to(dtype) for i in indices.tolist()]
        return shifted(rows, first_input_is_data=True)
