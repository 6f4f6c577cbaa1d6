"""What is in a data set: a table, and a picture of a few of its sequences."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from zf_pyro.data.corpus import Corpus, Observation
from zf_pyro.data.loader import Split, subset
from zf_pyro.data.text import UNKNOWN, TextCorpus
from zf_pyro.pictures import draw_sequences, draw_text
from zf_pyro.tables import aligned

SHOWN = 10
"""Sequences in the picture."""

MOST_NUMBERS = 1 << 29
"""Real numbers of a split of which the mean is taken: nine hours of sound at 16,000 a second."""

READ_TOGETHER = 1 << 23
"""Real numbers read at a time."""


def table(corpus: Corpus) -> Iterator[str]:
    """Lines on each split: sequences, steps, lengths, and what the steps hold."""
    observation = corpus.observation
    yield corpus.source
    last = {"categorical": ("unknown",), "bernoulli": ("mean",), "gaussian": ("mean", "std")}[observation.law]
    names = ("split", f"{observation.sequence}s", f"{observation.step}s", "shortest", "median", "longest", *last)
    rows = [names] + [row(name, split, corpus) for name, split in splits(corpus)]
    yield from aligned(rows)
    if isinstance(corpus, TextCorpus):
        frequent = ", ".join(repr(word) for word in corpus.vocabulary.words[4:14])
        yield f"vocabulary: {len(corpus.vocabulary):,}, the special four included; most frequent: {frequent}"
    else:
        kind = "bits" if observation.law == "bernoulli" else "real numbers"
        rate = f", samples of {observation.rate:,} a second" if observation.rate else ""
        yield f"a step: {observation.size:,} {kind}{rate}"


def splits(corpus: Corpus) -> list[tuple[str, Split]]:
    """The three splits by name."""
    return [("train", corpus.train), ("valid", corpus.valid), ("test", corpus.test)]


def row(name: str, split: Split, corpus: Corpus) -> tuple[str, ...]:
    """One line of the table."""
    lengths = split.lengths
    steps = (f"{lengths.min():,}", f"{np.median(lengths):,.0f}", f"{lengths.max():,}")
    return (name, f"{len(lengths):,}", f"{lengths.sum():,}", *steps, *content(split, corpus.observation))


def content(split: Split, observation: Observation) -> tuple[str, ...]:
    """What scored steps hold: the share of unknown words, the mean of bits, or mean and deviation of real numbers.

    They are read part by part, and of a large split only some, which is marked by "~".
    """
    lengths = split.lengths
    numbers = int(lengths.sum()) * observation.size if observation.law == "gaussian" else 0
    chosen = subset(len(lengths), max(1, len(lengths) * MOST_NUMBERS // max(numbers, MOST_NUMBERS)), seed=0)
    count, total, squares = 0, 0.0, 0.0
    pivot = float(np.mean(observation.mean)) if observation.mean else 0.0
    for part in np.array_split(chosen, 1 + numbers * len(chosen) // len(lengths) // READ_TOGETHER):
        values = split.scored(part)
        if observation.law == "gaussian":
            values = observation.restored(values) - pivot
            squares += float(np.square(values).sum())
        elif observation.law == "categorical":
            values = values == UNKNOWN
        count, total = count + values.size, total + float(values.sum(dtype=np.float64))
    mean, about = total / count, "" if len(chosen) == len(lengths) else "~"
    if observation.law == "gaussian":
        return (f"{about}{mean + pivot:.4g}", f"{about}{math.sqrt(max(0.0, squares / count - mean**2)):.4g}")
    return (f"{mean:.2%}" if observation.law == "categorical" else f"{mean:.4f}",)


def draw_some(corpus: Corpus, path: Path) -> None:
    """Draw a few training sequences, chosen by the split's seed, into a png.

    Raises:
        OSError: the file cannot be written.
    """
    chosen = subset(len(corpus.train.lengths), SHOWN, corpus.settings.split_seed)
    title = f"{corpus.source.split(': ')[0]}: {len(chosen)} {corpus.observation.sequence}s of the training split"
    found = [corpus.train.scored(np.array([i])) for i in chosen.tolist()]
    if isinstance(corpus, TextCorpus):
        draw_text([corpus.vocabulary.decode(sentence.tolist()) for sentence in found], path, title)
        return
    if corpus.observation.law == "gaussian":
        found = [corpus.observation.restored(sequence) for sequence in found]
    draw_sequences(found, corpus.observation, path, title)
