"""One audio file as 16-bit samples of one channel at one rate, block by block, whatever it holds.

Samples are read as real numbers from -1 to 1, channels are averaged, another rate is resampled (soxr, high quality),
and the result is rounded to 16 bits. Single-channel 16-bit files at the wanted rate come out bit by bit as they are.
"""

from __future__ import annotations

import importlib
import io
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zf_pyro.data.speech.mp3 import with_length
from zf_pyro.errors import InputError

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".sph", ".nist", ".aif", ".aiff", ".au")
"""Of names, in any case; what a file really is, its content tells."""

BLOCK = 1 << 17
"""Samples read at once, of all channels."""

_SLOWEST, _FASTEST = 1_000, 1_000_000
"""Samples a second that a file may have."""

LOUDEST = 32_767

_MAGIC = re.compile(rb"RIFF|RF64|fLaC|OggS|NIST|FORM|\.snd|ID3|\xff[\xe2-\xff]", re.DOTALL)
"""How audio files begin; the last is a frame of mp3."""

_SHORT = re.compile(r"^\s*(?:data|SSND|Data Size)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
"""What libsndfile notes where a header promises more than the file holds."""

_ENDLESS = 0x7FFFF000
"""Bytes; a header that promises more was written before the length was known, as programs in a pipe do."""

_PAGE, _PAGE_HEAD = 65_307, 27
"""Bytes of an Ogg page at most, and of its header before the sizes of its segments, the last byte their number."""


class NotAudioError(InputError):
    """A file whose content is no audio."""


class DamagedAudioError(InputError):
    """An audio file that is empty, not whole, or holds numbers that are none."""


@dataclass
class Recording:
    """A file to be read once, and what was found in it.

    Args:
        path: the file.
        rate: samples a second to come out with.

    Attributes:
        source_rate: samples a second of the file.
        channels: of the file.
        clipped: samples that 16 bits do not hold, and that were cut to the nearest that they do.
    """

    path: Path
    rate: int
    source_rate: int = 0
    channels: int = 0
    clipped: int = 0

    def blocks(self) -> Iterator[np.ndarray]:
        """The samples, (n,) of 16 bits, in blocks.

        Raises:
            NotAudioError: the content is no audio.
            DamagedAudioError: the file is empty, truncated or broken, or holds NaN or infinity. Some blocks may have
                come before.
            InputError: the file cannot be opened, or a library is not installed.
        """
        with opened(self.path) as file:
            self.source_rate, self.channels = file.samplerate, file.channels
            if not _SLOWEST <= self.source_rate <= _FASTEST:
                raise DamagedAudioError(
                    f"{self.path}: {self.source_rate:,} samples a second by its header; write it again"
                )
            resample = resampler(self.source_rate, self.rate)
            read = 0
            for block in raw_blocks(file, self.path):
                mono = block.mean(1)
                if not (finite := np.isfinite(mono)).all():
                    place = read + int(np.argmin(finite))
                    raise DamagedAudioError(f"{self.path}: NaN or infinity at sample {place:,}; write it again")
                read += len(block)
                yield self.rounded(resample(mono, False))
            require_whole(file, self.path, read)
            yield self.rounded(resample(np.zeros(0, np.float32), True))

    def rounded(self, samples: np.ndarray) -> np.ndarray:
        """Samples from -1 to 1 in 16 bits."""
        scaled = np.rint(samples * (LOUDEST + 1))
        self.clipped += int(np.count_nonzero((scaled > LOUDEST) | (scaled < -LOUDEST - 1)))
        return np.clip(scaled, -LOUDEST - 1, LOUDEST).astype(np.int16)


def library(name: str) -> Any:
    """A library of the extra "audio".

    Raises:
        InputError: it is not installed, or does not load.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise InputError(
            f'audio files need {name}, which cannot be used here ({error}); pip install -e ".[audio]"'
        ) from error


def opened(path: Path) -> Any:
    """The open file.

    Raises:
        NotAudioError: the content is no audio.
        DamagedAudioError: the content is audio that cannot be opened, or there is none.
        InputError: the file cannot be read, or soundfile is not installed.
    """
    soundfile = library("soundfile")
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from error
    if not head:
        raise DamagedAudioError(f"{path}: empty, 0 bytes; get it again")
    try:
        file = soundfile.SoundFile(os.fsencode(path))  # which itself cannot spell names that are not UTF-8
        if file.format != "MP3" or (content := with_length(path)) is None:
            return file
        file.close()
        return soundfile.SoundFile(io.BytesIO(content))
    except EOFError as error:
        raise DamagedAudioError(f"{path}: truncated or damaged ({error}); get it again") from error
    except soundfile.SoundFileError as error:
        if not _MAGIC.match(head):
            raise NotAudioError(f"{path}: no audio file") from error
        raise DamagedAudioError(
            f"{path}: damaged, or audio of a kind that libsndfile does not read; get it again or convert it"
        ) from error


def raw_blocks(file: Any, path: Path) -> Iterator[np.ndarray]:
    """The samples of an open file from -1 to 1, (n, channels), until no more come."""
    buffer = np.empty((max(1, BLOCK // file.channels), file.channels), np.float32)
    # A file that can seek does so after every read, to where it is; mp3 then lacks what is decoded from frames before.
    file.seekable = lambda: False
    while True:
        try:
            # Its methods that return arrays stop at the length that the header promises, and so hide a missing end.
            count = file.buffer_read_into(buffer, "float32")
        except library("soundfile").SoundFileError as error:
            if file.format == "FLAC" and file.frames > 1 << 62:
                raise DamagedAudioError(
                    f"{path}: its header does not say how long it is, which libsndfile needs to know; encode it again"
                ) from error
            reason = str(error).removeprefix("Error : ").rstrip(".")
            raise DamagedAudioError(f"{path}: truncated or damaged ({reason}); get it again") from error
        if not count:
            return
        yield buffer[:count]


def require_whole(file: Any, path: Path, read: int) -> None:
    """Refuse a file that holds fewer samples than its header promises, or none.

    Raises:
        DamagedAudioError: it does.
    """
    if not read:
        raise DamagedAudioError(f"{path}: no samples; leave it out or get it again")
    promised = file.frames
    if file.format == "NIST":
        with path.open("rb") as raw:
            counted = re.search(rb"sample_count -i (\d+)", raw.read(1024))
        promised = int(counted[1]) if counted else promised
    noted = _SHORT.search(file.extra_info)
    if noted and int(noted[2]) < int(noted[1]) < _ENDLESS:
        raise DamagedAudioError(f"{path}: truncated, {int(noted[2]):,} of {int(noted[1]):,} bytes; get it again")
    if read < promised:
        raise DamagedAudioError(f"{path}: truncated, {read:,} of {promised:,} samples; get it again")
    if file.format == "OGG" and not has_last_page(path):
        raise DamagedAudioError(f"{path}: truncated, its last page is missing; get it again")


def has_last_page(path: Path) -> bool:
    """Whether an Ogg file ends with a page that says so; its header does not promise a length."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2 * _PAGE))
        tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    sizes = page[_PAGE_HEAD : _PAGE_HEAD + page[_PAGE_HEAD - 1]] if len(page) >= _PAGE_HEAD else b""
    return bool(sizes) and bool(page[5] & 4) and len(page) >= _PAGE_HEAD + len(sizes) + sum(sizes)


def resampler(source_rate: int, rate: int) -> Callable[[np.ndarray, bool], np.ndarray]:
    """From blocks of samples at one rate, and whether one is the last, to blocks at another."""
    if source_rate == rate:
        return lambda samples, last: samples
    stream = library("soxr").ResampleStream(source_rate, rate, 1, dtype="float32", quality="HQ")
    return lambda samples, last: stream.resample_chunk(samples, last=last)
