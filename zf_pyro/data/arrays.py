"""Sequences of a user's own: arrays of bits or real numbers, in one ``.npz`` file or in a folder of ``.npy`` files.

A sequence is an array (n,) or (n, D), n steps of D numbers. What names a split:

* in an ``.npz`` file the names of the arrays, "train_0", "val_bird", "test/7", "x_train";
* in a folder the names of the files, or of the folders that they are in.

The first word of a name that is "train", "valid" or "test" counts. Where no name has one, the sequences are split by a
hash of their content. An array (N, n, D) holds N sequences, and so does an array (N, n) that is called just "train",
"valid" or "test".
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from zf_pyro.data.corpus import Corpus, Observation
from zf_pyro.data.given import Given, Reading
from zf_pyro.data.npz import Npz, read_npy, require_finite
from zf_pyro.data.reading import files_below, readable
from zf_pyro.data.sequences import Sequences
from zf_pyro.data.splits import SPLITS, SplitSettings, assign, one_without, ranking, slashed, split_in, split_named
from zf_pyro.errors import InputError

ACCEPTED = "an .npz file or a folder of .npy files, each array one sequence (n,) or (n, D)"


LONGEST_SAMPLE = 1_000
"""Steps; sequences may be far longer than anyone wants to wait for."""


@dataclass(frozen=True)
class ArraySettings(SplitSettings):
    """How arrays become sequences."""

    emission: Literal["auto", "bernoulli", "gaussian"] = "auto"
    """The law of x_t: of bits, or of real numbers, which are normalised by the mean and standard deviation of each
    dimension over the training split. "auto" takes bits where every number is 0 or 1."""
    chunk_length: int = 0
    """Training sequences are cut into rows of at most this many steps; 0 leaves them whole. Validation and test
    sequences are always whole."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        if self.chunk_length < 0:
            raise InputError(f"chunk_length = {self.chunk_length}: it is to be at least 0")


class Named(NamedTuple):
    """A sequence as it was found."""

    name: str
    """In its file or folder."""
    where: str
    """For messages."""
    split: str | None
    """That its name gives it."""
    frames: np.ndarray
    """(n, D)."""


def load_arrays(data: Path, settings: ArraySettings) -> Corpus:
    """Sequences from a user's own arrays.

    Args:
        data: an ``.npz`` file, or a folder of ``.npy`` files at any depth, or of one ``.npz`` file.
        settings: how to read them.

    Raises:
        InputError: nothing to read, a file that is damaged or holds no numbers, NaN or infinity, sequences without a
            step or of different widths, names that give only some sequences a split, or an empty split.
    """
    found = list(_from_folder(data) if os.path.isdir(data) else _from_file(data))
    if not found:
        raise InputError(f"{data}: nothing to read; give {ACCEPTED}")
    for each in found:
        _check(each, found[0])
    splits = _split(found, settings, str(data))
    odd = next((each for each in found if not _are_bits(each.frames)), None)
    emission = settings.emission
    if emission == "auto":
        emission = "bernoulli" if odd is None else "gaussian"
    if emission == "bernoulli" and odd is not None:
        raise InputError(f"{odd.where}: a number other than 0 and 1; take emission=gaussian")
    return _corpus(splits, replace(settings, emission=emission), data)


def _corpus(splits: dict[str, list[Named]], settings: ArraySettings, data: Path) -> Corpus:
    pieces = {name: [each.frames for each in splits[name]] for name in SPLITS}
    mean = std = np.zeros(0)
    if settings.emission == "gaussian":
        mean, std = _moments(pieces["train"])
        pieces = {name: [_normalised(p, mean, std, data) for p in parts] for name, parts in pieces.items()}
    else:
        pieces = {name: [p.astype(np.uint8) for p in parts] for name, parts in pieces.items()}
    train = Sequences.of(pieces["train"], chunk_length=settings.chunk_length)
    valid, test = (Sequences.of(pieces[name]) for name in SPLITS[1:])
    width = train.frames.shape[1]
    counts = slashed(len(splits[name]) for name in SPLITS)
    kind = "bits" if settings.emission == "bernoulli" else "real numbers"
    return Corpus(
        observation=Observation(
            "bernoulli" if settings.emission == "bernoulli" else "gaussian",
            width,
            sample_steps=min(int(np.median([len(piece) for piece in pieces["train"]])), LONGEST_SAMPLE),
            mean=tuple(mean.tolist()),
            std=tuple(std.tolist()),
            limits=_limits(each.frames.dtype for parts in splits.values() for each in parts) if len(std) else (),
        ),
        train=train,
        valid=valid,
        test=test,
        settings=settings,
        source=f"{data}: {counts} sequences to train, validate and test, {width:,} {kind} a step",
        origin=str(data.absolute()),
        fingerprint=_fingerprint(splits, settings),
    )


def _fingerprint(splits: dict[str, list[Named]], settings: ArraySettings) -> str:
    """Of the arrays as they were found: what is computed from them may differ in its last bits between machines."""
    digest = hashlib.sha256(repr((settings.chunk_length, settings.emission)).encode())
    for name in SPLITS:
        digest.update(b"%d;" % len(splits[name]))
        for each in splits[name]:
            digest.update(_content(each.frames))
    return digest.hexdigest()


def _content(frames: np.ndarray) -> bytes:
    """The shape and the numbers of a sequence, whatever the order of bytes that they were saved in."""
    return repr(frames.shape).encode() + frames.astype(frames.dtype.newbyteorder("<")).tobytes()


def _from_file(path: Path) -> Iterator[Named]:
    """The sequences of an ``.npz`` file, by name."""
    archive = Npz(path)
    for name, array in archive.items():
        yield from _sequences(array, name, name, split_in(name), f"{path}, array {name!r}")


def _from_folder(root: Path) -> Iterator[Named]:
    """The sequences of a folder's ``.npy`` files, by path, or of its one ``.npz`` file."""
    with readable(root):
        files, packed = files_below(root, (".npy",)), files_below(root, (".npz",))
    if packed and len(files) + len(packed) > 1:
        raise InputError(
            f"{root}: {len(packed)} .npz and {len(files)} .npy files; give the path of one .npz, or move it"
        )
    for path in packed:
        yield from _from_file(path)
    for path in files:
        below = path.relative_to(root)
        yield from _sequences(read_npy(path), path.stem, below.as_posix(), split_in(str(below)), str(path))


def _sequences(array: np.ndarray, title: str, name: str, split: str | None, where: str) -> Iterator[Named]:
    """The one sequence, or the many, of an array."""
    is_split = title.isalpha() and split_named(title) is not None
    of_many = array.ndim == 3 or (array.ndim == 2 and is_split)
    if of_many and not len(array):
        raise InputError(f"{where}: holds no sequence")
    require_finite(array, where)
    for number, row in enumerate(array if of_many else [array]):
        one = f"{where}, sequence {number}" if of_many else where
        yield Named(f"{name}[{number}]" if of_many else name, one, split, _as_frames(row, one))


def _as_frames(array: np.ndarray, where: str) -> np.ndarray:
    """A sequence as (n, D)."""
    if array.ndim not in (1, 2) or not array.size:
        raise InputError(f"{where}: of shape {array.shape}; a sequence is (n,) or (n, D), and not empty")
    return array[:, None] if array.ndim == 1 else array


def _check(each: Named, first: Named) -> None:
    if each.frames.shape[1] != first.frames.shape[1]:
        raise InputError(
            f"{each.where}: {each.frames.shape[1]} numbers a step, and {first.frames.shape[1]} in {first.where}"
        )


def _split(found: list[Named], settings: ArraySettings, source: str) -> dict[str, list[Named]]:
    """The sequences of each split, in an order that depends on their content alone."""
    if (odd := one_without([each.split for each in found])) is not None:
        raise InputError(f"{found[odd].where}: its name gives no split (train, valid or test), while others do")
    ranked = [found[i] for i in ranking((_content(each.frames) for each in found), settings.split_seed)]
    members = assign([each.split for each in ranked], settings, source)
    return {name: [ranked[i] for i in places] for name, places in members.items()}


def _limits(dtypes: Iterable[np.dtype]) -> tuple[int, ...]:
    """The least and the greatest number that integers of at most 16 bits can be; () where some are others."""
    ranges = [np.iinfo(dtype) if dtype.kind in "iu" and dtype.itemsize <= 2 else None for dtype in set(dtypes)]
    known = [each for each in ranges if each is not None]
    if len(known) < len(ranges):
        return ()
    return int(min(each.min for each in known)), int(max(each.max for each in known))


def _moments(pieces: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each dimension, (D,) each; of a constant one its value and 1."""
    count = sum(len(piece) for piece in pieces)
    low, high = np.min([piece.min(0) for piece in pieces], 0), np.max([piece.max(0) for piece in pieces], 0)
    varies = low < high  # the variance of a constant is not always 0 in floating point
    with np.errstate(all="ignore"):
        mean = np.where(varies, np.sum([piece.sum(0, dtype=np.float64) for piece in pieces], 0) / count, low)
        variance = np.sum([((piece - mean) ** 2).sum(0, dtype=np.float64) for piece in pieces], 0) / count
    return mean.astype(np.float64), np.where(varies, np.sqrt(variance), 1.0)


def _normalised(piece: np.ndarray, mean: np.ndarray, std: np.ndarray, data: Path) -> np.ndarray:
    """A sequence in units of the training split's standard deviations, single precision."""
    with np.errstate(all="ignore"):
        normalised = ((piece - mean) / std).astype(np.float32)
    if not (np.isfinite(std).all() and np.isfinite(normalised).all()):
        raise InputError(f"{data}: numbers too large, or too close to each other, to be normalised; rescale them")
    return normalised


def _are_bits(frames: np.ndarray) -> bool:
    return frames.dtype == bool or bool(((frames == 0) | (frames == 1)).all())


def given_arrays(data: Path, reading: Reading) -> Given:
    """The sequences of an ``.npz`` or ``.npy`` file, or of a folder of them, whole, in units of the run's deviations.

    Raises:
        InputError: as `load_arrays` does, or a step is not of as many numbers, or not of such numbers, as the run's.
    """
    observation = reading.observation
    found = list(_given(data))
    if not found:
        raise InputError(f"{data}: nothing to read; give {ACCEPTED}")
    for each in found:
        if each.frames.shape[1] != observation.size:
            raise InputError(f"{each.where}: {each.frames.shape[1]} numbers a step, and {observation.size} in the run")
        if observation.law == "bernoulli" and not _are_bits(each.frames):
            raise InputError(f"{each.where}: a number other than 0 and 1, and the run is of bits")
        if reading.on_lattice and not _are_within(each.frames, observation.limits):
            low, high = observation.limits
            raise InputError(
                f"{each.where}: a number that is not whole, or not of {low:,} to {high:,}, as the run's are"
            )
    pieces = [each.frames for each in found]
    if observation.law == "gaussian":
        mean, std = np.array(observation.mean), np.array(observation.std)
        pieces = [_normalised(piece, mean, std, data) for piece in pieces]
    return Given([each.name for each in found], Sequences.of(pieces), [])


def _given(data: Path) -> Iterator[Named]:
    if data.suffix.lower() == ".npy" and data.is_file():
        yield from _sequences(read_npy(data), data.stem, data.name, None, str(data))
    else:
        yield from _from_folder(data) if os.path.isdir(data) else _from_file(data)


def _are_within(frames: np.ndarray, limits: tuple[int, ...]) -> bool:
    """Whether all numbers are whole and within limits."""
    return bool(((frames >= limits[0]) & (frames <= limits[1]) & (frames == np.rint(frames))).all())
