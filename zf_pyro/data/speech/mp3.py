"""MP3 files that do not say how long they are.

libsndfile takes the length from the tag that most encoders write into the first frame (Xing, Info or VBRI). Where there
is none it guesses it from the sizes of the file and of the first frame, and reads no further: of a file of varying bit
rate most may be lost. So the frames are counted here, and a tag with their number is put before them.
"""

from __future__ import annotations

import re
import struct
from mmap import ACCESS_READ, mmap
from pathlib import Path

_VERSION_1, _VERSION_2, _NO_VERSION, _LAYER_3, _MONO = 3, 2, 1, 1, 3
"""Values in a frame's header."""

_RATES = {_VERSION_1: (44_100, 48_000, 32_000), _VERSION_2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_KILOBITS = {
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_FIELDS = ((19, 3), (17, 3), (12, 15), (10, 3), (9, 1))
"""Shifts and masks of a header's version, layer, bit rate, sampling rate and padding."""

_SYNC = re.compile(rb"\xff[\xe2-\xff]")
_TAG = re.compile(rb"Xing|Info|VBRI")
_TAG_KILOBITS = 9
"""Place of a bit rate that leaves room for a tag in a frame, counted from 1."""


def with_length(path: Path) -> bytes | None:
    """The frames of an MP3 file behind a tag with their number; None where it has a tag, or begins with no frame.

    Raises:
        EOFError: a frame is cut, or something else stands among them.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return counted(content)


def counted(content: mmap) -> bytes | None:
    """What `with_length` returns."""
    start = 0
    if content[:3] == b"ID3" and len(content) > 10:
        start = 10 + sum((byte & 127) << shift for byte, shift in zip(content[6:10], (21, 14, 7, 0), strict=True))
    size = frame_size(content, start)
    if not size or _TAG.search(content, start, start + size):
        return None
    place, count = start, 0
    while size := frame_size(content, place):
        place, count = place + size, count + 1
    if place > len(content):
        raise EOFError("the last frame is cut")
    for match in _SYNC.finditer(content, place):
        if (size := frame_size(content, match.start())) and frame_size(content, match.start() + size):
            raise EOFError(f"no frame at byte {place:,}, and others after it")
    return tag(content[start : start + 4], count) + content[start:place]


def frame_size(content: bytes | mmap, place: int) -> int:
    """Bytes of the frame that begins at a place, 0 where none does."""
    head = int.from_bytes(content[place : place + 4].ljust(4, b"\0"), "big")
    version, layer, kilobits, rate, padded = (head >> shift & mask for shift, mask in _FIELDS)
    if head >> 21 != 0x7FF or version == _NO_VERSION or layer != _LAYER_3 or kilobits in (0, 15) or rate == 3:
        return 0
    first = version == _VERSION_1
    return (144_000 if first else 72_000) * _KILOBITS[first][kilobits - 1] // _RATES[version][rate] + padded


def tag(head: bytes, count: int) -> bytes:
    """A silent frame as a first one with this header, and in it the number of frames that follow."""
    word = int.from_bytes(head, "big") & ~(15 << 12) & ~(1 << 9) | _TAG_KILOBITS << 12 | 1 << 16  # and no checksum
    first, mono = word >> 19 & 3 == _VERSION_1, word >> 6 & 3 == _MONO
    side = {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}[first, mono]
    start = word.to_bytes(4, "big") + bytes(side) + struct.pack(">4sII", b"Xing", 1, count)
    return start.ljust(frame_size(start, 0), b"\0")
