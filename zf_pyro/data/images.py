"""Black and white images as sequences of pixels: the data sets "mnist" and "digits".

An image is a sequence, and a pixel is a step: one bit, line by line from the upper left corner. u_1 is zero, and all
pixels are scored. Images of grey become bits in one of three ways (`ImageSettings`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.random import Philox, SeedSequence

from zf_pyro.data.batch import SequenceBatch
from zf_pyro.data.corpus import Corpus, Observation
from zf_pyro.data.given import Given, Reading
from zf_pyro.data.image_files import (
    ACCEPTED,
    SIDE,
    Found,
    as_bits,
    find_mnist,
    opened,
    read_amat,
    read_fixed,
    read_grey,
    read_idx,
)
from zf_pyro.data.loader import Split
from zf_pyro.data.npz import Npz, read_npy
from zf_pyro.data.sequences import Sequences
from zf_pyro.data.splits import SPLITS, SplitSettings, assign, ranking, slashed
from zf_pyro.errors import InputError

Binarize = Literal["auto", "fixed", "dynamic", "threshold"]

DIGITS = "scikit-learn"
"""The origin of the digits, which are in no file of the user's."""

_HOW = {
    "fixed": "binarised once (fixed set)",
    "dynamic": "binarised anew every epoch (dynamic)",
    "threshold": "binarised at half of the maximum (threshold)",
}


_HOW_GIVEN = {
    "dynamic": "grey became bits by the draws of the run's test split",
    "threshold": "grey became bits at half of the maximum",
}


@dataclass(frozen=True)
class ImageSettings(SplitSettings):
    """How images become bits, and for "digits" how they are split. MNIST brings its splits."""

    binarize: Binarize = "auto"
    """"fixed" takes MNIST's set of bits that were drawn once, on which likelihoods are usually given. "dynamic" draws
    each bit with the probability of its pixel's intensity, for training anew in every epoch, for validation and test
    once, by split_seed. "threshold" sets those of at least half of the maximum. "auto" is "fixed" where the fixed set
    is there, and "dynamic" elsewhere."""


@dataclass(frozen=True, eq=False)
class Grey:
    """N images of grey as sequences of bits: a split whose pixels are one with probability intensity / maximum.

    The bits of an image depend on its intensities, its place and the key alone, not on the batch that it is in.

    Attributes:
        intensities: (N, P) uint8, none above `maximum`.
        maximum: of the scale, 255 or 16.
        key: numbers of at least 0 that fix all draws.
    """

    intensities: np.ndarray
    maximum: int
    key: tuple[int, ...]

    def __len__(self) -> int:
        """N."""
        return len(self.intensities)

    @property
    def lengths(self) -> np.ndarray:
        """(N,) integers, all of them P."""
        return np.full(len(self), self.intensities.shape[1])

    def of_epoch(self, seed: int, epoch: int) -> Grey:
        """The same images with bits drawn from (seed, epoch)."""
        return replace(self, key=(seed, epoch))

    def bits(self, indices: np.ndarray) -> np.ndarray:
        """(M, P) uint8: the bits of the images at `indices`, in that order."""
        key = SeedSequence(self.key).generate_state(2, np.uint64)
        pixels = self.intensities.shape[1]
        drawn = np.empty((len(indices), pixels), np.uint8)
        for row, index in enumerate(indices.tolist()):
            # The raw words of a bit generator are promised to stay the same in later versions of NumPy; what its
            # methods make of them is not.
            words = Philox(key=key, counter=(0, 0, 0, index)).random_raw((pixels + 1) // 2).view(np.uint32)
            drawn[row] = words[:pixels] < self.intensities[index] * (2.0**32 / self.maximum)
        return drawn

    def scored(self, indices: np.ndarray) -> np.ndarray:
        """The bits of the images at `indices`, one after the other, (M P, 1)."""
        return self.bits(indices).reshape(-1, 1)

    def batch(self, indices: np.ndarray) -> SequenceBatch:
        """The images at `indices`, in that order, as a batch, inputs and targets (P, B, 1)."""
        return scanned(self.bits(indices)).batch(np.arange(len(indices)))


def scanned(bits: np.ndarray) -> Sequences:
    """Images of bits (N, P) as sequences of one bit a step."""
    starts = np.arange(len(bits)) * bits.shape[1]
    return Sequences(bits.reshape(-1, 1), starts, starts + bits.shape[1], np.zeros(len(bits), dtype=bool))


def load_mnist(data: Path, settings: ImageSettings) -> Corpus:
    """The handwritten digits of MNIST.

    The fixed set of bits brings three splits. The grey images bring a test split, and the last sixth of their training
    file is for validation.

    Args:
        data: a folder with the two ``idx3-ubyte`` files of images or with those below it in ``MNIST/raw``, with the
            fixed set as three ``binarized_mnist_*.amat`` or as one .npz file whose name holds "binarized", or with
            both; or that .npz file itself. Every file but the .npz may be compressed with gzip.
        settings: of which the fractions have no effect.

    Raises:
        InputError: there is nothing of this, a file is missing or damaged, or what `binarize` asks for is not there.
    """
    found = find_mnist(data)
    settings = replace(settings, binarize=resolved(found, settings.binarize, data))
    if settings.binarize == "fixed":
        images = {split: bits.reshape(-1, SIDE, SIDE) for split, bits in read_fixed(found, data).items()}
    else:
        images = read_grey(found.idx, data)
    return as_corpus(images, 255, settings, source=str(data), origin=str(data.absolute()))


def load_digits(data: None, settings: ImageSettings) -> Corpus:
    """The 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn, in 17 levels of grey.

    Args:
        data: None; there is nothing to give.
        settings: `binarize` "auto" is "dynamic".

    Raises:
        InputError: scikit-learn is not installed, or there is to be a fixed set.
    """
    if settings.binarize == "fixed":
        raise InputError("binarize = 'fixed', but there is no fixed set of the digits; set 'dynamic' or 'threshold'")
    try:
        from sklearn import datasets
    except ImportError as error:
        raise InputError(
            'the digits come with scikit-learn, which is not installed; pip install "zf_pyro[samples]"'
        ) from error
    images = datasets.load_digits().images.astype(np.uint8)
    images = images[ranking((image.tobytes() for image in images), settings.split_seed)]
    members = assign([None] * len(images), settings, "scikit-learn's digits", "images")
    settings = replace(settings, binarize="dynamic" if settings.binarize == "auto" else settings.binarize)
    splits = {split: images[places] for split, places in members.items()}
    return as_corpus(splits, 16, settings, source="the digits of scikit-learn", origin=DIGITS)


def resolved(found: Found, binarize: Binarize, data: Path) -> Binarize:
    """The way of binarising, with "auto" settled.

    Raises:
        InputError: the files for it are missing.
    """
    is_fixed = bool(found.npz or found.amat)
    if not is_fixed and not found.idx:
        raise InputError(f"{data}: no images of MNIST in it; {ACCEPTED}")
    if binarize == "auto":
        return "fixed" if is_fixed else "dynamic"
    if binarize == "fixed" and not is_fixed:
        raise InputError(
            f"{data}: binarize = 'fixed', but the fixed set is missing (binarized_mnist_*.amat, or an .npz file whose "
            "name holds 'binarized'); add it, or set binarize to 'dynamic' or 'threshold'"
        )
    if binarize != "fixed" and not found.idx:
        raise InputError(
            f"{data}: binarize = {binarize!r}, but the images of grey are missing (train-images-idx3-ubyte and "
            "t10k-images-idx3-ubyte); give the folder that holds them, or set binarize to 'fixed'"
        )
    return binarize


def as_corpus(
    images: Mapping[str, np.ndarray], maximum: int, settings: ImageSettings, source: str, origin: str
) -> Corpus:
    """Images (N, rows, columns) uint8 of each split as a data set, binarised as the settings say."""
    _, rows, columns = images["train"].shape
    flat = {split: images[split].reshape(-1, rows * columns) for split in SPLITS}
    sizes = slashed(len(flat[split]) for split in SPLITS)
    what = f"{sizes} images of {rows} x {columns} pixels to train, validate and test"
    splits = {split: as_split(flat[split], maximum, settings, number) for number, split in enumerate(SPLITS, 1)}
    return Corpus(
        observation=Observation("bernoulli", 1, sequence="image", step="pixel", sample_steps=rows * columns, rows=rows),
        **splits,
        settings=settings,
        source=f"{source}: {what}, {_HOW[settings.binarize]}",
        origin=origin,
        fingerprint=fingerprint(images, settings),
    )


def as_split(images: np.ndarray, maximum: int, settings: ImageSettings, number: int) -> Split:
    """Images (N, P) as sequences of bits; those of the fixed set are bits already."""
    if settings.binarize == "dynamic":
        # No epoch has this key: theirs are two numbers, and a missing third one counts as zero.
        return Grey(images, maximum, (settings.split_seed, 0, number))
    return scanned(images if settings.binarize == "fixed" else (images >= maximum / 2).astype(np.uint8))


def fingerprint(images: Mapping[str, np.ndarray], settings: ImageSettings) -> str:
    """A hash of the images of each split and of how they become bits."""
    seed = settings.split_seed if settings.binarize == "dynamic" else None
    digest = hashlib.sha256(repr([settings.binarize, seed]).encode())
    for split in SPLITS:
        digest.update(repr(images[split].shape).encode())
        digest.update(np.ascontiguousarray(images[split]).data)
    return digest.hexdigest()


def given_images(path: Path, reading: Reading) -> Given:
    """The images of a file: ``idx3-ubyte`` of grey, text of bits (amat), or bits in ``.npz`` or ``.npy``.

    Grey becomes bits as in the run's test split, dynamically by the same draws: the test file itself gives that split.

    Raises:
        InputError: the file is missing, damaged or of something else, of images of another size, or of grey where the
            run is of bits that were drawn once.
    """
    rows, pixels = reading.observation.rows, reading.observation.sample_steps
    with opened(path) as stream:
        head = stream.read(6)
    if head.startswith((b"PK", b"\x93NUMPY")):
        return given_bits(path, rows, pixels, packed=head.startswith(b"PK"))
    if not head.startswith(b"\0\0"):
        bits = require_pixels(read_amat(path), path, (pixels,))
        return Given([str(number) for number in range(1, len(bits) + 1)], scanned(bits), [])
    grey = require_pixels(read_idx(path), path, (rows, pixels // rows)).reshape(-1, pixels)
    if reading.settings.binarize == "fixed":
        raise InputError(f"{path}: images of grey, and the run is of bits that were drawn once; give bits")
    split = as_split(grey, 255, reading.settings, len(SPLITS))
    return Given([str(i) for i in range(len(grey))], split, [_HOW_GIVEN[reading.settings.binarize]])


def given_bits(path: Path, rows: int, pixels: int, *, packed: bool) -> Given:
    """The images of bits of an ``.npz`` file, or of an ``.npy`` file."""
    arrays = dict(Npz(path).items()) if packed else {"": read_npy(path)}
    if not arrays:
        raise InputError(f"{path}: holds no array")
    names: list[str] = []
    parts = []
    for name, array in arrays.items():
        where = f"{path}, array {name!r}" if packed else str(path)
        parts.append(as_bits(unfolded(array, rows, pixels), where, pixels))
        names += [f"{name}[{i}]" if packed else str(i) for i in range(len(array))]
    return Given(names, scanned(np.concatenate(parts)), [])


def unfolded(array: np.ndarray, rows: int, pixels: int) -> np.ndarray:
    """Images (N, rows, columns) as (N, pixels); others as they are."""
    return array.reshape(-1, pixels) if array.shape[1:] == (rows, pixels // rows) else array


def require_pixels(images: np.ndarray, path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Images (N, *shape) themselves.

    Raises:
        InputError: they are of another shape.
    """
    if images.shape[1:] != shape:
        found, wanted = (" x ".join(map(str, each)) for each in (images.shape[1:], shape))
        raise InputError(f"{path}: images of {found} pixels, and the run is of {wanted}")
    return images
