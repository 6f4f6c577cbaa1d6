"""Small recordings, and a synthetic corpus named as TIMIT is, for the tests to write."""

from __future__ import annotations

import numpy as np
import soundfile

RATE, FRAME = 16_000, 200


def noise(count, seed=0, scale=500, mean=20):
    """Samples of 16 bits."""
    return np.random.default_rng(seed).normal(mean, scale, count).astype(np.int16)


def write(path, samples, rate=RATE):
    """A file of the kind that its name says; all folders above it are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)
    return path


def recordings(folder, count=10, least=4_250, step=200, **options):
    """Files of different noise, and of different lengths, by name."""
    found = {f"{i}.wav": noise(least + step * i, seed=i, **options) for i in range(count)}
    for name, samples in found.items():
        write(folder / name, samples)
    return found


LDC = 600
"""Samples of an utterance of a synthetic corpus: three frames."""


def names_of(train, test):
    """The paths of a corpus of so many speakers, without suffixes, each speaker with ten sentences."""
    found = []
    for number in range(train + test):
        part = "TRAIN" if number < train else "TEST"
        letters = "".join(chr(65 + number // 26**k % 26) for k in (2, 1, 0))
        sentences = [
            "SA1",
            "SA2",
            *(f"SI{600 + number + 630 * k}" for k in range(3)),
            *(f"SX{3 + k}" for k in range(5)),
        ]
        speaker = f"{'FM'[number % 2]}{letters}0"
        found += [f"{part}/DR{1 + number % 8}/{speaker}/{sentence}" for sentence in sentences]
    return found


def sphere(samples):
    """A file as LDC93S1 has them."""
    fields = {"channel_count": 1, "sample_count": len(samples), "sample_rate": RATE, "sample_n_bytes": 2}
    lines = [f"{name} -i {value}" for name, value in fields.items()]
    lines += ["sample_byte_format -s2 01", "sample_sig_bits -i 16", "end_head", ""]
    return ("NIST_1A\n   1024\n" + "\n".join(lines)).encode().ljust(1024) + samples.astype("<i2").tobytes()


def spoken(number, length=LDC):
    """The samples of an utterance, the first of which is its number."""
    samples = noise(length, seed=number % 7)
    samples[0] = number
    return samples


def write_timit(root, names, suffix=".WAV", length=lambda number: LDC):
    """A corpus of numbered utterances."""
    for number, name in enumerate(names):
        path = root / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = spoken(number, length(number))
        if suffix == ".WAV":
            path.write_bytes(sphere(samples))
        else:
            soundfile.write(path, samples, RATE)
    return root


SMALL = names_of(6, 3)


def lengthened(number):
    """Of 5 to 9 frames, and a bit."""
    return 5 * FRAME + FRAME * (number % 5) + number % FRAME


def whole(split):
    """Which samples a split scores and conditions on: each sequence's, in 16-bit units."""
    return [np.rint(split.frames(i).astype(float) * split.std + split.mean) for i in range(len(split.lengths))]
