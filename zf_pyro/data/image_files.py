"""Files of images: MNIST's own (idx), and its set of bits that were drawn once, as text (amat) or packed (npz).

Here are a reader for each kind of file, and what finds the files of MNIST in a folder and puts their splits together.
What a file holds is told from its first bytes, compression with gzip included. Every array that comes back is the
caller's to write to.
"""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zf_pyro.data.npz import Npz
from zf_pyro.data.reading import readable, unpacked
from zf_pyro.data.splits import SPLITS
from zf_pyro.errors import InputError

SIDE = 28
"""Rows and columns of an image of MNIST, which the set of bits does not record."""

PIXELS = SIDE * SIDE

ACCEPTED = (
    "give the folder of train-images-idx3-ubyte and t10k-images-idx3-ubyte, that of binarized_mnist_train.amat, "
    "_valid.amat and _test.amat, or the .npz file of the same set"
)

_IDX = re.compile(r"(train|t10k)-images[-.]idx3-ubyte(?:\.gz)?")
_AMAT = re.compile(r"binarized_mnist_(train|valid|test)\.amat(?:\.gz)?")
_NPZ = re.compile(r"[^.].*\.npz", re.IGNORECASE)
_VALIDATION = 6
"""One in so many images of MNIST's training file is for validation, the last ones: 10,000 of 60,000."""

_HEADER = struct.Struct(">4I")
_IMAGES, _LABELS = 2051, 2049
_CHUNK = 1 << 20
_LONGEST_LINE = 1 << 16
"""Bytes; 784 pixels and the blanks between them are 1,568."""


def opened(path: Path) -> AbstractContextManager[io.BufferedIOBase]:
    """The bytes of a file, decompressed where it is gzip or xz.

    Raises:
        InputError: there is something else; or, inside, instead of what the system or the decompressor raises.
    """
    with readable(path):
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: not a file; give the file of images itself")
    return unpacked(path)


def read_idx(path: Path) -> np.ndarray:
    """The images of an ``idx3-ubyte`` file.

    Returns:
        (N, rows, columns) uint8 intensities, N, rows and columns at least 1.

    Raises:
        InputError: the file is missing, damaged or of something else, holds no pixel, or is shorter or longer than its
            first bytes say.
    """
    with opened(path) as stream:
        count, rows, columns = idx_shape(stream.read(_HEADER.size), path)
        size = count * rows * columns
        pixels = at_most(stream, size + 1)
    if len(pixels) != size:
        found = f"{len(pixels):,} bytes follow" if len(pixels) < size else "more follows"
        said = f"{count:,} images of {rows:,} x {columns:,} pixels, {size:,} bytes"
        raise InputError(f"{path}: its first bytes say {said}, but {found}; get it again")
    return np.frombuffer(pixels, np.uint8).reshape(count, rows, columns)


def idx_shape(header: bytes, path: Path) -> tuple[int, int, int]:
    """N, rows and columns from the first 16 bytes of an ``idx3-ubyte`` file.

    Raises:
        InputError: they are not those of a file of images, or say that there is no pixel.
    """
    magic = int.from_bytes(header[:4], "big")
    if magic == _LABELS:
        raise InputError(f"{path}: labels, not images; give the file whose name holds 'images-idx3-ubyte'")
    if magic != _IMAGES or len(header) < _HEADER.size:
        raise InputError(f"{path}: no idx3-ubyte file of images (they begin with the number {_IMAGES}); get it again")
    _, count, rows, columns = _HEADER.unpack(header)
    if not count * rows * columns:
        raise InputError(f"{path}: {count:,} images of {rows:,} x {columns:,} pixels; there is nothing in it")
    return count, rows, columns


def at_most(stream: io.BufferedIOBase, most: int) -> bytearray:
    """The next bytes, fewer than `most` where the stream ends before; room is taken only for what is there."""
    data = bytearray()
    while len(data) < most and (chunk := stream.read(min(most - len(data), _CHUNK))):
        data += chunk
    return data


def read_amat(path: Path) -> np.ndarray:
    """The images of a text file of bits: a line each, 784 times 0 or 1 between blanks; blank lines are left out.

    Returns:
        (N, 784) uint8 bits, N at least 1.

    Raises:
        InputError: the file is missing, damaged, empty or of MATLAB, or a line holds anything else; it is named.
    """
    images: list[bytes] = []
    with opened(path) as stream:
        for number, line in enumerate(iter(partial(stream.readline, _LONGEST_LINE), b""), 1):
            if number == 1 and line.startswith(b"MATLAB "):
                raise InputError(
                    f"{path}: a MATLAB file of this name, not text; give the set as text, "
                    "or as .npz with the arrays train, valid and test"
                )
            if words := line.split():
                images.append(as_pixels(words, f"{path}, line {number}"))
    if not images:
        raise InputError(f"{path}: empty; get it again")
    return np.frombuffer(b"".join(images), np.uint8).reshape(-1, PIXELS) - np.uint8(ord("0"))


def as_pixels(words: list[bytes], where: str) -> bytes:
    """The 784 characters of an image.

    Raises:
        InputError: there are more or fewer, or others than 0 and 1.
    """
    pixels = b"".join(words)
    if pixels.strip(b"01") or len(pixels) != len(words):
        wrong = next(word for word in words if word not in (b"0", b"1"))[:12].decode("latin-1")
        raise InputError(f"{where}: {wrong!a}, where only 0 and 1 between blanks may stand; get the file again")
    if len(words) != PIXELS:
        raise InputError(f"{where}: {len(words):,} pixels, not {PIXELS}; get the file again")
    return pixels


def read_packed(path: Path) -> dict[str, np.ndarray]:
    """The three splits of a set of bits in an ``.npz`` file, under the names "train", "valid" and "test".

    Each array is (N, 98) uint8, eight bits a byte, the first the highest (``numpy.packbits(bits, axis=1)``), or
    (N, 784) zeros and ones of any type of number.

    Returns:
        for each split (N, 784) uint8 bits, N at least 1.

    Raises:
        InputError: the file is missing or damaged, or an array is missing, empty or something else.
    """
    archive = Npz(path)
    return {split: as_bits(archive[split], f"{path}, array {split!r}") for split in SPLITS}


def as_bits(array: np.ndarray, where: str, pixels: int = PIXELS) -> np.ndarray:
    """(N, pixels) uint8 bits from packed or plain ones.

    Raises:
        InputError: it is neither.
    """
    packed = -(-pixels // 8)
    if array.ndim == 2 and len(array):
        if array.shape[1] == packed and array.dtype == np.uint8:
            return np.unpackbits(array, axis=1, count=pixels)
        if array.shape[1] == pixels:
            wrong = np.argwhere((array != 0) & (array != 1))
            if len(wrong):
                row, column = wrong[0]
                raise InputError(f"{where}: {array[row, column]} at ({row}, {column}), where only 0 and 1 may stand")
            return array.astype(np.uint8)
    raise InputError(
        f"{where}: {array.dtype} numbers of the shape {array.shape}; "
        f"give (N, {packed}) uint8 of numpy.packbits, or (N, {pixels}) zeros and ones"
    )


class Found(NamedTuple):
    """The files of MNIST that there are.

    Attributes:
        idx: grey images, of "train" and "t10k".
        amat: the fixed set as text, by split.
        npz: the fixed set in one file; more than one are ambiguous.
    """

    idx: Mapping[str, Path]
    amat: Mapping[str, Path]
    npz: list[Path]


def find_mnist(data: Path) -> Found:
    """The files of MNIST in a folder, or the one that is given itself.

    Raises:
        InputError: there is nothing at `data`, it cannot be read, or it is a file that cannot be used alone.
    """
    if os.path.isfile(data):
        if not _NPZ.fullmatch(data.name):
            raise InputError(f"{data}: a file of something else, or only a part of the data; {ACCEPTED}")
        return Found({}, {}, [data])
    files = files_in(data)
    raw = data / "MNIST" / "raw"
    idx = by_part(_IDX, files) or by_part(_IDX, files_in(raw) if os.path.isdir(raw) else [])
    npz = [file for file in files if _NPZ.fullmatch(file.name) and "binarized" in file.name.lower()]
    return Found(idx, by_part(_AMAT, files), npz)


def files_in(folder: Path) -> list[Path]:
    """The files of a folder by name.

    Raises:
        InputError: there is no such folder, or it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(folder / entry.name for entry in entries if entry.is_file())
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error}); {ACCEPTED}") from error


def by_part(pattern: re.Pattern[str], files: list[Path]) -> dict[str, Path]:
    """The first file for each part of a set that the pattern's group names."""
    found: dict[str, Path] = {}
    for file in files:
        if match := pattern.fullmatch(file.name):
            found.setdefault(match[1], file)
    return found


def read_fixed(found: Found, data: Path) -> dict[str, np.ndarray]:
    """The fixed set, (N, 784) uint8 bits for each split; from the .npz file where there is one, which is faster.

    Raises:
        InputError: a file is missing or damaged, or there are two sets.
    """
    if len(found.npz) > 1:
        names = ", ".join(file.name for file in found.npz)
        raise InputError(f"{data}: several fixed sets ({names}); give the path of one of them")
    if found.npz:
        return read_packed(found.npz[0])
    require_parts(found.amat, SPLITS, data, "binarized_mnist_{}.amat")
    return {split: read_amat(found.amat[split]) for split in SPLITS}


def read_grey(idx: Mapping[str, Path], data: Path) -> dict[str, np.ndarray]:
    """The images of grey, (N, rows, columns) uint8 for each split.

    Raises:
        InputError: a file is missing or damaged, there is one training image alone, or the sizes differ.
    """
    require_parts(idx, ("train", "t10k"), data, "{}-images-idx3-ubyte")
    train, test = read_idx(idx["train"]), read_idx(idx["t10k"])
    if train.shape[1:] != test.shape[1:]:
        sizes = " and ".join(f"{rows} x {columns}" for _, rows, columns in (train.shape, test.shape))
        raise InputError(f"{data}: the images to train and to test are of {sizes} pixels; give files of one set")
    if len(train) < 2:
        raise InputError(f"{idx['train']}: 1 image; at least 2 are needed, one to train and one to validate")
    cut = len(train) - max(1, len(train) // _VALIDATION)
    return {"train": train[:cut], "valid": train[cut:], "test": test}


def require_parts(found: Mapping[str, Path], wanted: tuple[str, ...], data: Path, name: str) -> None:
    """Refuse a set of files that lacks some.

    Raises:
        InputError: it does; they are named.
    """
    missing = [name.format(part) for part in wanted if part not in found]
    if missing:
        there = ", ".join(file.name for file in found.values())
        raise InputError(f"{data}: beside {there} there is no {', '.join(missing)}; add what is missing")
